"""A window's verdict explained from the store alone: paragraphs and tables that a command, a page and a report show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import NotFound
from trimtab.core.records import parse_time, read_record
from trimtab.monitoring import windows, wording
from trimtab.monitoring.losses import Losses, interval
from trimtab.monitoring.windows import Cut, Verdict

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.performance import Yardstick

# Fields, slices and files named, at most.
NAMED, FILES = 12, 10
_LAYERS = {
    "inputs": "inputs and predictions against the reference",
    "expected": "performance as estimated without labels",
    "realised": "performance as labels show it",
}


@dataclass(frozen=True)
class Told:
    """A window as its records tell it.

    Attributes:
        model: the model.
        cut: who is in the window.
        verdicts: all that were said about it, the newest last.
        inputs, expected, realised: the newest record of each layer; None where there is none yet.
        alarms: what the hook answered.
    """

    model: str
    cut: Cut
    verdicts: tuple[Verdict, ...]
    inputs: Mapping[str, Any] | None
    expected: Mapping[str, Any] | None
    realised: Mapping[str, Any] | None
    alarms: tuple[Mapping[str, Any], ...]

    @property
    def verdict(self) -> Verdict:
        """The newest verdict, which counts."""
        return self.verdicts[-1]


def read(store: Store, model: str, version: str, window: int) -> Told:
    """Read a window's records.

    Raises:
        NotFound: the version has no such window, or nothing was said about it yet.
    """
    prefix = windows.folder(model, version, window)
    keys = list(store.list(prefix))
    said = [k for k in keys if k.rpartition("/")[2].startswith("verdict-")]
    if f"{prefix}cut.json" not in keys or not said:
        known = sorted(windows.keys_by_window(store, model, version))
        has = f"windows 1 to {known[-1]}" if known else "a window (none was cut yet: is `trimtab watch` running?)"
        raise NotFound(f"{model} {version} has no verdict about window {window}", object=prefix, expected=has)

    def newest(noun: str) -> Mapping[str, Any] | None:
        key = windows.newest(keys, noun)
        return read_record(store, key, f"window-{noun}") if key else None

    return Told(
        model,
        Cut.of(read_record(store, f"{prefix}cut.json", "window-cut")),
        tuple(Verdict.of(read_record(store, k, "verdict")) for k in sorted(said)),
        read_record(store, f"{prefix}inputs.json", "window-inputs") if f"{prefix}inputs.json" in keys else None,
        read_record(store, f"{prefix}expected.json", "window-expected") if f"{prefix}expected.json" in keys else None,
        newest("realised"),
        tuple(read_record(store, k, "alarm") for k in keys if k.rpartition("/")[2].startswith("alarm-")),
    )


def explain(store: Store, model: str, version: str, window: int) -> dict[str, Any]:
    """Why a window's verdict is what it is.

    Args:
        store: all that is read.
        model: the model.
        version: whose window.
        window: its number.

    Returns:
        The verdict's facts and `paragraphs` (sentences), `layers`, `performance`, `fields`, `slices`, `opinions`,
        `history` (earlier verdicts about it), `files` and `report` (its key, where one was made).

    Raises:
        NotFound: nothing was said about such a window.
    """
    from trimtab.core.errors import TrimtabError
    from trimtab.monitoring import reference

    told = read(store, model, version, window)
    try:
        yardstick = reference.load(store, model, version).yardstick
    except TrimtabError:
        yardstick = None  # a bundle that is gone takes the reference's slices with it; the records still explain
    return facts(told, yardstick, opinions_of(store, told))


def opinions_of(store: Store, told: Told) -> Mapping[str, Any]:
    """Second opinions that were recorded with the report; empty where there are none."""
    import json

    try:
        found = json.loads(store.get(windows.opinions_key(told.model, told.verdict.version, told.cut.window)))
    except (NotFound, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facts(told: Told, yardstick: Yardstick | None, opinions: Mapping[str, Any]) -> dict[str, Any]:
    """What `explain` returns, from what was read."""
    said = told.verdict
    return {
        "model": told.model,
        **said.facts(),
        "title": f"{told.model} {said.version}, window {said.window}: {said.verdict}",
        "reason": told.cut.reason,
        "paragraphs": paragraphs(told, opinions),
        "layer_facts": layers(told),
        "slices": slices(told, yardstick),
        "opinions": dict(opinions),
        "history": [
            {"k": v.k, "verdict": v.verdict, "labelled": v.labelled, "words": v.words} for v in told.verdicts[:-1]
        ],
        "files": [{"key": p.key, "rows": p.stop - p.start, "late": p.late} for p in told.cut.pieces],
        "alarms": [{k: a[k] for k in ("status", "campaign", "reason") if k in a} for a in told.alarms],
    }


def paragraphs(told: Told, opinions: Mapping[str, Any]) -> list[str]:
    """The verdict in sentences, with what stands behind it."""
    said = told.verdict
    found = [said.words]
    labelled = f"{said.labelled:,} of them labelled" if said.labelled else "none of them labelled yet"
    found.append(
        f"The window holds {said.rows:,} rows answered from {_moment(said.first_time)} to {_moment(said.last_time)}, "
        f"{labelled}; it was cut because {'it was full' if told.cut.reason == 'rows' else 'its time was over'}."
    )
    if told.realised is not None and said.labelled:
        delay = told.realised.get("delay_seconds")
        late = f" Labels came {_span(delay)} after their predictions (median)." if delay is not None else ""
        against = int(told.realised.get("contradicted") or 0)
        twice = f" {against:,} rows have labels of different values; the newest counts." if against else ""
        if late or twice:
            found.append((late + twice).strip())
    held = said.calibration
    if held is not None and held["level"] == "none":
        found.append(
            f"Nothing shows that the model's probabilities are off: estimated gap {held['error']:.1%}, "
            f"p = {held['p']:.2g} over {held['rows']:,} labelled rows."
        )
    late_files = [p for p in told.cut.pieces if p.late]
    if late_files:
        rows = sum(p.stop - p.start for p in late_files)
        found.append(f"{rows:,} rows are late: their files turned up after an earlier window was cut.")
    found += log_sentences(said.log)
    second = _second(opinions)
    if second:
        found.append(second)
    for answer in told.alarms:
        if "campaign" in answer:
            found.append(f"The hook answers it with campaign {answer['campaign']}.")
        elif answer.get("reason"):
            found.append(f"The hook was told and opened no campaign: {answer['reason']}.")
    return found


def log_sentences(log: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with the log files that this window was cut from."""
    if not log:
        return []
    found = []
    for kind, words in (
        ("missing", "missing, though later ones of the same server turned up"),
        ("unreadable", "left out because unreadable"),
        ("gone", "gone since a window was cut from them"),
    ):
        names = list(log.get(kind) or [])
        if names:
            count = int(log.get(f"{kind}_count") or len(names))
            more = ", …" if count > len(names) else ""
            noun = "log file" if count == 1 else "log files"
            found.append(f"{count:,} {noun} {words}: {', '.join(names)}{more}.")
    skew = float(log.get("ahead_seconds") or 0.0)
    if skew > 0:
        found.append(f"Rows are dated {_span(skew)} ahead of the watch's clock: a server's clock is off.")
    return found


