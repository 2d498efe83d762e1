"""A retrain's data: what the log has, what is chosen of it, and whether there is enough for a follow-up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from trimtab.core import runs
from trimtab.core.datasets import MANIFEST, dataset_prefix, parse_manifest
from trimtab.core.errors import NotFound
from trimtab.core.records import parse_time, rfc3339, utcnow
from trimtab.monitoring.campaign_records import CampaignState, Retrain, all_campaigns
from trimtab.monitoring.champion import Published
from trimtab.monitoring.choice import MIN_JUDGE, Choice, Times, Waiting, choose
from trimtab.monitoring.competition import competed
from trimtab.monitoring.log_reader import LogReader

if TYPE_CHECKING:
    from trimtab.core.store import Store

MICROSECOND = timedelta(microseconds=1)


@dataclass
class Readers:
    """One log reader a model and key, kept so that files are read once."""

    known: dict[tuple[str, str | None], LogReader] = field(default_factory=dict)

    def of(self, store: Store, model: str, about: Published) -> LogReader:
        """The reader of a model's log."""
        key = (model, about.key_field)
        if key not in self.known:
            self.known[key] = LogReader(store, model, about.key_field)
        return self.known[key]

    def holds(self, model: str) -> bool:
        """Whether something of this model's log is kept."""
        return any(name == model for name, _ in self.known)

    def forget(self, model: str) -> None:
        """Keep nothing of this model's log."""
        self.known = {key: reader for key, reader in self.known.items() if key[0] != model}


@dataclass(frozen=True)
class Picked:
    """A retrain's source, unresolved, and the fields of its data record."""

    source: Any
    record: dict[str, Any]


def pick(store: Store, model: str, at: CampaignState, about: Published, readers: Readers) -> Picked | Waiting:
    """Choose a retrain's data from the log as it is now.

    Args:
        store: the store.
        model: the model's name.
        at: the campaign.
        about: the champion that is to be beaten.
        readers: the logs' readers.
    """
    fresh_from = trained_until(store, model, about)
    change = _change(at)
    if fresh_from is not None and (change is None or change < fresh_from):
        change = fresh_from
    times, labels_until = labelled_times(store, model, about, _look_back(at, about, fresh_from), readers)
    chosen = choose(times, change, about.campaign, str(at.opened.get("cause") or ""), base_rows(store, about))
    if isinstance(chosen, Waiting):
        return chosen
    chosen = competed(store, model, about, chosen, times, None if at.by_gain else change, labels_until)
    log = {
        "model": model,
        "since": rfc3339(chosen.since),
        "until": rfc3339(chosen.until + MICROSECOND),
        "judge_from": rfc3339(chosen.judge_from),
        "against": about.version,
        "labels_until": rfc3339(labels_until),
    }
    source: list[dict[str, Any]] = [{"log": log}]
    if chosen.base and about.dataset:
        source.insert(0, {"dataset": about.dataset})
    return Picked(source, {**log, **_facts(chosen)})


def _facts(chosen: Choice) -> dict[str, Any]:
    return {
        "base": chosen.base,
        "train_rows": chosen.train_rows,
        "judge_rows": chosen.judge_rows,
        "regime_rows": chosen.regime_rows,
        "why": chosen.why,
    }


def labelled_times(
    store: Store, model: str, about: Published, since: datetime | None, readers: Readers
) -> tuple[Times, datetime]:
    """Prediction times (sorted, UTC, microseconds) of the labelled rows since a moment, and until when labels count."""
    labels_until = utcnow()
    rows = readers.of(store, model, about).joined(since)
    if not rows.num_rows:
        return np.zeros(0, "datetime64[us]"), labels_until
    known = rows.filter(rows["_truth"].is_valid())
    micros = np.asarray(known["_time"].cast(pa.int64()).to_numpy(), np.int64)
    return np.sort(micros.astype("datetime64[us]")), labels_until


