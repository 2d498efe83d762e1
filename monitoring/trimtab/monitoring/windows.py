"""Windows of a version's prediction log, as records: who is in one, and what was said about it.

`windows/<model>/<version>/<n>/` holds `cut.json` (fixes who is in it), `inputs.json`, `expected.json`,
`realised-<k>.json` and `verdict-<k>.json` (k rising as labels land; the newest counts) and `alarm-<k>.json` (what the
hook answered). Everything is created, never overwritten, so a restart, or two watches at once, find the same windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from trimtab.core.records import create_record, read_record
from trimtab.core.store.keys import number

if TYPE_CHECKING:
    from trimtab.core.store import Store


@dataclass(frozen=True)
class Verdict:
    """What is said about a window; the newest one counts.

    Attributes:
        window: the window's number, from 1.
        version: the version that answered its rows.
        verdict: `none`, `watch` or `drift`.
        layers: the same by layer: `inputs`, `expected`, `realised`.
        fields: fields that moved: name, effect, unit, p, words; `_label`, `_value` and `_confidence` are the model's.
        since: `lower`, `point`, `upper` (RFC 3339) of when it began; None where nothing did.
        cost_per_day: errors a day beyond the reference's (for numbers: error in the target's unit).
        words: in plain English.
        rows, labelled: rows in the window, and those with a label.
        performance: `metric`, and `reference`, `expected`, `realised`, each with value, low, high (95 %).
        report: key of the report made when the verdict changed; empty where none was.
        first_time, last_time: of its predictions (RFC 3339).
        cause: covariate, label, concept or cannot tell.
        k: number of the verdict, from 1.
        calibration: whether the model's probabilities still hold: level, error, p, rows, excess; None where unknown.
        slice: the part of the traffic that got worse; None where none is clear.
        log: log files that are missing, cannot be read or are gone, by name and counted; None where none is.
    """

    window: int
    version: str
    verdict: str
    layers: Mapping[str, str]
    fields: Sequence[Mapping[str, Any]]
    since: Mapping[str, str] | None
    cost_per_day: float
    words: str
    rows: int
    labelled: int
    performance: Mapping[str, Any]
    report: str
    first_time: str
    last_time: str
    cause: str
    k: int = 1
    calibration: Mapping[str, Any] | None = None
    slice: Mapping[str, Any] | None = None
    log: Mapping[str, Any] | None = None

    def facts(self) -> dict[str, Any]:
        """As record fields."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Verdict:
        """From a record; fields that this code does not know are left alone."""
        return cls(**{f.name: record[f.name] for f in fields(cls) if f.name in record})


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of one file of the log.

    Attributes:
        key: the file.
        start, stop: its rows, `stop` excluded.
        late: whether it turned up after a window with newer rows was cut.
    """

    key: str
    start: int
    stop: int
    late: bool = False


@dataclass(frozen=True)
class Cut:
    """Who is in a window.

    Attributes:
        window: its number.
        pieces: its rows, in order of the files' names.
        reason: `rows` or `time`: why it was cut here.
        reference: digest of the reference it is compared with.
        first_time, last_time: of its rows (RFC 3339).
    """

    window: int
    pieces: tuple[Piece, ...]
    reason: str
    reference: str
    first_time: str
    last_time: str

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(p.stop - p.start for p in self.pieces)

    def facts(self) -> dict[str, Any]:
        """As record fields."""
        return {**asdict(self), "rows": self.rows, "pieces": [asdict(p) for p in self.pieces]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Cut:
        """From a record."""
        return cls(
            window=int(record["window"]),
            pieces=tuple(
                Piece(p["key"], int(p["start"]), int(p["stop"]), bool(p.get("late"))) for p in record["pieces"]
            ),
            reason=record["reason"],
            reference=record["reference"],
            first_time=record["first_time"],
            last_time=record["last_time"],
        )


def folder(model: str, version: str, window: int | None = None) -> str:
    """Prefix of a version's windows, or of one of them."""
    base = f"windows/{model}/{version}/"
    return base if window is None else f"{base}{number(window)}/"


