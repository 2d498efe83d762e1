"""Two versions on the same logged rows: a version in the shadow answers what others were asked.

The version that answered a row has left its answer in the log; what the other says is computed here, from the row as
it was received. So both answer every labelled row, whatever share of the requests each had, and a new version answers
the log before it gets a single live request.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import predictions
from trimtab.core.errors import NotFound, StoreError, TrimtabError
from trimtab.core.records import parse_time, read_record
from trimtab.core.sources import read_log_list
from trimtab.monitoring import losses, performance, reference
from trimtab.monitoring.judge import Estimated
from trimtab.monitoring.paired import Paired

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from trimtab.core.store import Store
    from trimtab.evaluate.judge import Champion
    from trimtab.monitoring.champion import Published
    from trimtab.monitoring.log_reader import LogReader

# Labelled rows that are compared, the earliest: past so many every difference that matters has long been shown.
MAX_LABELLED = 20_000
# Unlabelled rows that are compared: whether both give the same answer is evidence too.
MAX_UNLABELLED = 2_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replayed:
    """What a replay gave.

    Attributes:
        paired: both versions on the same rows.
        before: labelled rows of these that were answered before a given moment.
        failed: rows that the new version could not answer and the champion could.
        cannot: why the log cannot be answered again; empty where it can.
    """

    paired: Paired = field(default_factory=Paired)
    before: int = 0
    failed: int = 0
    cannot: str = ""


def unseen_from(store: Store, model: str, about: Published) -> datetime:
    """From when on a version was trained on no row of the log.

    A campaign's run says where the rows begin that it kept for judging; else nothing that was answered after the run
    was asked for can be in its data.

    Raises:
        StoreError: the store cannot be read.
    """
    from trimtab.core.bundle import read_manifest

    request = f"runs/{about.run_key or 'none'}/request.json"
    if not store.exists(request):
        return read_manifest(store, model, about.version).created_at
    asked = read_record(store, request, "run-request")
    written = parse_time(asked["written_at"])
    if asked.get("campaign") is None:
        return written
    kept = [parse_time(log["judge_from"]) for log in _logs(store, asked.get("data")) if log.get("judge_from")]
    return max(kept, default=written)


def _logs(store: Store, data: Any) -> list[dict[str, Any]]:
    """The stretches of the log among a run's sources."""
    if not isinstance(data, Mapping):
        return []
    parts = data.get("sources", [data])
    logs = [dict(part["log"]) for part in parts if isinstance(part, Mapping) and isinstance(part.get("log"), Mapping)]
    return [read_log_list(store, log["list"]) if "list" in log else log for log in logs]


