"""Realised losses looked at window after window: false alarms and power by simulation, change points."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.monitoring.losses import Losses, interval, mean_shift, of, pearson_tail, worse
from trimtab.monitoring.sequential import SPANS, change_point, scan

DRIFT = 1 / 2160
WATCH = 0.003


def binary(n: int, wrong: float) -> Losses:
    return Losses(n, wrong, wrong, wrong)


def smallest(rng: np.random.Generator, m: int, n: int, error: float, windows: int) -> list[float]:
    """The p of every window of a version whose error rate never changes."""
    reference = binary(m, float(rng.binomial(m, error)))
    history = [binary(n, float(k)) for k in rng.binomial(n, error, windows)]
    return [scan(reference, history[: i + 1], 0.01).p for i in range(windows)]


def test_false_alarms_stay_below_the_levels() -> None:
    rng = np.random.default_rng(0)
    p = np.array([smallest(rng, 1000, 100, 0.08, 40) for _ in range(25)])
    assert (p <= DRIFT).sum() <= 2  # 1,000 windows: 0.46 expected at most
    assert (p <= WATCH).mean() <= 0.01


@pytest.mark.campaign
@pytest.mark.parametrize(("m", "n", "error"), [(276, 69, 0.07), (300, 300, 0.1), (1000, 100, 0.05), (10_000, 300, 0.1)])
def test_false_alarms_over_many_windows(m: int, n: int, error: float) -> None:
    """`drift` begins at most once in 2,160 windows (measured over 60,000 windows each: 0.1 to 0.5 times).

    How many windows an alarm by chance lasts is not bounded here: a reference that is too good by chance stays so.
    """
    rng = np.random.default_rng([m, n])
    p = np.array([smallest(rng, m, n, error, 100) for _ in range(216)])
    assert (p <= DRIFT).any(axis=1).sum() <= 10
    assert np.median((p <= WATCH).mean(axis=1)) <= WATCH


def test_a_drop_of_five_points_is_seen_within_three_windows() -> None:
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(200):
        reference = binary(10_000, float(rng.binomial(10_000, 0.1)))
        before = [binary(300, float(k)) for k in rng.binomial(300, 0.1, 5)]
        after = [binary(300, float(k)) for k in rng.binomial(300, 0.15, 3)]
        seen += any(scan(reference, before + after[: i + 1], 0.01).p <= WATCH for i in range(3))
    assert seen >= 190


def test_small_losses_add_up_over_windows() -> None:
    reference = binary(5000, 500)
    window = binary(200, 30)  # 15 % for 10 %
    assert scan(reference, [window]).p > DRIFT
    look = scan(reference, [window] * 8)
    assert look.p <= DRIFT
    assert look.span > 1


def test_harm_that_does_not_matter_is_passed_over() -> None:
    reference, windows = binary(100_000, 10_000), [binary(10_000, 1080)] * 5
    assert scan(reference, windows).p < DRIFT
    assert scan(reference, windows, harm=0.01).p == 1.0


def test_the_references_own_uncertainty_counts() -> None:
    window = binary(69, 12)
    few, many = worse(binary(276, 19), window), worse(binary(27_600, 1900), window)
    assert few > 2 * many


@pytest.mark.parametrize("n", [1, 69, 5000, 19_000])
def test_exact_and_normal_forms_agree(n: int) -> None:
    reference = binary(4000, 400)
    k = round(n * 0.1 + 3 * np.sqrt(n * 0.09)) if n > 1 else 1
    exact, limit = worse(reference, binary(n, k)), mean_shift(reference, binary(n, k))
    assert 0.2 < exact / limit < 5


def test_losses_of_numbers_keep_the_level_though_they_are_skewed() -> None:
    rng = np.random.default_rng(2)
    p = [mean_shift(of(rng.exponential(size=500)), of(rng.exponential(size=50))) for _ in range(4000)]
    assert np.mean(np.array(p) <= 0.01) == pytest.approx(0.01, abs=0.006)
    assert np.mean(np.array(p) <= 0.001) <= 0.003


def test_pearson_tail_is_the_normals_without_skew_and_the_gammas_with() -> None:
    assert pearson_tail(1.959964, 0.0) == pytest.approx(0.025, rel=1e-4)
    assert pearson_tail(2.0, 2.0) == pytest.approx(np.exp(-3.0), rel=1e-6)  # an exponential, standardised
    assert pearson_tail(-2.0, -1e-2) == pytest.approx(pearson_tail(-2.0, 0.0), abs=0.01)


@pytest.mark.parametrize("losses", [Losses(), binary(5, 0), binary(5, 5), of([0.3])])
def test_empty_and_extreme_sums(losses: Losses) -> None:
    assert 0 <= worse(binary(10, 1), losses) <= 1
    assert worse(Losses(), losses) == 1.0
    low, high = interval(losses)
    assert not low > high
    assert scan(Losses(), [losses]).p == 1.0
    assert scan(binary(10, 1), []).p == 1.0


def test_spans_rise() -> None:
    assert list(SPANS) == sorted(set(SPANS))


def test_the_change_point_lies_in_its_interval_nearly_always() -> None:
    rng = np.random.default_rng(3)
    held, gap = 0, []
    for _ in range(200):
        change = int(rng.integers(50, 350))
        wrong = (rng.random(400) < np.where(np.arange(400) < change, 0.05, 0.25)).astype(float)
        found = change_point(np.ones(400), wrong, wrong, binary(300, 15), binary=True)
        assert found is not None
        held += found.lower <= change <= found.upper
        gap.append(abs(found.point - change))
    assert held >= 184
    assert np.median(gap) <= 8


def test_a_version_bad_from_its_start_has_its_change_there() -> None:
    wrong = (np.arange(200) % 3 == 0).astype(float)
    found = change_point(np.ones(200), wrong, wrong, binary(300, 15), binary=True)
    assert found is not None
    assert found.lower == 0
    assert found.point <= 3


def test_a_change_of_numbers_is_found() -> None:
    rng = np.random.default_rng(4)
    loss = np.abs(rng.normal(size=300)) * np.where(np.arange(300) < 120, 1.0, 2.0)
    found = change_point(np.ones(300), loss, loss**2, of(np.abs(rng.normal(size=500))), binary=False)
    assert found is not None
    assert found.lower <= 120 <= found.upper


def test_no_change_without_rows_or_where_it_gets_better() -> None:
    assert change_point([], [], [], binary(10, 1), binary=True) is None
    assert change_point(np.ones(50), np.zeros(50), np.zeros(50), binary(100, 50), binary=True) is None