def trained_until(store: Store, model: str, about: Published) -> datetime | None:
    """From when on the champion has trained on no row of the log; None where it never has."""
    for campaign in reversed(all_campaigns(store, model)):
        for retrain in campaign.retrains:
            if retrain.version == about.version and retrain.run and retrain.run["run_key"] == about.run_key:
                return parse_time(str(retrain.data["judge_from"]))
    return None


def _change(at: CampaignState) -> datetime | None:
    """Where the new regime begins: the change point's lower bound, else the first prediction of what was looked at."""
    since = at.opened.get("since") or {}
    text = since.get("lower") or at.opened.get("first_time")
    return parse_time(str(text)) if text else None


def _look_back(at: CampaignState, about: Published, fresh_from: datetime | None) -> datetime | None:
    """How far back the log is read: what the champion has not seen, but no further than a label counts."""
    change = _change(at)
    if at.by_gain:
        return max((t for t in (change, fresh_from) if t is not None), default=None)
    earliest = change - timedelta(hours=about.windows.label_horizon_hours) if change else None
    return max((t for t in (earliest, fresh_from) if t is not None), default=None)


def base_rows(store: Store, about: Published) -> int:
    """Rows of the champion's training data; 0 where they are not in the store."""
    if not about.dataset:
        return 0
    name, digest = about.dataset.split("/")
    key = f"{dataset_prefix(name, digest)}/{MANIFEST}"
    try:
        return parse_manifest(store.get(key), key).rows
    except NotFound:
        return 0


def judge_min(judge_rows: int) -> int:
    """Fewest paired rows that still judge, where so many were kept: some may be left out as unusable."""
    return max(1, min(MIN_JUDGE, judge_rows) // 2)


def paired(store: Store, key: str, winner: str) -> dict[str, Any] | None:
    """Evaluate's paired counts of the winner against the champion; None where it left none."""
    results = runs.stage_results(store, key)
    found = results.get(f"evaluate.{winner}") or results.get("evaluate") or {}
    figures: Mapping[str, Any] = found.get("figures") or {}
    judged = figures.get("judge")
    return dict(judged) if isinstance(judged, Mapping) else None


def follow_up_due(
    store: Store, model: str, last: Retrain, about: Published, readers: Readers, drifting: bool
) -> str | None:
    """None when a follow-up may be trained; else what is waited for.

    Args:
        store: where.
        model: whose.
        last: the retrain that was promoted.
        about: what it published.
        readers: the logs' readers.
        drifting: the new champion drifts already: then as soon as there are rows to judge on.
    """
    edge = parse_time(str(last.data["until"]))
    times, _ = labelled_times(store, model, about, edge, readers)
    wanted = round(about.campaign.follow_up_windows * about.windows.rows)
    if drifting:
        wanted = min(wanted, about.campaign.min_labelled)
    return None if len(times) >= wanted else f"{len(times)} of {wanted} labelled rows since the last retrain"


def out_of_time(at: CampaignState, about: Published, now: datetime, last: Retrain | None = None) -> bool:
    """Whether labels can no longer come: the label horizon has passed since the campaign opened, or was last judged."""
    record = last.judged if last is not None and last.judged is not None else at.opened
    return now - parse_time(str(record["written_at"])) > timedelta(hours=about.windows.label_horizon_hours)


def missed_gates(figures: Mapping[str, Any]) -> str:
    """Why a winner is not to be released, in words.

    Args:
        figures: those of a run's result: metrics by name, `gates` with whether each holds, `rows`, `tested_on`.
    """
    gates = figures.get("gates") or {}
    told = []
    for gate in [name for name, held in gates.items() if not held]:
        value = figures.get(gate.split(" ", 1)[0])
        told.append(f"{gate}, got {value:.4g}" if isinstance(value, int | float) else gate)
    seen = f" (on {figures['rows']} rows, {figures.get('tested_on', 'test')})" if told and "rows" in figures else ""
    return "it does not pass the project's gates" + (f": {'; '.join(told)}{seen}" if told else "")
