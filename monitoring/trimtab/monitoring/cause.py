"""What kind of drift: inputs that moved, classes that became more frequent, or a changed relation between the two."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trimtab.monitoring.losses import add
from trimtab.monitoring.performance import Realised, Yardstick
from trimtab.monitoring.sequential import Look
from trimtab.monitoring.twosample import unordered

if TYPE_CHECKING:
    from trimtab.monitoring.verdict import Figures

# A shift of inputs or classes is the cause where it explains at least this share of the harm …
MOST = 0.6
# … and the model's doubt is no part of it where it explains at most this share.
LITTLE = 0.3
# Level at which classes count as more or less frequent than in the reference.
CLASSES_LEVEL = 0.001


class Cause(enum.StrEnum):
    """Kinds of drift."""

    covariate = "covariate"
    label = "label"
    concept = "concept"
    unknown = "cannot tell"


def cause_of(history: Sequence[Figures], yardstick: Yardstick, look: Look, *, inputs_moved: bool) -> Cause:
    """The kind of a realised loss, as far as the data tell.

    Label shift: classes became more or less frequent, and the model's accuracy on each, as in the reference, explains
    most of the harm. Covariate shift: inputs moved, and the model's own (calibrated) doubt explains most of it.
    Concept drift: inputs stand still, and its doubt explains little. Several could produce the same figures; where
    more than one or none fits, it is unknown.

    Args:
        history: windows, oldest first.
        yardstick: the reference.
        look: the stretch that shows the harm.
        inputs_moved: whether the newest window's inputs differ from the reference's.
    """
    parts = [h.realised for h in history if h.realised is not None and h.realised.labelled][-look.span :]
    if not parts or look.harm <= 0:
        return Cause.unknown
    guessed = add(p.guessed for p in parts)
    doubt = (guessed.mean - yardstick.estimated.mean) / look.harm if guessed.n and yardstick.estimated.n else 0.0
    by_mix = _explained_by_classes(parts, yardstick, look.harm)
    if by_mix >= MOST:
        return Cause.label
    if inputs_moved:
        return Cause.covariate if doubt >= MOST else Cause.unknown
    # Classes that were rows of these inputs more often would have moved the inputs: where those stand still, truths
    # of the same inputs have changed, which makes some classes more frequent too.
    return Cause.concept if doubt <= LITTLE else Cause.unknown


def _explained_by_classes(parts: Sequence[Realised], yardstick: Yardstick, harm: float) -> float:
    """Share of the harm that comes from other class shares alone, each class as well known as in the reference."""
    if not yardstick.classes:
        return 0.0
    then = np.array([yardstick.truths[c] for c in yardstick.classes])
    now = np.array([sum(p.truths.get(c, 0) for p in parts) for c in yardstick.classes])
    if not then.sum() or not now.sum() or unordered(then, now).p > CLASSES_LEVEL:
        return 0.0
    loss = np.array(
        [yardstick.by_class[c].mean if yardstick.by_class[c].n else yardstick.realised.mean for c in yardstick.classes]
    )
    return float((now / now.sum() - then / then.sum()) @ loss) / harm
