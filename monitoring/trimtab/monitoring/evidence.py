"""From the log, the labels and the servers' counters to the figures that a canary is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.monitoring.judge import Arm, Figures
from trimtab.monitoring.log_reader import LogReader

# An answer is slow above both of these, measured from the champion's 95th percentile.
SLOW_FACTOR, SLOW_MS = 2.0, 20.0


def figures(
    reader: LogReader,
    canary: str,
    champion: str,
    since: datetime,
    now: datetime,
    step: int,
    failures: Mapping[str, tuple[int, int]],
) -> Figures:
    """Count what both versions did since a canary step began.

    Args:
        reader: the model's log.
        canary: the version that is tried.
        champion: the version that it is compared with.
        since: when the step began.
        now: the present moment.
        step: number of the step, from 0.
        failures: version to (requests, requests answered with 5xx), as the servers count them; versions may lack.
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
        requests, failed = failures.get(version, (0, 0))
        bad = wrong[0 if version == canary else 1]
        return Arm(
            rows=rows[version].num_rows,
            slow=int((latency[version] > limit).sum()),
            labelled=len(bad),
            wrong=int(bad.sum()),
            requests=requests,
            failed=failed,
        )

    return Figures(arm(canary), arm(champion), (now - since).total_seconds() / 60, step)


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