class Replay:
    """Answers a model's log with its versions; answers are kept, so that each row is answered once.

    Args:
        store: where log and bundles are.
        model: the model's name.
        trusted: accepted public keys by id, as servers have them.
    """

    def __init__(self, store: Store, model: str, trusted: Mapping[str, Ed25519PublicKey]) -> None:
        self.store = store
        self.model = model
        self.trusted = trusted
        self._versions: dict[str, Champion | str] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._spans: dict[str, tuple[datetime, datetime]] = {}
        self._estimated: tuple[tuple[str, str, int], Estimated | None] | None = None
        self._last: tuple[pa.Table, tuple[str, str, datetime], Replayed] | None = None

    def compare(self, reader: LogReader, canary: str, champion: str, since: datetime, begun: datetime) -> Replayed:
        """Both versions on the rows answered since a moment, by whichever version.

        Args:
            reader: the model's log.
            canary: the version that is tried.
            champion: the version that it is compared with.
            since: from when on neither was trained on the log.
            begun: when the rollout began.

        Raises:
            StoreError: the store cannot be read.
        """
        pair = (canary, champion)
        for known in (self._versions, self._answers):
            for gone in set(known) - set(pair):
                del known[gone]
        for version in pair:
            loaded = self._load(version)
            if isinstance(loaded, str):
                return Replayed(cannot=loaded)
        joined, question = reader.joined(since), (canary, champion, begun)
        # The reader gives the same table while neither log nor labels have grown.
        if self._last is None or self._last[0] is not joined or self._last[1] != question:
            self._last = (joined, question, self._compare(_chosen(joined), pair, begun))
        return self._last[2]

    def _compare(self, rows: pa.Table, pair: tuple[str, str], begun: datetime) -> Replayed:
        if not rows.num_rows:
            return Replayed()
        cannot = self._answer(rows, pair)
        return Replayed(cannot=cannot) if cannot else self._count(rows, *pair, begun)

    def estimate(self, reader: LogReader, canary: str, champion: str, since: datetime) -> Estimated | None:
        """Performance of both versions on the log's rows as estimated without labels; None where it cannot be.

        For logs without a label: as soon as there is one, `compare` knows better.
        """
        rows = _chosen(reader.joined(since))
        if not rows.num_rows or any(isinstance(self._load(v), str) for v in (canary, champion)):
            return None
        parts = []
        for version in pc.unique(rows["_version"]).to_pylist():
            parts += self._features(version, rows.filter(pc.equal(rows["_version"], version)))
        question = (canary, champion, sum(t.num_rows for t in parts))
        if self._estimated is None or self._estimated[0] != question:
            features = predictions.concat(parts, f"the log of {self.model}")
            self._estimated = (question, self._both_estimates(features, canary, champion))
        return self._estimated[1]

    def _both_estimates(self, features: pa.Table, canary: str, champion: str) -> Estimated | None:
        found, unit = [], ""
        for version in (canary, champion):
            asked = self._versions[version]
            assert not isinstance(asked, str)
            try:
                yardstick = reference.load(self.store, self.model, version).yardstick
                found.append(performance.expected(yardstick, losses.of(yardstick.guesses(_said(asked, features)))))
            except TrimtabError as error:
                if isinstance(error, StoreError) and not isinstance(error, NotFound):
                    raise
                return None
            unit = yardstick.unit
        ours, theirs = ((e.value, e.low, e.high) for e in found)
        return None if np.isnan([*ours, *theirs]).any() else Estimated(unit, ours, theirs)

    def _load(self, version: str) -> Champion | str:
        """The version ready to answer, or why it cannot be asked here."""
        if version not in self._versions:
            from trimtab.core.bundle import fetch_bundle
            from trimtab.evaluate.judge import Champion

            try:
                with tempfile.TemporaryDirectory(prefix="trimtab-replay-") as scratch:
                    manifest = fetch_bundle(self.store, self.model, version, Path(scratch), self.trusted)
                    loaded = Champion(Path(scratch), manifest.threshold)
            except TrimtabError as error:
                if isinstance(error, StoreError) and not isinstance(error, NotFound):
                    raise
                self._versions[version] = f"{version} cannot be loaded here: {error.sentence()}"
                _log.warning(self._versions[version], extra={"model": self.model})
            else:
                hidden = [f.name for f in loaded.schema.features if f.private]
                self._versions[version] = (
                    f"private fields are not in the log: {', '.join(hidden)}" if hidden else loaded
                )
        return self._versions[version]

    def _answer(self, rows: pa.Table, pair: tuple[str, str]) -> str:
        """See that both versions' answers to these rows are known; why they cannot be, else empty."""
        output = "_label" if "_label" in rows.column_names else "_value"
        missing = np.zeros(rows.num_rows, bool)
        ids, by = rows["_id"].to_pylist(), rows["_version"].to_pylist()
        for version in pair:
            known = self._answers.setdefault(version, {})
            for i, (identity, answered_by, said) in enumerate(zip(ids, by, rows[output].to_pylist(), strict=True)):
                if identity in known:
                    continue
                if answered_by == version:
                    known[identity] = said
                else:
                    missing[i] = True
        wanted = rows.filter(pa.array(missing))
        for answered_by in pc.unique(wanted["_version"]).to_pylist():
            part = wanted.filter(pc.equal(wanted["_version"], answered_by))
            for features in self._features(answered_by, part):
                if cannot := self._ask(features, pair):
                    return cannot
        return ""

    def _features(self, version: str, rows: pa.Table) -> list[pa.Table]:
        """These rows as they were received, from the files of the version that answered them."""
        span = pc.min_max(rows["_time"]).as_py()
        after = f"predictions/{self.model}/{version}/{predictions.hour_of(span['min'])}"
        found, left = [], rows.num_rows
        for key in predictions.list_files(self.store, self.model, version, after=after):
            first, last = self._spans.get(key, (span["min"], span["max"]))
            if left <= 0 or last < span["min"] or first > span["max"]:
                continue
            table = predictions.read_files(self.store, [key])
            if table.num_rows and key not in self._spans:
                times = pc.min_max(table["_time"]).as_py()
                self._spans[key] = (times["min"], times["max"])
            table = table.filter(pc.is_in(table["_id"], rows["_id"].combine_chunks()))
            left -= table.num_rows
            if table.num_rows:
                found.append(table)
        return found

    def _ask(self, features: pa.Table, pair: tuple[str, str]) -> str:
        """Have both versions answer; what one cannot answer is None. Why the log lacks what it takes, else empty."""
        ids = features["_id"].to_pylist()
        for version in pair:
            asked = self._versions[version]
            assert not isinstance(asked, str)
            lacking = [f.name for f in asked.schema.features if f.name not in features.column_names]
            if lacking:
                return f"the log lacks what {version} takes: {', '.join(lacking)}"
            known = self._answers[version]
            for identity, said in zip(ids, _answers(asked, features), strict=True):
                known.setdefault(identity, said)
        return ""

    def _count(self, rows: pa.Table, canary: str, champion: str, begun: datetime) -> Replayed:
        ids = rows["_id"].to_pylist()
        ours = [self._answers[canary].get(i) for i in ids]
        theirs = [self._answers[champion].get(i) for i in ids]
        both = np.array([a is not None and b is not None for a, b in zip(ours, theirs, strict=True)])
        failed = sum(a is None and b is not None for a, b in zip(ours, theirs, strict=True))
        labelled = np.asarray(rows["_truth"].is_valid().to_numpy(zero_copy_only=False)) & both
        early = np.asarray(pc.less(rows["_time"], pa.scalar(begun, predictions.TIME)).to_numpy(zero_copy_only=False))
        truth = rows["_truth"].to_pylist()
        known = np.flatnonzero(labelled)
        answers = [[side[i] for i in known] for side in (truth, ours, theirs)]
        if "_label" not in rows.column_names:
            values = [np.array([_number(v) for v in side]) for side in answers]
            return Replayed(Paired.of_values(*values), int((labelled & early).sum()), failed)
        paired = Paired.of_labels(*(np.array(side, dtype=object) for side in answers))
        open_rows = np.flatnonzero(both & ~labelled)
        same = sum(ours[i] == theirs[i] for i in open_rows)
        return Replayed(
            paired + Paired(same=same, different=len(open_rows) - same), int((labelled & early).sum()), failed
        )


