"""One version watched: its log cut into windows, each window's figures, and what is said about it as labels land."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from trimtab.core import labels
from trimtab.core.errors import DataError, NotFound
from trimtab.core.predictions import concat
from trimtab.core.records import parse_time, read_record, rfc3339
from trimtab.monitoring import figures_records as facts
from trimtab.monitoring import windows
from trimtab.monitoring.columns import CONFIDENCE, LABEL, PROBABILITIES, VALUE, needed
from trimtab.monitoring.drift import Comparison
from trimtab.monitoring.labelled import OPEN_ROWS, Labelled
from trimtab.monitoring.log_health import LogHealth
from trimtab.monitoring.losses import Losses, of
from trimtab.monitoring.performance import Realised, expected, measured, realised
from trimtab.monitoring.prequential import faded
from trimtab.monitoring.reading import KEPT_ROWS, read
from trimtab.monitoring.reference import Reference
from trimtab.monitoring.shards import Counts
from trimtab.monitoring.tail import OVERLAP, NewFiles, Tables, Tail
from trimtab.monitoring.verdict import Decision, Figures, decide
from trimtab.monitoring.windows import Cut, Piece, Verdict

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Windows whose figures are kept and scanned.
HISTORY = 1024
# Newest windows among which the newest labelled rows are looked for.
COVERED = 64
# Labels that are joined at once, about.
LANDING_ROWS = 200_000
# A window is judged again when so large a share of its rows got labels, when it is complete, or after a pause.
SHARE = 0.05
PAUSE = timedelta(seconds=5)
_log = logging.getLogger(__name__)


@dataclass
class Watched:
    """A window that was cut.

    Attributes:
        cut: who is in it.
        figures: what is known about it.
        said: the newest verdict.
        judged: labelled rows that its newest figures count, and when they were taken.
    """

    cut: Cut
    figures: Figures
    said: Verdict | None = None
    judged: int = 0
    judged_at: datetime | None = None


class Follow:
    """Watches one version.

    Args:
        store: where log, labels and windows lie.
        model: the model's name.
        reference: the version's reference.
    """

    def __init__(self, store: Store, model: str, reference: Reference) -> None:
        self.store = store
        self.model = model
        self.version = reference.version
        self.reference = reference
        self.policy = reference.policy
        names = ["_id", "_time", LABEL, VALUE, PROBABILITIES, *needed(reference.columns)]
        if reference.key_field:
            names.append(reference.key_field)
        self._columns = [n for n in dict.fromkeys(names) if n != CONFIDENCE]
        self.tables = Tables(store, self._columns)
        self.log = NewFiles(store, f"predictions/{model}/{self.version}/")
        self.label_files: NewFiles | None = None
        self._labels_since: datetime | None = None
        self.tail = Tail(self.policy.rows, self.policy.minutes, reference.digest)
        self.health = LogHealth(store, model, self.version)
        self.labelled = Labelled(reference.key_field, timedelta(hours=self.policy.label_horizon_hours))
        self.history: dict[int, Watched] = {}
        # Files of which rows are in windows though they did not turn up here yet, and up to which row.
        self._stops: dict[str, int] = {}
        self._changed: set[int] = set()
        self._restore()

    @property
    def newest(self) -> Watched | None:
        """The newest window."""
        return self.history[max(self.history)] if self.history else None

    def step(self, now: datetime) -> list[Verdict]:
        """Look once for new rows and labels.

        Returns:
            Verdicts that are new, oldest window first.

        Raises:
            StoreError: the store could not be read or written; make a new `Follow`, which goes on from the records.
        """
        fresh = self._cut(now)
        self._land(now)
        return self._judge(fresh, now)

    def _restore(self) -> None:
        """What was cut and said before this process started; rows are read again only where labels may be joined."""
        found: deque[tuple[Cut, list[str]]] = deque(maxlen=HISTORY)
        for window, keys in sorted(windows.keys_by_window(self.store, self.model, self.version).items()):
            prefix = windows.folder(self.model, self.version, window)
            if f"{prefix}cut.json" not in keys:
                continue
            cut = Cut.of(read_record(self.store, f"{prefix}cut.json", "window-cut"))
            self.tail.take(cut)
            self._taken(cut)
            found.append((cut, keys))
        held, oldest = 0, found[-1][0].window if found else 0
        for cut, _ in reversed(found):
            held += min(cut.rows, KEPT_ROWS)
            if held > OPEN_ROWS:
                break
            oldest = cut.window
        for cut, keys in found:
            self._open(cut, keys, joined=cut.window >= oldest)

    def _taken(self, cut: Cut) -> None:
        """Remember what a cut took of files that are still to turn up here."""
        for piece in cut.pieces:
            if piece.key not in self.log.seen:
                self._stops[piece.key] = max(self._stops.get(piece.key, 0), piece.stop)

    def _cut(self, now: datetime) -> list[int]:
        """Cut the windows that are due; their numbers."""
        fresh = []
        for key in self.log.look(now):
            try:
                table = checked(self.tables.read(key), key, ("_id", "_time"))
                self.tail.add(key, table, self._stops.pop(key, 0))
            except (DataError, NotFound) as error:
                _log.error("a log file cannot be read and is left out: %s", error.sentence(), extra={"key": key})
                self.health.unreadable(key, now)
                continue
            self.health.read(key, pc.max(table["_time"]).as_py(), now)
            fresh += self._cut_due(now)
        return fresh + self._cut_due(now)

    def _cut_due(self, now: datetime) -> list[int]:
        fresh = []
        while (cut := self.tail.cut(now, self._times)) is not None:
            counted = windows.create_cut(self.store, self.model, self.version, cut)
            self.tail.take(counted, now)
            self.health.late(sum(p.late for p in counted.pieces))
            if counted is not cut:  # another watch was faster
                self._taken(counted)
            self._open(counted, [])
            fresh.append(counted.window)
        return fresh

    def _times(self, piece: Piece) -> pa.ChunkedArray:
        return self.tables.read(piece.key)["_time"].slice(piece.start, piece.stop - piece.start)

    def _open(self, cut: Cut, keys: list[str], joined: bool = True) -> None:
        """A window's figures: read where they were written before, else computed and written.

        Args:
            cut: who is in it.
            keys: its records.
            joined: whether labels that land are joined to its rows.
        """
        prefix = windows.folder(self.model, self.version, cut.window)
        compare = f"{prefix}inputs.json" not in keys
        needed_rows = joined or compare or f"{prefix}expected.json" not in keys
        counted, slim = None, pa.table({})
        if needed_rows:
            counted, slim = read(self.reference, self._rows(cut), cut.rows, self.health, compare=compare)
        inputs, guessed = self._inputs(prefix, keys, counted), self._expected(prefix, keys, slim)
        span = [int(parse_time(t).timestamp() * 1e6) for t in (cut.first_time, cut.last_time)]
        watched = Watched(cut, Figures(cut.window, cut.rows, span[0], span[1], inputs, guessed, None))
        if (key := windows.newest(keys, "realised")) is not None:
            found = facts.realised_of(read_record(self.store, key, "window-realised"))
            watched.figures = replace(watched.figures, realised=found)
            watched.judged = found.labelled
        if (key := windows.newest(keys, "verdict")) is not None:
            watched.said = Verdict.of(read_record(self.store, key, "verdict"))
        self.history[cut.window] = watched
        while len(self.history) > HISTORY:
            del self.history[min(self.history)]
        if not joined:
            return
        if self._labels_since is None:
            self._labels_since = parse_time(cut.first_time)
        if self.labelled.window(cut.window, slim):
            self._changed.add(cut.window)

    def _rows(self, cut: Cut) -> Iterable[tuple[Piece, pa.Table]]:
        for piece in cut.pieces:
            try:
                yield piece, self.tables.read(piece.key).slice(piece.start, piece.stop - piece.start)
            except (DataError, NotFound) as error:
                _log.error("rows of a window are gone: %s", error.sentence(), extra={"key": piece.key})
                self.health.gone(piece.key)

    def _inputs(self, prefix: str, keys: list[str], counted: Counts | None) -> Comparison:
        key = f"{prefix}inputs.json"
        if key in keys:
            return facts.inputs_of(read_record(self.store, key, "window-inputs"))
        found = self.reference.profile.compare(counted) if counted is not None else Comparison(1.0, [], 1.0)
        return facts.inputs_of(windows.create_once(self.store, key, "window-inputs", facts.inputs_facts(found)))

    def _expected(self, prefix: str, keys: list[str], slim: pa.Table) -> Losses:
        key = f"{prefix}expected.json"
        if key in keys:
            return facts.losses_of(read_record(self.store, key, "window-expected")["losses"])
        yardstick = self.reference.yardstick
        found = of(yardstick.guesses(slim)) if slim.num_rows else Losses()
        written = facts.expected_facts(found, expected(yardstick, found))
        return facts.losses_of(windows.create_once(self.store, key, "window-expected", written)["losses"])

    def _land(self, now: datetime) -> None:
        """Labels that have landed, joined to their windows' rows."""
        if self._labels_since is None:
            return
        if self.label_files is None:
            # Rows dated ahead by a wrong clock must not put the labels of now out of sight.
            since = min(self._labels_since, now) - OVERLAP
            self.label_files = NewFiles(self.store, f"labels/{self.model}/", since)
        new = []
        for key in self.label_files.look(now):
            try:
                found = checked(labels.read_files(self.store, [key]), key, labels.SCHEMA.names)
                new.append(found.select(labels.SCHEMA.names).cast(labels.SCHEMA))
                if sum(t.num_rows for t in new) > LANDING_ROWS:
                    self._changed |= self.labelled.land(concat(new, "labels"), now)
                    new = []
            except (DataError, NotFound) as error:
                _log.error("a label file cannot be read and is left out: %s", error.sentence(), extra={"key": key})
                self.health.unreadable(key, now)
            except (pa.ArrowException, ValueError) as error:
                _log.error("a label file of other columns is left out: %s", error, extra={"key": key})
                self.health.unreadable(key, now)
        if new:
            self._changed |= self.labelled.land(concat(new, "labels"), now)

    def _judge(self, fresh: list[int], now: datetime) -> list[Verdict]:
        """Say what is new about windows that are new or got labels, and so about the newest."""
        again = {w for w in sorted(self._changed) if self._realise(w, now)}
        self._changed -= again
        todo = again | {w for w in self.history if w in fresh or self.history[w].said is None}
        if again and self.history:
            todo.add(max(self.history))
        return [said for w in sorted(todo) if (said := self._say(w, now)) is not None]

    def _realise(self, window: int, now: datetime) -> bool:
        """Take a window's realised figures anew, where enough has changed since the last time."""
        watched, table = self.history.get(window), self.labelled.open.get(window)
        if watched is None or table is None:
            return True
        known = table.num_rows - table["_truth"].null_count
        enough = known - watched.judged >= max(1, SHARE * table.num_rows) or known == table.num_rows
        if not enough and watched.judged_at is not None and now - watched.judged_at < PAUSE:
            return False
        found = realised(self.reference.yardstick, table)
        before = watched.figures.realised
        watched.judged, watched.judged_at = known, now
        if before is not None and _same(before, found):
            return True
        prefix = windows.folder(self.model, self.version, window)
        keys = list(self.store.list(f"{prefix}realised-"))
        shown = measured(self.reference.yardstick, found.losses)
        windows.create_next(
            self.store, prefix, "realised", "window-realised", facts.realised_facts(found, shown),
            windows.next_number(windows.newest(keys, "realised")),
        )  # fmt: skip
        watched.figures = replace(watched.figures, realised=found)
        return True

    def _say(self, window: int, now: datetime) -> Verdict | None:
        """The verdict about a window, written where it is news; None where it is not."""
        watched = self.history[window]
        history = [self.history[w].figures for w in sorted(self.history) if w <= window]
        decision = decide(history, self.reference.yardstick, self.policy, self.reference.rows_per_day)
        prefix = windows.folder(self.model, self.version, window)
        key = windows.newest(list(self.store.list(f"{prefix}verdict-")), "verdict")
        said = Verdict.of(read_record(self.store, key, "verdict")) if key else None
        verdict = self._verdict(watched, decision, said, now)
        if said is not None and _alike(said, verdict):
            watched.said = said
            return None
        k = windows.create_next(self.store, prefix, "verdict", "verdict", verdict.facts(), windows.next_number(key))
        watched.said = replace(verdict, k=k)
        return watched.said

    def _verdict(self, watched: Watched, decision: Decision, said: Verdict | None, now: datetime) -> Verdict:
        yardstick, figures, cut = self.reference.yardstick, watched.figures, watched.cut
        before = said or self._said_before(cut.window)
        changed = decision.verdict != (before.verdict if before else "none")
        performance: dict[str, Any] = {
            "metric": yardstick.unit,
            "reference": measured(yardstick, yardstick.realised).facts(),
            "expected": expected(yardstick, figures.expected).facts(),
            "realised": measured(yardstick, figures.realised.losses if figures.realised else Losses()).facts(),
            "prequential": measured(yardstick, self._faded(cut.window)).facts(),
        }
        # Whatever is not `none` has a page, and so has what has just become it.
        paged = changed or decision.verdict != "none"
        page = windows.page_key(self.model, self.version, cut.window)
        since = decision.since
        return Verdict(
            window=cut.window,
            version=self.version,
            verdict=decision.verdict,
            layers=decision.layers,
            fields=facts.fields_facts(decision.moved),
            since={n: _time(getattr(since, n)) for n in ("lower", "point", "upper")} if since else None,
            cost_per_day=round(decision.cost_per_day, 3),
            words=decision.words,
            rows=cut.rows,
            labelled=figures.realised.labelled if figures.realised else 0,
            performance=performance,
            report=page if paged else (said.report if said else ""),
            first_time=cut.first_time,
            last_time=cut.last_time,
            cause=decision.cause.value,
            calibration=facts.calibration_facts(decision.calibration, decision.calibrated),
            slice=facts.slice_facts(decision.slice, yardstick),
            log=self.health.facts(now),
        )

    def _faded(self, window: int) -> Losses:
        parts = [self.history[w].figures.realised for w in sorted(self.history)[-COVERED:] if w <= window]
        return faded([p for p in parts if p is not None and p.labelled])

    def _said_before(self, window: int) -> Verdict | None:
        """The verdict about the window before."""
        earlier = [w for w in self.history if w < window and self.history[w].said is not None]
        return self.history[max(earlier)].said if earlier else None


def checked(table: pa.Table, key: str, columns: Iterable[str]) -> pa.Table:
    """The table, where it can be a file of ours.

    Raises:
        DataError: it lacks columns that all have, or its times are none.
    """
    lacks = [c for c in columns if c not in table.column_names]
    times = [c for c in ("_time", "labelled_at") if c in table.column_names]
    if lacks or not all(pa.types.is_timestamp(table[c].type) and not table[c].null_count for c in times):
        raise DataError(
            "not a file of the log", object=key, expected=", ".join(columns), got=", ".join(table.column_names)[:200]
        )
    return table


def _time(micros: int) -> str:
    return rfc3339(datetime.fromtimestamp(micros / 1e6, tz=parse_time("1970-01-01T00:00:00Z").tzinfo))


def _same(a: Realised, b: Realised) -> bool:
    return (
        a.labelled == b.labelled and a.losses == b.losses and a.contradicted == b.contradicted and a.truths == b.truths
    )


def _alike(a: Verdict, b: Verdict) -> bool:
    """Whether two verdicts say the same about the same labels."""
    return (a.verdict, dict(a.layers), a.labelled, a.performance["realised"]) == (
        b.verdict,
        dict(b.layers),
        b.labelled,
        b.performance["realised"],
    )
