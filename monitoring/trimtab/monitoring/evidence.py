"""From the log, the labels and the servers' counters to the figures that a version is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import runs
from trimtab.monitoring.campaign_data import paired
from trimtab.monitoring.judge import SHADOW, Arm, Figures
from trimtab.monitoring.log_reader import LogReader
from trimtab.monitoring.paired import Paired
from trimtab.monitoring.replay import Replay, unseen_from

if TYPE_CHECKING:
    from trimtab.core import ledger
    from trimtab.core.store import Store
    from trimtab.monitoring.champion import Published

# Version to (requests, requests answered with 5xx), as the servers count them.
Counted = Mapping[str, tuple[int, int]]
# An answer is slow above both of these, measured from the champion's 95th percentile.
SLOW_FACTOR, SLOW_MS = 2.0, 20.0


@dataclass(frozen=True)
class Source:
    """Where the figures of a model come from: the store, its log's reader, and what answers the log again."""

    store: Store
    model: str
    reader: LogReader
    replay: Replay


def gather(
    source: Source,
    canary: Published,
    champion: Published,
    begun: Sequence[ledger.Entry],
    now: datetime,
    counted: Counted,
) -> Figures:
    """All that is known of a version that is tried, beside the champion.

    Args:
        source: where from.
        canary: the version that is tried.
        champion: the version that it is compared with.
        begun: its ledger entries `shadowed` and `canaried` in this rollout, in order; the last one began the step.
        now: the present moment.
        counted: version to (requests, requests answered with 5xx), as the servers count them; versions may lack.

    Raises:
        StoreError: the store cannot be read.
    """
    last, first = begun[-1], begun[0]
    facts = dict(last.evidence or {})
    step = int(facts.get("step", 0)) if last.event == "canaried" else SHADOW
    arms = Arm(), Arm()
    if step > SHADOW:
        since = _since(counted, facts.get("counted") or {})
        arms = count(source.reader, canary.version, champion.version, last.at, since)
    unseen = max(unseen_from(source.store, source.model, about) for about in (canary, champion))
    replayed = source.replay.compare(source.reader, canary.version, champion.version, unseen, first.at)
    both, before = replayed.paired, replayed.before
    estimated = None
    if not replayed.cannot and not both.n:
        estimated = source.replay.estimate(source.reader, canary.version, champion.version, unseen)
    if replayed.cannot:
        both = _kept(source, canary, champion)
        before = both.n
    return Figures(
        canary=arms[0],
        champion=arms[1],
        minutes=(now - first.at).total_seconds() / 60,
        step=step,
        paired=both,
        replayed=not replayed.cannot,
        before=before,
        replay_failed=replayed.failed,
        estimated=estimated,
    )


def _since(counted: Counted, then: Mapping[str, Any]) -> Counted:
    """What the servers counted since a moment; one that was started again in between counts from its start."""
    found = {}
    for version, (requests, failed) in counted.items():
        requests_then, failed_then = then.get(version) or (0, 0)
        restarted = requests < requests_then or failed < failed_then
        found[version] = (requests, failed) if restarted else (requests - requests_then, failed - failed_then)
    return found


def _kept(source: Source, canary: Published, champion: Published) -> Paired:
    """Both versions on the rows that the training run kept for judging, as it counted them."""
    result = runs.result(source.store, canary.run_key) if canary.run_key else None
    found = paired(source.store, canary.run_key, str(result.get("winner", ""))) if result else None
    if found is None or found.get("against") not in (None, "", champion.version):
        return Paired()
    return Paired.from_record(found)


def count(reader: LogReader, canary: str, champion: str, since: datetime, counted: Counted) -> tuple[Arm, Arm]:
    """Count what both versions did since a canary step began.

    Args:
        reader: the model's log.
        canary: the version that is tried.
        champion: the version that it is compared with.
        since: when the step began.
        counted: requests and failed requests by version since then.
    """
    table = reader.joined(since, [canary, champion])
    rows = {v: _of(table, v) for v in (canary, champion)}
    latency = {v: _numbers(t, "_latency_ms") for v, t in rows.items()}
    theirs = latency[champion][np.isfinite(latency[champion])]
    limit = np.inf
    if len(theirs):
        p95 = float(np.quantile(theirs, 0.95))
        limit = max(p95 * SLOW_FACTOR, p95 + SLOW_MS)
    wrong = _wrong(rows[canary], rows[champion])

    def arm(version: str) -> Arm:
        requests, failed = counted.get(version, (0, 0))
        bad = wrong[0 if version == canary else 1]
        return Arm(
            rows=rows[version].num_rows,
            slow=int((latency[version] > limit).sum()),
            labelled=len(bad),
            wrong=int(bad.sum()),
            requests=requests,
            failed=failed,
        )

    return arm(canary), arm(champion)


def _of(table: pa.Table, version: str) -> pa.Table:
    return table.filter(pc.equal(table["_version"], version)) if table.num_rows else table


def _numbers(table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    if column not in table.column_names:
        return np.zeros(0)
    return np.asarray(table[column].cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _wrong(canary: pa.Table, champion: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """For the labelled rows of each: which are wrong; for numbers, which err by more than the joint upper quartile."""
    tables = [t.filter(t["_truth"].is_valid()) if t.num_rows else t for t in (canary, champion)]
    if all("_value" in t.column_names and t["_value"].null_count < t.num_rows for t in tables if t.num_rows):
        errors = [_errors(t) for t in tables]
        both = np.concatenate(errors)
        limit = float(np.quantile(both, 0.75)) if len(both) else 0.0
        return errors[0] > limit, errors[1] > limit
    missed = [_missed(t) for t in tables]
    return missed[0], missed[1]


def _errors(table: pa.Table) -> npt.NDArray[np.float64]:
    if not table.num_rows:
        return np.zeros(0)
    truth = np.array([_number(t) for t in table["_truth"].to_pylist()])
    error = np.abs(_numbers(table, "_value") - truth)
    return np.asarray(error[np.isfinite(error)], np.float64)


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")


def _missed(table: pa.Table) -> npt.NDArray[np.bool_]:
    if not table.num_rows:
        return np.zeros(0, bool)
    return np.asarray(pc.not_equal(table["_label"], table["_truth"]).fill_null(True).to_numpy(zero_copy_only=False))
