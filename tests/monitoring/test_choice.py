"""Which rows train and which judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.policies import Campaign
from trimtab.monitoring.choice import MIN_JUDGE, NEW_ONLY_ROWS, Choice, Times, Waiting, choose

START = datetime(2026, 11, 21, tzinfo=UTC)


def seconds(*at: int) -> Times:
    return np.array([START.replace(tzinfo=None) + timedelta(seconds=s) for s in at], "datetime64[us]")


def rows(n: int) -> Times:
    return seconds(*range(n))


def chosen(times: Times, change: int | None = 0, cause: str = "covariate", base: int = 1000, **policy: float) -> Choice:
    found = choose(
        times, None if change is None else START + timedelta(seconds=change), Campaign(**policy), cause, base
    )
    assert isinstance(found, Choice), found
    return found


def test_the_newest_quarter_judges_and_the_rest_trains() -> None:
    found = chosen(rows(200))
    assert (found.train_rows, found.judge_rows) == (150, 50)
    assert found.judge_from == START + timedelta(seconds=150)
    assert found.until == START + timedelta(seconds=199)
    assert found.base


def test_few_rows_still_leave_enough_to_judge_on() -> None:
    assert chosen(rows(60)).judge_rows == MIN_JUDGE
    assert chosen(rows(30)).judge_rows == 15
    assert chosen(rows(10_000)).judge_rows == 300


def test_it_waits_for_labelled_rows_of_the_new_regime() -> None:
    found = choose(rows(100), START + timedelta(seconds=80), Campaign(), "covariate", 0)
    assert found == Waiting("20 of 30 labelled rows of the new regime")


def test_rows_from_before_the_change_train_too_but_no_more_than_the_champion_had() -> None:
    assert chosen(rows(1000), change=900).since == START
    assert chosen(rows(1000), change=900, base=100).since == START + timedelta(seconds=800)


def test_a_changed_concept_is_learnt_from_its_own_rows_once_there_are_enough() -> None:
    few = chosen(rows(1000), change=900, cause="concept")
    assert few.base
    many = chosen(rows(2000), change=500, cause="concept")
    assert (many.base, many.since) == (False, START + timedelta(seconds=500))
    assert many.train_rows >= NEW_ONLY_ROWS
    assert chosen(rows(2000), change=500, cause="concept", base=10_000).base


def test_rows_of_one_request_are_not_torn_apart() -> None:
    batches = seconds(*[i // 25 for i in range(100)])
    found = chosen(batches)
    assert found.judge_rows == 25
    one = choose(seconds(*[7] * 100), START, Campaign(), "", 0)
    assert isinstance(one, Waiting)
    assert one.why.endswith("none can be kept for judging")
    uneven = chosen(seconds(*[0] * 80, *[1] * 5))
    assert uneven.judge_rows == 5


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 500), min_size=0, max_size=300),
    st.integers(0, 500),
    st.sampled_from(["covariate", "label", "concept", "cannot tell"]),
    st.integers(0, 2000),
)
def test_every_choice_is_consistent(at: list[int], change: int, cause: str, base: int) -> None:
    times = seconds(*sorted(at)) if at else np.zeros(0, "datetime64[us]")
    found = choose(times, START + timedelta(seconds=change), Campaign(), cause, base)
    if isinstance(found, Waiting):
        return
    moments = [START + timedelta(seconds=s) for s in sorted(at)]
    assert found.since < found.judge_from <= found.until
    assert sum(found.since <= m < found.judge_from for m in moments) >= found.train_rows >= 1
    assert sum(m >= found.judge_from for m in moments) == found.judge_rows >= 1
    assert found.judge_from > START + timedelta(seconds=change) or cause != "concept" or found.base
    assert sum(m >= START + timedelta(seconds=change) for m in moments) == found.regime_rows >= 30
