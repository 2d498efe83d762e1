"""A verdict in plain English, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trimtab.monitoring.calibration import Calibration
from trimtab.monitoring.cause import Cause
from trimtab.monitoring.drift import Moved
from trimtab.monitoring.performance import Yardstick, measured
from trimtab.monitoring.sequential import Look, chance_in_words

if TYPE_CHECKING:
    from trimtab.monitoring.slices import Slice
    from trimtab.monitoring.verdict import Level, Since

#: Columns of the model itself, as people call them.
OURS = {
    "_label": "the model's answers",
    "_value": "the model's answers",
    "_confidence": "the model's confidence",
    "_embedding": "the images as the model sees them",
}
_CAUSES = {
    Cause.covariate: "Inputs moved to where the model is less sure, which explains most of it (covariate shift).",
    Cause.label: "Other classes are more frequent now, which explains most of it (label shift).",
    Cause.concept: "Inputs look as before, so the right answers themselves have changed (concept drift).",
    Cause.unknown: "Whether inputs or the right answers changed cannot be told from the data.",
}


def words(
    verdict: Level,
    layers: Mapping[str, Level],
    moved: Sequence[Moved],
    look: Look | None,
    guess: Look,
    yardstick: Yardstick,
    since: Since | None,
    cost: float,
    cause: Cause,
    part: Slice | None = None,
    labelled: int = 0,
) -> str:
    """The sentences of a verdict that is not `none`.

    Args:
        verdict: all layers together.
        layers: by layer.
        moved: fields that moved.
        look: the stretch whose labels show harm; None where they do not, over all rows.
        guess: the same of the estimate.
        yardstick: the reference.
        since: when it began.
        cost: errors a day.
        cause: what kind of drift it is.
        part: the part of the traffic that got worse; None where none is clear.
        labelled: labelled rows of the newest windows; 0 where there are too few to contradict an estimate.
    """
    if verdict == "none":
        return ""
    said = []
    if look is not None:
        said.append(_realised(look, yardstick))
    if part is not None:
        said.append(_part(part, yardstick, alone=look is None))
    if layers["expected"] != "none":
        said.append(_expected(guess, yardstick, labelled, alone=layers["realised"] == "none"))
    if since is not None and layers["realised"] != "none":
        said.append(f"Since {moment(since.point)} (between {moment(since.lower)} and {moment(since.upper)}).")
    if cost > 0:
        unit = "more errors" if yardstick.binary else "more error in the target's unit"
        said.append(f"That is about {cost:,.0f} {unit} a day.")
    if moved:
        said.append("Moved: " + "; ".join(field(m) for m in moved[:4]) + (", …." if len(moved) > 4 else "."))
    elif layers["realised"] != "none":
        said.append("No input moved noticeably.")
    if look is not None:
        said.append(_CAUSES[cause])
    elif part is not None:
        said.append("All rows together do not show it.")
    elif layers["expected"] == "none":
        said.append("Nothing shows that it hurts.")
    return " ".join(said)


def field(moved: Moved) -> str:
    """One field that moved: its name, then and now, its effect."""
    return f"{OURS.get(moved.name, moved.name)} ({moved.words}; {moved.unit} {moved.effect:.2f})"


def moment(micros: int) -> str:
    """A time, UTC, to the second."""
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def performance(loss: float, yardstick: Yardstick) -> str:
    """A mean loss as a performance with its unit."""
    shown = yardstick.shown(loss)
    return f"{shown:.1%}" if yardstick.binary else f"{shown:.4g}"


def quiet(look: Look, yardstick: Yardstick) -> str:
    """The sentence of a verdict that is `none`."""
    if not look.losses.n:
        return "Nothing moved; no labels yet."
    return (
        f"Nothing moved; {yardstick.unit} {performance(look.losses.mean, yardstick)} of {look.losses.n:,} "
        f"labelled rows, reference {performance(yardstick.realised.mean, yardstick)}."
    )


def uncalibrated(held: Calibration) -> str:
    """That probabilities no longer hold."""
    way = "too sure of itself" if held.excess > 0 else "too cautious" if held.excess < 0 else "off"
    return (
        f"The model's probabilities no longer hold: it is {way}, by {held.error:.1%} on average over the newest "
        f"{held.rows:,} labelled rows; estimates without labels are off by as much."
    )


def _part(part: Slice, yardstick: Yardstick, *, alone: bool) -> str:
    stretch = "the last window" if part.span == 1 else f"the last {part.span} windows"
    unit = yardstick.unit.capitalize() if alone else "Worst"
    then = yardstick.by_slice[part.name]
    verb = "is" if alone else ":"
    return (
        f"{unit} where {part.name}{' ' if alone else ''}{verb} {performance(part.losses.mean, yardstick)} of "
        f"{part.losses.n:,} labelled rows in {stretch}, against {performance(then.mean, yardstick)} there in the "
        f"reference ({part.share:.0%} of the traffic)."
    )


def _realised(look: Look, yardstick: Yardstick) -> str:
    now = measured(yardstick, look.losses)
    low, high = (f"{x:.1%}" if yardstick.binary else f"{x:.4g}" for x in (now.low, now.high))
    stretch = "the last window" if look.span == 1 else f"the last {look.span} windows"
    usual = performance(yardstick.realised.mean, yardstick)
    return (
        f"{yardstick.unit.capitalize()} is {performance(look.losses.mean, yardstick)} (95 % interval {low} to {high}) "
        f"over {stretch} with {look.losses.n:,} labelled rows, against {usual} of {yardstick.realised.n:,} reference "
        f"rows; by chance {chance_in_words(look.p)}."
    )


def _expected(guess: Look, yardstick: Yardstick, labelled: int, *, alone: bool) -> str:
    loss = yardstick.realised.mean + guess.harm if yardstick.realised.n else guess.losses.mean
    text = f"The model's own doubt suggests {yardstick.unit} {performance(loss, yardstick)}"
    if not alone:
        return f"{text}."
    if labelled:
        return f"{text}; the {labelled:,} labels of the newest windows do not show more than chance."
    return f"{text}, and no labels contradict it yet."
