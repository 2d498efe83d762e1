"""Probabilities: mapped on the reference where that helps, and watched as labels land."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.simulated import Version, decisions
from tests.monitoring.stream import SCHEMA, answered, draw

from trimtab.core.policies import Windows
from trimtab.monitoring.calibration import Cells, check, fit
from trimtab.monitoring.performance import Yardstick


def rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that hold, and whether the answers were right."""
    p = rng.beta(6, 1.5, n)
    return p, (rng.random(n) < p).astype(float)


def test_probabilities_that_hold_are_left_alone() -> None:
    kept = [fit(*rows(np.random.default_rng(seed), 1500)).name for seed in range(20)]
    assert kept.count("identity") >= 16


@pytest.mark.parametrize("power", [3.0, 0.4])
def test_probabilities_that_do_not_hold_are_mapped(power: float) -> None:
    """Too sure (odds to the third) or too cautious: the mapped ones are right on average, in every range."""
    rng = np.random.default_rng(1)
    p, right = rows(rng, 4000)
    odds = (p / (1 - p)) ** power
    said = odds / (1 + odds)
    curve = fit(said, right)
    assert curve.name != "identity"
    fresh, truth = rows(rng, 20_000)
    odds = (fresh / (1 - fresh)) ** power
    mapped = curve(odds / (1 + odds))
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        at = (fresh >= low) & (fresh < high)
        assert mapped[at].mean() == pytest.approx(truth[at].mean(), abs=0.03)
    assert (np.diff(curve(np.linspace(0, 1, 50))) >= -1e-12).all()


def test_few_or_one_sided_rows_leave_probabilities_alone() -> None:
    p, right = rows(np.random.default_rng(2), 100)
    assert fit(p, right).name == "identity"
    assert fit(np.full(1000, 0.9), np.ones(1000)).name == "identity"
    assert fit(np.full(1000, np.nan), np.ones(1000)).name == "identity"


def test_a_model_too_sure_of_itself_has_an_honest_estimate() -> None:
    """CBPE from mapped probabilities: an over-confident model's windows are estimated as they turn out."""
    rng = np.random.default_rng(3)

    def table(n: int, shift: float) -> pa.Table:
        found = draw(rng, n, shift=shift)
        odds = (found["yes"] / (1 - found["yes"])) ** 2.5
        found["yes"] = odds / (1 + odds)
        return pa.table({**answered(found), "churn": pa.array(found["truth"].tolist(), pa.string())})

    yardstick = Yardstick.of(SCHEMA, table(4000, 0.0))
    moved = table(4000, 1.0)
    guessed = float(yardstick.guesses(moved).mean())
    happened = float(np.nanmean(yardstick.losses(moved, "churn")))
    plain = 1 - np.stack(moved["_probabilities"].to_pylist()).max(axis=1).mean()
    assert happened == pytest.approx(guessed, abs=0.02)
    assert happened - plain > 0.04  # what its own probabilities would have hidden


def test_cells_add_up_and_survive_a_record() -> None:
    rng = np.random.default_rng(4)
    guess, loss = rng.random(500), (rng.random(500) < 0.3).astype(float)
    whole, halves = Cells.of(guess, loss), Cells.of(guess[::2], loss[::2]) + Cells.of(guess[1::2], loss[1::2])
    assert np.allclose(whole.facts(), halves.facts())
    assert np.allclose(Cells.from_facts(whole.facts()).facts(), whole.facts())
    assert Cells.from_facts(None).n.sum() == 0
    assert Cells.from_facts([[1.0]] * 4).n.sum() == 0


def test_calibration_is_lost_when_the_answers_change() -> None:
    watched = Version(np.random.default_rng(5), 2000)
    for _ in range(8):
        assert watched.window(200).calibrated != "drift"
    told = [watched.window(200, flip=0.2) for _ in range(4)][-1]
    assert told.calibrated == "drift"
    assert told.calibration.excess > 0.05
    assert "too sure of itself" in told.words


def test_inputs_that_move_leave_calibration_alone() -> None:
    """Covariate shift costs accuracy, and the probabilities say so: they still hold."""
    watched = Version(np.random.default_rng(6), 2000)
    told = [watched.window(300, shift=1.5) for _ in range(4)][-1]
    assert told.verdict == "drift"
    assert told.calibrated == "none"


def test_nothing_is_known_without_labels() -> None:
    assert np.isnan(check(Cells(), [Cells()]).error)
    told = Version(np.random.default_rng(7), 300).window(100, labelled=0)
    assert told.calibrated == "none"


@pytest.mark.campaign
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("n", "m"), [(100, 1000), (300, 5000)])
def test_calibration_is_seldom_called_lost_by_chance(n: int, m: int) -> None:
    said = [d for run in decisions(n, 100, 30, n, m) for d in run]
    assert sum(d.calibrated == "drift" for d in said) <= 3
    assert sum(d.calibrated != "none" for d in said) <= 2 * Windows().watch_level * len(said)
