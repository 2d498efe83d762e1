"""Covariate shift, label shift and concept drift told apart where the data allow it, and said where they do not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from trimtab.core.policies import Windows
from trimtab.core.predictions import TIME
from trimtab.core.schema import Field, Schema, Target
from trimtab.monitoring.cause import Cause
from trimtab.monitoring.columns import arrays, compared
from trimtab.monitoring.drift import Profile
from trimtab.monitoring.losses import of
from trimtab.monitoring.performance import Yardstick, realised
from trimtab.monitoring.verdict import Decision, Figures, decide

SCHEMA = Schema(
    fields=(Field(name="x", kind="number"), Field(name="z", kind="number")),
    target=Target(name="y", kind="category", classes=("usual", "rare")),
)
COLUMNS = compared(SCHEMA)
RARE = 0.1


def rows(rng: np.random.Generator, n: int, rare: float = RARE, turned: float = 0.0, moved: float = 0.0) -> pa.Table:
    """Two normal classes and the model that knows them at their usual frequency.

    Args:
        rng: randomness.
        n: rows.
        rare: how frequent the rare class is: label shift where it is another share than usual.
        turned: share of truths turned round: concept drift.
        moved: how far `z`, which says nothing about the class, moves.
    """
    y = rng.random(n) < rare
    x = rng.normal(2.0 * y, 1.0)
    p = expit(2.0 * (x - 1.0) + np.log(RARE / (1 - RARE)))
    truth = y ^ (rng.random(n) < turned)
    names = np.array(["usual", "rare"])
    return pa.table(
        {
            "x": x,
            "z": rng.normal(size=n) + moved,
            "_label": names[(p > 0.5).astype(int)],
            "_probabilities": pa.array(np.stack([1 - p, p], 1).tolist(), pa.list_(pa.float32())),
            "y": names[truth.astype(int)],
        }
    )


def judged(seed: int, **drift: Any) -> Decision:
    """The verdict after three quiet windows and two with a drift."""
    rng = np.random.default_rng(seed)
    reference = rows(rng, 3000)
    profile = Profile.of(COLUMNS, arrays(reference, COLUMNS, SCHEMA.target.classes))
    yardstick = Yardstick.of(SCHEMA, reference)
    history = []
    for i in range(5):
        table = rows(rng, 400, **(drift if i > 2 else {}))
        times = pa.array((i * 400 + np.arange(400)) * 1_000_000).cast(TIME)
        known = yardstick.kept(table.append_column("_time", times))
        for name, column in (
            ("_truth", table["y"]),
            ("_labelled_at", times),
            ("_contradicted", pa.array([False] * 400)),
        ):
            known = known.append_column(name, column)
        counted = profile.count(arrays(table, COLUMNS, SCHEMA.target.classes))
        history.append(
            Figures(
                i + 1,
                400,
                i * 400_000_000,
                (i + 1) * 400_000_000 - 1,
                profile.compare(counted),
                of(yardstick.guesses(table)),
                realised(yardstick, known),
            )
        )
    return decide(history, yardstick, Windows())


@pytest.mark.parametrize(
    ("drift", "cause"),
    [
        ({"rare": 0.45}, Cause.label),
        ({"turned": 0.15}, Cause.concept),
        # Inputs moved and the answers changed: which of the two it was cannot be told.
        ({"turned": 0.15, "moved": 1.0}, Cause.unknown),
    ],
)
def test_causes_are_told_apart(drift: dict[str, float], cause: Cause) -> None:
    told = [judged(seed, **drift) for seed in range(6)]
    assert all(d.verdict == "drift" for d in told)
    found = Counter(d.cause for d in told)
    assert found[cause] >= 5, found
    wrong = {Cause.label, Cause.concept, Cause.covariate} - {cause}
    assert not wrong & set(found), "a kind was named that it was not"


def test_inputs_that_do_not_matter_cause_nothing() -> None:
    told = [judged(seed, moved=1.0) for seed in range(4)]
    assert {d.verdict for d in told} == {"watch"}
    assert all("Nothing shows that it hurts." in d.words for d in told)
