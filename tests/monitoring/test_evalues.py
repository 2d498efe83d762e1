"""E-values and paired counts: what they add up to, and that looking again and again does not make them lie."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.monitoring import evalues
from trimtab.monitoring.paired import Paired


def ever(steps: list[tuple[int, int, int]], level: float, margin: float) -> bool:
    """Whether the evidence is past a level at any of the looks."""
    return any(evalues.paired_counts(*counts, margin) >= level for counts in steps)


@pytest.mark.parametrize("apart", [0.02, 0.1, 0.4])
def test_at_the_margin_it_reaches_the_level_at_any_look_no_more_often_than_it_may(apart: float) -> None:
    rng = np.random.default_rng(7)
    won, lost = (apart - 0.01) / 2, (apart + 0.01) / 2
    hits = 0
    for _ in range(400):
        wins, losses, ties = rng.multinomial(20, [won, lost, 1 - apart], 50).cumsum(axis=0).T
        hits += ever([(int(a), int(b), int(c)) for a, b, c in zip(wins, ties, losses, strict=True)], 20.0, 0.01)
    # One in twenty may; the mixture over stakes leaves it well below.
    assert hits <= 20


def test_evidence_grows_with_rows_and_falls_with_losses() -> None:
    values = [evalues.paired_counts(k, 10 * k, 0, 0.01) for k in (1, 5, 20)]
    assert values == sorted(values)
    assert evalues.paired_counts(10, 50, 5, 0.01) < evalues.paired_counts(10, 50, 0, 0.01)
    assert evalues.paired_counts(10**6, 10**6, 0) > 1e100
    assert evalues.paired_counts(0, 0, 0) == 1.0


def test_sums_of_numbers_say_nothing_on_few_rows_or_without_spread() -> None:
    assert evalues.paired_sums(19, 100.0, 1000.0) == 1.0
    assert evalues.paired_sums(50, 50.0, 50.0) == 1.0
    values = [evalues.paired_sums(n, 0.5 * n, 1.25 * n) for n in (20, 50, 200)]
    assert values == sorted(values)
    assert evalues.paired_sums(200, -100.0, 250.0) < 0.1


def test_two_arms_say_nothing_without_rows_and_grow_with_them() -> None:
    assert evalues.more(0, 0, 0, 10, 0.01) == evalues.not_more(5, 5, 0, 0, 0.01) == 1.0
    values = [evalues.more(n // 2, n, n // 20, n, 0.01) for n in (20, 40, 80, 160)]
    assert values == sorted(values)
    assert values[-1] > 1e6
    assert evalues.not_more(50, 100, 5, 100, 0.01) == 0.0


def test_counts_add_up_and_come_back_from_their_record() -> None:
    truth = np.array(["a", "b", "a", "b"])
    ours, theirs = np.array(["a", "b", "b", "a"]), np.array(["a", "a", "a", "a"])
    whole = Paired.of_labels(truth, ours, theirs)
    assert whole == Paired(both_right=1, challenger_only=1, champion_only=1, both_wrong=1)
    assert (
        Paired.of_labels(truth[:2], ours[:2], theirs[:2]) + Paired.of_labels(truth[2:], ours[2:], theirs[2:]) == whole
    )
    assert Paired.from_record(whole.record()) == whole
    assert whole.gain() == 0.0


def test_numbers_read_from_the_stage_evaluate_are_those_counted_here() -> None:
    from trimtab.evaluate.judge import compare_labels, compare_values

    rng = np.random.default_rng(0)
    truth, ours, theirs = rng.normal(size=(3, 60))
    counted = Paired.of_values(truth, ours, theirs)
    read = Paired.from_record(compare_values(truth, ours, theirs))
    assert (read.n, counted.n) == (60, 60)
    assert read.no_worse(0.01) == pytest.approx(counted.no_worse(0.01), rel=1e-4)
    assert read.worse() == pytest.approx(counted.worse(), rel=1e-4)
    labels = (np.array(list("abab")), np.array(list("abba")), np.array(list("aaaa")))
    assert Paired.from_record(compare_labels(*labels)) == Paired.of_labels(*labels)


def test_a_number_that_is_none_is_left_out() -> None:
    assert Paired.of_values([1.0, np.nan, 3.0], [1.0, 2.0, np.inf], [2.0, 2.0, 2.0]).n == 1


def test_without_labels_disagreement_counts_against_it() -> None:
    assert Paired(same=800).no_worse(0.01) > 100
    assert Paired(same=720, different=80).no_worse(0.01) < 1
    assert Paired(same=800).worse() == 1.0
