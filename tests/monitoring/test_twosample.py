"""Two-sample tests on counts: against scipy, at small sizes, and added up from shards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from trimtab.monitoring.counts import UNSEEN, CategoryCells, NumberCells
from trimtab.monitoring.twosample import fisher, ordered, quadratic_tail, unordered

# Its results are named tuples that type checkers do not see through.
stats: Any = scipy_stats


def counted(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cells = NumberCells.of(reference)
    return cells.count(reference).cells, cells.count(window).cells


@pytest.mark.parametrize(("m", "n"), [(50, 50), (276, 69), (1000, 100)])
def test_rank_test_and_ks_are_scipys(m: int, n: int) -> None:
    rng = np.random.default_rng(m)
    then, now = rng.integers(0, 40, m).astype(float), rng.integers(3, 43, n).astype(float)
    found = ordered(*counted(then, now))
    p = stats.mannwhitneyu(now, then, use_continuity=False, method="asymptotic").pvalue
    assert 2 * stats.norm.sf(abs(found.location)) == pytest.approx(p, rel=0.03)
    assert found.location > 0
    assert found.ks == pytest.approx(stats.ks_2samp(then, now).statistic)


def test_many_distinct_values_lose_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    then, now = rng.normal(size=20_000), rng.normal(0.1, 1, 5_000)
    found = ordered(*counted(then, now))
    exact = stats.mannwhitneyu(now, then, method="asymptotic")
    assert 2 * stats.norm.sf(abs(found.location)) == pytest.approx(exact.pvalue, rel=0.05)
    assert found.ks == pytest.approx(stats.ks_2samp(then, now).statistic, abs=0.002)


def test_spread_is_seen_where_the_middle_stays() -> None:
    rng = np.random.default_rng(1)
    found = ordered(*counted(rng.normal(size=500), rng.normal(0, 2, 500)))
    assert found.p < 1e-6
    assert found.spread > 5 > abs(found.location)


def test_contingency_is_scipys_where_no_cell_is_rare() -> None:
    r, w = np.array([120, 80, 60]), np.array([30, 40, 35])
    chi = stats.chi2_contingency(np.stack([r, w]), correction=False)
    assert unordered(r, w).p == pytest.approx(chi.pvalue, rel=0.05)


@pytest.mark.parametrize(("a", "m", "b", "n"), [(0, 100, 8, 100), (3, 276, 9, 69), (50, 100, 40, 100), (5, 5, 0, 5)])
def test_fisher_doubles_the_smaller_tail(a: int, m: int, b: int, n: int) -> None:
    table = [[a, m - a], [b, n - b]]
    tails = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    assert fisher(a, m, b, n) == pytest.approx(min(1.0, 2 * min(tails)))


def test_fisher_is_continuous_with_its_limit() -> None:
    exact, limit = fisher(790, 2000, 880, 2000), fisher(820, 2000, 910, 2000)
    assert exact == pytest.approx(limit, rel=0.25)


@pytest.mark.parametrize("p", [0.5, 0.05, 1e-3, 1e-6])
def test_quadratic_tail_of_independent_shifts_is_chi_square(p: float) -> None:
    assert quadratic_tail(float(stats.chi2.isf(p, 25)), np.eye(25)) == pytest.approx(p, rel=0.01)


def test_quadratic_tail_knows_dependence() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6))
    covariance = root @ root.T
    q = (rng.multivariate_normal(np.zeros(6), covariance, 200_000) ** 2).sum(axis=1)
    for p in (0.1, 0.01, 0.001):
        assert quadratic_tail(float(np.quantile(q, 1 - p)), covariance) == pytest.approx(p, rel=0.12)


@pytest.mark.parametrize(
    ("reference", "window"),
    [([], []), ([1.0], []), ([1.0] * 50, [1.0] * 20), ([np.nan] * 9, [1.0, 2.0])],
)
def test_nothing_to_compare_is_no_drift(reference: list[float], window: list[float]) -> None:
    assert ordered(*counted(np.array(reference), np.array(window))).p == 1.0


def test_shards_add_up_exactly() -> None:
    rng = np.random.default_rng(3)
    then = rng.normal(size=3000)
    now = np.where(rng.random(900) < 0.1, np.nan, rng.normal(size=900))
    cells = NumberCells.of(then)
    whole = cells.count(now)
    parts = cells.count(now[:100]) + cells.count(now[100:555]) + cells.count(now[555:])
    assert (whole.cells == parts.cells).all()
    assert whole.nulls == parts.nulls == int(np.isnan(now).sum())


def test_places_of_numbers() -> None:
    cells = NumberCells.of([1.0, 3.0, 3.0])
    assert cells.place([0.0, 1.0, 2.0, 3.0, 9.0, np.nan, np.inf]).tolist() == [0, 1, 2, 3, 4, -1, 4]


def test_places_of_categories() -> None:
    cells = CategoryCells.of(np.array(["a", "b", None, ""], object), known=("c",))
    assert cells.names == ("a", "b", "c")
    places = cells.place(np.array(["c", "a", None, "", "new"], object)).tolist()
    assert places[:4] == [2, 0, -1, -1]
    assert 3 <= places[4] < 3 + UNSEEN


def test_rare_categories_that_the_reference_lacks_are_no_news() -> None:
    """Of 300 rare categories a reference of 300 rows lacks many: that alone is no drift."""
    rng = np.random.default_rng(4)
    fired = 0
    for _ in range(300):
        names = rng.integers(0, 300, 600).astype(str)
        cells = CategoryCells.of(names[:300])
        fired += unordered(cells.count(names[:300]).cells, cells.count(names[300:]).cells).p < 0.01
    assert fired <= 9  # 1 % of 300 is 3; more than 9 has a chance below 0.1 %


def test_a_new_category_that_is_frequent_is_news() -> None:
    cells = CategoryCells.of(np.array(["a"] * 200 + ["b"] * 100))
    found = unordered(
        cells.count(np.array(["a"] * 200 + ["b"] * 100)).cells, cells.count(np.array(["a"] * 80 + ["z"] * 20)).cells
    )
    assert found.p < 1e-6
    assert found.distance == pytest.approx(1 / 3, abs=0.14)