def layers(told: Told) -> list[dict[str, Any]]:
    """Each layer: what it compares, its level, and its p-value where it has one of its own."""
    p = {"inputs": told.inputs["p"] if told.inputs else None}
    return [
        {"layer": name, "level": level, "compares": _LAYERS.get(name, ""), "p": p.get(name)}
        for name, level in ordered(told.verdict)
    ]


def ordered(said: Verdict) -> list[tuple[str, str]]:
    """Layers and their levels, from the inputs to the labels."""
    return sorted(said.layers.items(), key=lambda item: [*_LAYERS, item[0]].index(item[0]))


def fields(told: Told) -> list[dict[str, Any]]:
    """Every recorded field, those that moved first."""
    moved = [dict(f) for f in told.verdict.fields]
    names = {f["name"] for f in moved}
    rest = [dict(f) for f in (told.inputs or {}).get("fields", []) if f["name"] not in names]
    rest.sort(key=lambda f: (f["p"], -f["effect"]))
    return [{**f, "moved": f["name"] in names, "shown": shown_name(f["name"])} for f in moved + rest]


def shown_name(name: str) -> str:
    """A compared column as people call it.

    >>> shown_name("_confidence")
    "the model's confidence"
    """
    return wording.OURS.get(name, name)


def slices(told: Told, yardstick: Yardstick | None) -> list[dict[str, Any]]:
    """Performance by part of the traffic in this window, the worst against its reference first."""
    if told.realised is None or yardstick is None:
        return []
    found = []
    for name, sums in told.realised.get("slices", {}).items():
        now = Losses(int(sums[0]), *(float(v) for v in sums[1:4]))
        then = yardstick.by_slice.get(name, Losses())
        if not now.n or not then.n:
            continue
        low, high = interval(now, binary=yardstick.binary)
        ends = sorted((yardstick.shown(low), yardstick.shown(high)))
        found.append(
            {
                "name": name,
                "rows": now.n,
                "value": yardstick.shown(now.mean),
                "low": ends[0],
                "high": ends[1],
                "reference": yardstick.shown(then.mean),
                "harm": now.mean - then.mean,
            }
        )
    return sorted(found, key=lambda s: -s["harm"])[:NAMED]


def _second(opinions: Mapping[str, Any]) -> str:
    """What river's detectors and Evidently say, in a sentence each; they never decide."""
    said = []
    detectors: Mapping[str, Sequence[str]] = opinions.get("detectors") or {}
    alarmed = {name: times for name, times in detectors.items() if times}
    if detectors:
        rows = int(opinions.get("rows") or 0)
        if alarmed:
            names = ", ".join(f"{name} at {_moment(times[-1])}" for name, times in sorted(alarmed.items()))
            quiet = sorted(set(detectors) - set(alarmed))
            rest = f"; {', '.join(quiet)} {'stays' if len(quiet) == 1 else 'stay'} quiet" if quiet else ""
            said.append(f"Online detectors over the newest {rows:,} labelled rows: {names}{rest}.")
        else:
            said.append(f"No online detector ({', '.join(sorted(detectors))}) fires over {rows:,} labelled rows.")
    scores = opinions.get("evidently") or {}
    if scores:
        over = [n for n, s in scores.items() if s.get("drifted")]
        said.append(f"Evidently's distances flag {len(over)} of {len(scores)} columns.")
    return f"Second opinions, which do not decide: {' '.join(said)}" if said else ""


def _moment(text: str) -> str:
    return parse_time(text).strftime("%Y-%m-%d %H:%M:%S")


def _span(seconds: float) -> str:
    """A length of time as people say it.

    >>> _span(5400)
    '1.5 hours'
    """
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size or (seconds >= size and name != "minutes"):
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} seconds"
