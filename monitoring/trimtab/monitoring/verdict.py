"""One verdict about a window from three layers: inputs, expected performance, realised performance. Pure.

`none`: nothing to look at. `watch`: worth a look, nobody is woken. `drift`: harm that pages and may retrain. Inputs
alone never say more than `watch`, because inputs that move do not have to hurt. Labels decide where there are any;
where there are none, estimated harm must be strong and last for two windows.

False alarms: without drift `watch` or more in at most `windows.watch_level` of the windows (the layers share it), and
`drift` in at most `windows.drift_level` of them; tests/monitoring checks both by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from trimtab.core.policies import Windows
from trimtab.monitoring import calibration, wording
from trimtab.monitoring.calibration import Calibration
from trimtab.monitoring.cause import Cause, cause_of
from trimtab.monitoring.drift import Comparison, Moved
from trimtab.monitoring.losses import Losses, add
from trimtab.monitoring.performance import Realised, Yardstick
from trimtab.monitoring.sequential import Look, change_point, scan
from trimtab.monitoring.slices import Slice, worst

Level = Literal["none", "watch", "drift"]
ORDER: tuple[Level, ...] = ("none", "watch", "drift")

# How the layers share the level at which `watch` may be wrong: most to labels, because five points less accuracy in
# three windows of 300 are barely more than chance, while inputs that move say so clearly at a fraction already. What
# is left is reserve: looks share windows, so that chance comes in clusters.
INPUTS, EXPECTED, REALISED, SLICES = 0.15, 0.03, 0.36, 0.02
# Of REALISED, what goes to losses less their estimates where the estimate explains some of the loss.
SURPRISE = 0.27
# What of the level at which `drift` may be wrong goes to one look; the rest is reserve for the same reason: a chance
# that is bad enough to page stays in the stretches of the next two or three windows.
LASTING = 0.5
# Newest windows whose labels tell whether probabilities still hold.
CALIBRATION_WINDOWS = 8
# Fewer labelled rows in the newest two windows leave a verdict to the estimate.
BLIND_ROWS = 30


@dataclass(frozen=True)
class Figures:
    """What is known about one window.

    Attributes:
        window: its number, from 1.
        rows: rows in it.
        first, last: times of its first and last row, microseconds since 1970.
        inputs: its comparison with the reference.
        expected: sums of its losses as estimated without labels.
        realised: what its labels show; None before the first.
    """

    window: int
    rows: int
    first: int
    last: int
    inputs: Comparison | None
    expected: Losses
    realised: Realised | None


@dataclass(frozen=True)
class Since:
    """When it began, microseconds since 1970: earliest plausible, most likely, latest plausible."""

    lower: int
    point: int
    upper: int


@dataclass(frozen=True)
class Decision:
    """The verdict about the newest window of a history.

    Attributes:
        verdict: all layers together.
        layers: by layer, `inputs`, `expected`, `realised`.
        moved: fields that moved, the clearest first; of every field where none did.
        since: when it began; None where there is nothing.
        cost_per_day: errors (for numbers: error in the target's unit) a day beyond the reference's.
        cause: what kind of drift it is.
        words: in plain English.
        look: the realised layer's most telling stretch.
        calibration: whether the model's probabilities still hold; no part of the verdict.
        calibrated: the same as a level: `drift` where they do not.
        slice: the part of the traffic that most clearly got worse, where it says `watch`.
    """

    verdict: Level
    layers: dict[str, Level]
    moved: list[Moved]
    since: Since | None
    cost_per_day: float
    cause: Cause
    words: str
    look: Look
    calibration: Calibration = field(default_factory=Calibration)
    calibrated: Level = "none"
    slice: Slice | None = None


def decide(
    history: Sequence[Figures], yardstick: Yardstick, policy: Windows, rows_per_day: float | None = None
) -> Decision:
    """Judge the newest window of a version.

    Args:
        history: the version's windows since its first, oldest first; the last one is judged.
        yardstick: its reference.
        policy: levels and the harm that matters.
        rows_per_day: the traffic that costs are stated for; by default that of the newest windows.
    """
    now = history[-1]
    inputs, moved = _inputs(now, policy)
    held, calibrated = _calibration(history, yardstick, policy)
    expected, guess = _expected(history, yardstick, policy)
    if expected == "drift" and calibrated != "none" and held.excess < 0:
        expected = "watch"  # labels have shown that its doubt is too large to page on
    look = scan(
        yardstick.realised,
        [h.realised.losses for h in history if h.realised is not None],
        policy.harm,
        binary=yardstick.binary,
    )
    lasting = look.p <= LASTING * policy.drift_level and look.harm > policy.harm
    look, clear = _surprise(look, history, yardstick, policy)
    realised: Level = "drift" if lasting else "watch" if clear else "none"
    part = _slice(history, yardstick, policy)
    if part is not None and realised == "none":
        realised = "watch"
    layers: dict[str, Level] = {"inputs": inputs, "expected": expected, "realised": realised}
    verdict = max(layers.values(), key=ORDER.index)

    since, harm, cause = None, 0.0, Cause.unknown
    if part is not None and not (clear or lasting):
        since, harm = _since_span(history, part.span), part.harm * part.share
    elif realised != "none":
        since, harm = _since_labels(history, yardstick), look.harm
        cause = cause_of(history, yardstick, look, inputs_moved=inputs != "none")
    elif verdict != "none":
        since = _since_windows(history, yardstick, policy)
        harm = max(0.0, guess.harm) if expected != "none" else 0.0
        if expected != "none" and inputs != "none":
            cause = Cause.covariate
    cost = harm * yardstick.spread * (rows_per_day or _rows_per_day(history))
    overall = clear or lasting
    labelled = _labelled(history)
    words = wording.words(
        verdict, layers, moved, look if overall else None, guess, yardstick, since, cost, cause, part,
        0 if labelled < BLIND_ROWS else labelled,
    )  # fmt: skip
    if verdict == "none":
        words = wording.quiet(look, yardstick)
    if calibrated != "none":
        words += " " + wording.uncalibrated(held)
    return Decision(verdict, layers, moved, since, cost, cause, words, look, held, calibrated, part)


def _inputs(now: Figures, policy: Windows) -> tuple[Level, list[Moved]]:
    if now.inputs is None:
        return "none", []
    level = INPUTS * policy.watch_level
    if now.inputs.p > level:
        return "none", []
    named = now.inputs.named(level)
    return "watch", named or sorted(now.inputs.fields, key=lambda f: f.p)[:3]


def _expected(history: Sequence[Figures], yardstick: Yardstick, policy: Windows) -> tuple[Level, Look]:
    """The estimate of the newest window, and of all stretches where it alone may speak."""
    estimates = [h.expected for h in history]
    now = scan(yardstick.estimated, estimates[-1:], policy.harm, binary=False)
    if now.p > EXPECTED * policy.watch_level:
        return "none", now
    blind = _labelled(history) < BLIND_ROWS
    if not blind or len(history) < 2:
        return "watch", now
    look = scan(yardstick.estimated, estimates, policy.harm, binary=False)
    lasting = all(e.n and e.mean - yardstick.estimated.mean > policy.harm for e in estimates[-2:])
    if lasting and look.p <= LASTING * policy.drift_level:
        return "drift", look
    return "watch", now


def _labelled(history: Sequence[Figures]) -> int:
    """Labelled rows of the newest two windows."""
    return sum(h.realised.labelled for h in history[-2:] if h.realised is not None)


def _calibration(history: Sequence[Figures], yardstick: Yardstick, policy: Windows) -> tuple[Calibration, Level]:
    """Whether the model's probabilities still say what they said, over the newest windows with labels."""
    parts = [
        h.realised.cells for h in history[-4 * CALIBRATION_WINDOWS :] if h.realised is not None and h.realised.labelled
    ]
    held = calibration.check(yardstick.cells, parts[-CALIBRATION_WINDOWS:])
    if not held.error > policy.harm or held.p > policy.watch_level:
        return held, "none"
    # A row takes part in as many looks as windows are joined: what chance puts into one of them stays for the others.
    return held, "drift" if held.p <= policy.drift_level / CALIBRATION_WINDOWS else "watch"


def _surprise(look: Look, history: Sequence[Figures], yardstick: Yardstick, policy: Windows) -> tuple[Look, bool]:
    """The look to tell of, and whether it says `watch`: at losses, or where that is clearer at what surprised."""
    parts = [h.realised for h in history if h.realised is not None and h.realised.labelled]
    found = [yardstick.surprised(p) for p in parts]
    if not found or not all(f.n for f in found):
        return look, look.p <= REALISED * policy.watch_level
    if look.p <= (REALISED - SURPRISE) * policy.watch_level:
        return look, True
    other = scan(yardstick.surprise, found, policy.harm, binary=False)
    raw = add(p.losses for p in parts[-other.span :])
    harm = raw.mean - yardstick.realised.mean
    if other.p <= SURPRISE * policy.watch_level and harm > 0:
        return Look(other.p, other.span, raw, harm), True
    return look, False


def _slice(history: Sequence[Figures], yardstick: Yardstick, policy: Windows) -> Slice | None:
    """The part of the traffic that got worse, where that is no chance."""
    parts = [h.realised for h in history if h.realised is not None and h.realised.slices]
    if not parts or not yardstick.by_slice:
        return None
    found = worst(
        yardstick.by_slice,
        [p.slices for p in parts],
        [p.labelled for p in parts],
        policy.harm,
        binary=yardstick.binary,
    )
    return found if found is not None and found.p <= SLICES * policy.watch_level else None


def _since_span(history: Sequence[Figures], span: int) -> Since:
    """From the first of the newest so many windows with labels."""
    labelled = [i for i, h in enumerate(history) if h.realised is not None and h.realised.labelled]
    first = labelled[-min(span, len(labelled))]
    return Since(history[max(0, first - 1)].first, history[first].first, history[first].last)


def _since_labels(history: Sequence[Figures], yardstick: Yardstick) -> Since | None:
    """The change point of the labelled rows, in their order."""
    parts = [h.realised for h in history if h.realised is not None and h.realised.labelled]
    n, total, squares, first = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("n", "total", "squares", "first")
    )
    order = np.argsort(first, kind="stable")
    found = change_point(n[order], total[order], squares[order], yardstick.realised, binary=yardstick.binary)
    if found is None:
        return None
    times = first[order]
    return Since(int(times[found.lower]), int(times[found.point]), int(times[found.upper]))


def _since_windows(history: Sequence[Figures], yardstick: Yardstick, policy: Windows) -> Since:
    """The run of windows up to the newest in which inputs or estimate were off: its first began it."""
    first = len(history) - 1
    while first > 0 and _off(history[first - 1], yardstick, policy):
        first -= 1
    before = history[max(0, first - 1)]
    return Since(before.first, history[first].first, history[first].last)


def _off(window: Figures, yardstick: Yardstick, policy: Windows) -> bool:
    if _inputs(window, policy)[0] != "none":
        return True
    look = scan(yardstick.estimated, [window.expected], policy.harm, binary=False)
    return look.p <= EXPECTED * policy.watch_level


def _rows_per_day(history: Sequence[Figures]) -> float:
    """Traffic over the newest windows; 0 where they show no time."""
    recent = history[-10:]
    seconds = (recent[-1].last - recent[0].first) / 1e6
    return sum(h.rows for h in recent) / seconds * 86_400 if seconds > 0 else 0.0
