"""A retrained version against the champion in a simulation: on the newest labelled rows, of which neither saw one."""

from __future__ import annotations

import numpy as np

from trimtab.core.policies import Rollout
from trimtab.monitoring import judge
from trimtab.monitoring.judge import Ruling
from trimtab.monitoring.paired import Paired
from trimtab.monitoring.simulate.version import Version


def ruled(made: Version, champion: Version, cut: int, known: int, rollout: Rollout, window: int) -> Ruling:
    """The judge's ruling on the rows from `cut` to `known`.

    Args:
        made: the new version.
        champion: who serves.
        cut: first row that judges.
        known: the row behind the last.
        rollout: the project's block.
        window: rows of a window.
    """
    return judge.challenger(paired(made, champion, cut, known), rollout.sized(window))


def paired(made: Version, champion: Version, cut: int, known: int) -> Paired:
    """Both versions' results on the same rows."""
    on = np.arange(cut, known)
    truth, mine, theirs = made.stream.truth[on], made.predict(on), champion.predict(on)
    if made.stream.classes:
        return Paired.of_labels(truth, mine.argmax(axis=1), theirs.argmax(axis=1))
    return Paired.of_values(truth, mine, theirs)


def no_worse(made: Version, champion: Version, cut: int, known: int, margin: float) -> bool:
    """Whether the estimate is within the margin: where it is not, the shadow would keep it from serving."""
    on = np.arange(cut, known)
    mine, theirs = float(made.losses(on).mean()), float(champion.losses(on).mean())
    return mine - theirs <= margin if made.stream.classes else mine <= theirs * (1 + margin)