@dataclass
class Replays:
    """One replay a model, kept so that bundles are loaded and rows answered once."""

    known: dict[tuple[str, str], Replay] = field(default_factory=dict)

    def of(self, store: Store, model: str) -> Replay:
        """The replay of a model's log, with the keys that servers trust."""
        from trimtab.core import settings
        from trimtab.core.signing import trusted_keys

        key = (store.url, model)
        if key not in self.known:
            self.known[key] = Replay(store, model, trusted_keys(settings.load().trusted_keys))
        return self.known[key]

    def holds(self, store: Store, model: str) -> bool:
        """Whether versions and answers of this model are kept."""
        return (store.url, model) in self.known

    def forget(self, store: Store, model: str) -> None:
        """Keep no version and no answer of this model."""
        self.known.pop((store.url, model), None)


def _chosen(rows: pa.Table) -> pa.Table:
    """The rows that are compared: the earliest labelled and the earliest unlabelled ones."""
    if not rows.num_rows:
        return rows
    known = rows["_truth"].is_valid()
    labelled = rows.filter(known).slice(0, MAX_LABELLED)
    return pa.concat_tables([labelled, rows.filter(pc.invert(known)).slice(0, MAX_UNLABELLED)])


def _answers(asked: Champion, features: pa.Table) -> list[Any]:
    """A version's answers; None for a row that it fails on."""
    try:
        return list(asked.answers(features).tolist())
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no base class of their own
        if features.num_rows == 1:
            _log.warning("a logged row cannot be answered", extra={"error": str(error)[:300]})
            return [None]
    # One odd row must not hide the others' answers: halves, down to the row itself.
    half = features.num_rows // 2
    return _answers(asked, features.slice(0, half)) + _answers(asked, features.slice(half))


def _said(asked: Champion, features: pa.Table) -> pa.Table:
    """The rows with the version's own answers in place of those that the log has."""
    raw = asked.outputs(features)
    rows = features.drop_columns([n for n in ("_label", "_probabilities", "_value") if n in features.column_names])
    if asked.schema.target.kind == "number":
        return rows.append_column("_value", pa.array(raw[:, 0].astype(np.float64)))
    rows = rows.append_column("_label", pa.array(asked.answers(features).tolist(), pa.string()))
    flat = pa.array(raw.astype(np.float32).ravel())
    width = raw.shape[1]
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, width, dtype=np.int32)), flat)
    return rows.append_column("_probabilities", lists)


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return float("nan")