def page_key(model: str, version: str, window: int) -> str:
    """Where the page of a window's verdict lies."""
    return f"reports/{folder(model, version, window)}verdict.html"


def evidently_key(model: str, version: str, window: int) -> str:
    """Where Evidently's report of a window lies."""
    return f"reports/{folder(model, version, window)}drift.html"


def opinions_key(model: str, version: str, window: int) -> str:
    """Where second opinions of a window lie: Evidently's scores, and alarms of online detectors."""
    return f"reports/{folder(model, version, window)}opinions.json"


def keys_by_window(store: Store, model: str, version: str, after: int = 0) -> dict[int, list[str]]:
    """The keys of each window behind `after`, sorted."""
    prefix = folder(model, version)
    found: dict[int, list[str]] = {}
    behind = f"{prefix}{number(after)}/zzzz" if after else None
    for key in store.list(prefix, after=behind):
        at = key[len(prefix) :].partition("/")[0]
        if at.isdigit():
            found.setdefault(int(at), []).append(key)
    return found


def newest(keys: Sequence[str], noun: str) -> str | None:
    """The key `<noun>-<k>.json` of the highest k."""
    return max((k for k in keys if k.rpartition("/")[2].startswith(f"{noun}-")), default=None)


def next_number(key: str | None) -> int:
    """The k behind that of a key; 1 without one."""
    return 1 if key is None else int(key.rpartition("-")[2].removesuffix(".json")) + 1


def create_cut(store: Store, model: str, version: str, cut: Cut) -> Cut:
    """Fix who is in a window.

    Returns:
        The cut that counts: this one, or the one that somebody else was faster with.
    """
    key = f"{folder(model, version, cut.window)}cut.json"
    if create_record(store, key, "window-cut", {"model": model, "version": version, **cut.facts()}):
        return cut
    return Cut.of(read_record(store, key, "window-cut"))


def create_once(store: Store, key: str, noun: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write a record where there is none yet; the facts that count: these, or those already there."""
    return facts if create_record(store, key, noun, facts) else read_record(store, key, noun)


def create_next(store: Store, prefix: str, name: str, noun: str, facts: Mapping[str, Any], k: int) -> int:
    """Write `<prefix><name>-<k>.json` under the first free k from the given one on.

    Returns:
        That k.
    """
    while not create_record(store, f"{prefix}{name}-{number(k)}.json", noun, {**facts, "k": k}):
        k += 1
    return k


def latest(store: Store, model: str, version: str) -> Verdict | None:
    """The newest verdict of the newest window that has one."""
    by_window = keys_by_window(store, model, version)
    for window in sorted(by_window, reverse=True):
        key = newest(by_window[window], "verdict")
        if key is not None:
            return read_verdict(store, key)
    return None


def verdicts(store: Store, model: str, version: str) -> list[Verdict]:
    """The newest verdict of each window, oldest window first."""
    return list(_verdicts(store, model, version))


def recent(store: Store, model: str, version: str, upto: int, most: int) -> list[Verdict]:
    """The newest verdict of each of the last windows up to one, oldest first; records of others are not read."""
    by_window = keys_by_window(store, model, version, after=max(0, upto - most))
    keys = [newest(by_window[w], "verdict") for w in sorted(by_window) if w <= upto]
    return [read_verdict(store, key) for key in keys if key is not None]


def _verdicts(store: Store, model: str, version: str) -> Iterator[Verdict]:
    by_window = keys_by_window(store, model, version)
    for window in sorted(by_window):
        key = newest(by_window[window], "verdict")
        if key is not None:
            yield read_verdict(store, key)


# Records never change, so each verdict is read once, whoever asks; bounded, the oldest read goes first.
_READ: dict[tuple[str, str], Verdict] = {}
_READ_MOST = 4096


def read_verdict(store: Store, key: str) -> Verdict:
    """A verdict record; read once, whoever asks."""
    at = (store.url, key)
    found = _READ.get(at)
    if found is None:
        found = _READ[at] = Verdict.of(read_record(store, key, "verdict"))
        while len(_READ) > _READ_MOST:
            _READ.pop(next(iter(_READ)), None)
    return found
