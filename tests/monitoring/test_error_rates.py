"""How often the judge errs over whole rollouts: the benchmark in small."""

from __future__ import annotations

import pytest
from benchmarks.judge import TRAFFIC, Models, Traffic, cell


def ends(traffic: Traffic, models: Models, rollouts: int) -> tuple[float, float]:
    """Shares promoted and taken back, in percent."""
    found = cell((traffic, models, rollouts, 11))
    return float(str(found["promoted"])), float(str(found["taken back"]))


def test_what_is_much_worse_is_taken_back_and_what_is_much_better_is_promoted() -> None:
    assert ends(TRAFFIC[4], Models(-10.0, 15.0), 40) == (0.0, 100.0)
    assert ends(TRAFFIC[4], Models(10.0, 15.0), 40) == (100.0, 0.0)


@pytest.mark.campaign
@pytest.mark.parametrize("traffic", TRAFFIC[:6], ids=lambda t: f"{t.window}-{t.kept}-{t.chunk}")
def test_false_promotions_and_false_rollbacks_are_rare(traffic: Traffic) -> None:
    for models in (Models(-1.01, 6.0), Models(-2.0, 15.0), Models(-1.1, 50.0, "heavy")):
        # At most 1 % may, and far fewer do: more than 6 of 300 would be no chance.
        assert ends(traffic, models, 300)[0] <= 2.0, models
    for models in (Models(0.0, 6.0), Models(0.0, 15.0)):
        assert ends(traffic, models, 300)[1] <= 2.0, models
