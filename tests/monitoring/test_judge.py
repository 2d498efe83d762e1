"""The judge's rules; how often it errs is measured in benchmarks/judge.py and, in small, here."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from trimtab.core.policies import Plan, Rollout
from trimtab.monitoring.judge import SHADOW, Arm, Decision, Estimated, Figures, canary, challenger
from trimtab.monitoring.paired import Paired

SMALL = Rollout().sized(69)
LARGE = Rollout().sized(300)
# Of 200 rows the challenger alone gets 40 right and the champion alone 4; the other way round; and neither.
BETTER = Paired(both_right=150, challenger_only=40, champion_only=4, both_wrong=6)
WORSE = Paired(both_right=150, challenger_only=4, champion_only=40, both_wrong=6)
SAME = Paired(both_right=90, challenger_only=4, champion_only=4, both_wrong=2)
PLAIN = Arm(rows=50, requests=50), Arm(rows=50, requests=50)


def figures(paired: Paired, step: int = 0, rows: int = 100, minutes: float = 1.0, before: int = 0) -> Figures:
    return Figures(Arm(rows=rows), Arm(rows=rows), minutes, step, paired, before=before)


def test_sizes_come_from_the_window() -> None:
    assert (SMALL.shares, SMALL.step_rows, SMALL.max_labelled) == ((50,), 25, 345)
    assert (LARGE.shares, LARGE.step_rows, LARGE.max_labelled) == ((10, 50), 100, 1500)
    # At a fifth of the share a fifth of the rows: as many requests in all.
    assert (LARGE.rows_at(0), LARGE.rows_at(1), Rollout().sized(1000).step_rows) == (20, 100, 100)
    assert Rollout().sized(10**6).step_rows == 1000
    assert Rollout(shares=(1, 5), step_rows=40).sized(69).shares == (1, 5)


def test_from_the_shadow_it_goes_to_the_first_share_or_straight_to_the_last() -> None:
    assert canary(figures(SAME, SHADOW), LARGE) == Decision(
        "raise", "nothing speaks against it: 94 of 100 right, the champion 94", 0
    )
    assert canary(figures(Paired(), SHADOW), LARGE).step == 0
    sure = canary(figures(BETTER, SHADOW), LARGE)
    assert (sure.move, sure.step) == ("raise", 1)


def test_in_the_shadow_it_stays_while_it_looks_worse() -> None:
    doubtful = Paired(both_right=15, champion_only=4, both_wrong=1)
    assert canary(figures(doubtful, SHADOW), LARGE) == Decision(
        "wait", "it looks worse: 15 of 20 right, the champion 19"
    )
    assert canary(figures(WORSE, SHADOW), LARGE).move == "back"


def test_promoted_is_what_is_shown_and_has_answered_its_rows() -> None:
    assert canary(figures(BETTER, 1), LARGE) == Decision(
        "promote", "shown to be no worse: 190 of 200 right, the champion 154"
    )
    assert canary(figures(BETTER, 1, rows=99), LARGE) == Decision("wait", "99 of 100 rows answered")
    assert canary(figures(SAME, 1), LARGE).why == "not shown yet: 94 of 100 right, the champion 94"
    assert canary(figures(WORSE, 1), LARGE).why == "shown to be worse: 154 of 200 right, the champion 190"


def test_shares_go_up_with_rows_or_with_evidence() -> None:
    assert canary(figures(SAME, 0, rows=19), LARGE).move == "wait"
    assert canary(figures(SAME, 0), LARGE) == Decision(
        "raise", "nothing speaks against it: 94 of 100 right, the champion 94", 1
    )
    likely = Paired(both_right=40, challenger_only=8, champion_only=0, both_wrong=2)
    assert canary(figures(likely, 0, rows=3), LARGE).step == 1


def test_out_of_rows_or_time_the_champion_stays_and_nothing_was_shown() -> None:
    many = Paired(both_right=1400, challenger_only=60, champion_only=60, both_wrong=80)
    over = canary(figures(many, 1), LARGE)
    assert (over.move, over.undecided) == ("back", True)
    assert over.why.startswith("undecided after 1600 labelled rows, the champion stays")
    # Rows from before the rollout do not count against it.
    assert canary(figures(many, 1, before=200), LARGE).move == "wait"
    late = canary(figures(SAME, 1, minutes=LARGE.max_minutes), LARGE)
    assert late.undecided
    assert late.why.startswith("undecided after 10080 minutes")
    # Shown, it waits for its share of the requests, however many labels there are.
    assert canary(figures(Paired(both_right=1500, challenger_only=90), 1, rows=3), LARGE).move == "wait"


def test_failed_requests_and_slow_answers_send_it_back_and_in_doubt_hold_it() -> None:
    good = Arm(rows=100, requests=100)
    failing = Figures(Arm(rows=80, requests=100, failed=25), good, 1.0, 1, BETTER)
    assert canary(failing, LARGE) == Decision("back", "failed requests: 25 of 100, the champion's 0 of 100")
    slow = Figures(Arm(rows=100, slow=60), good, 1.0, 1, BETTER)
    assert canary(slow, LARGE).why.startswith("slow answers: 60 of 100")
    odd = Figures(Arm(rows=100, requests=100, failed=6), good, 1.0, 1, BETTER)
    assert canary(odd, LARGE) == Decision("wait", "failed requests look worse: 6 of 100, the champion's 0 of 100")


def test_a_version_that_fails_on_logged_rows_gets_no_live_request() -> None:
    broken = Figures(Arm(), Arm(), 1.0, SHADOW, BETTER, replay_failed=3)
    assert canary(broken, LARGE) == Decision("back", "3 logged rows cannot be answered")


def test_estimates_hold_but_never_end_it() -> None:
    seen = Estimated("accuracy", (0.8, 0.77, 0.83), (0.9, 0.88, 0.92))
    worse = Figures(Arm(), Arm(), 1.0, SHADOW, Paired(same=20), estimated=seen)
    assert canary(worse, LARGE) == Decision(
        "wait", "no label is known, and it looks worse: estimated accuracy 0.8, the champion's 0.9"
    )
    error = Estimated("mean absolute error", (1.5, 1.4, 1.6), (1.5, 1.3, 1.7))
    assert not error.worse
    assert canary(replace(worse, estimated=error), LARGE).move == "raise"
    assert Figures.from_record(json.loads(json.dumps(worse.record()))) == worse


def test_without_labels_only_equal_answers_show_anything() -> None:
    assert canary(figures(Paired(same=800), 1), LARGE).move == "promote"
    assert canary(figures(Paired(same=740, different=60), 1), LARGE).move == "wait"
    unlabelled: Plan = Rollout(step_labelled=0).sized(300)
    assert canary(figures(Paired(), 1), unlabelled).move == "promote"
    assert canary(figures(Paired(), 0), unlabelled) == Decision(
        "raise", "nothing speaks against it: no labelled rows", 1
    )
    assert canary(figures(WORSE, 1), unlabelled).move == "back"


def test_where_the_log_cannot_be_answered_again_each_ones_own_rows_count() -> None:
    def own(wrong: int, champion_wrong: int, n: int = 100) -> Figures:
        arms = Arm(rows=n, labelled=n, wrong=wrong), Arm(rows=n, labelled=n, wrong=champion_wrong)
        return Figures(*arms, 1.0, 1, replayed=False)

    assert canary(own(2, 40), LARGE).move == "promote"
    assert canary(own(5, 5), LARGE).move == "wait"
    assert canary(own(40, 2), LARGE).why == "wrong answers: 40 of 100, the champion's 2 of 100"
    assert canary(own(5, 5, 1500), LARGE).undecided


@pytest.mark.parametrize(
    ("paired", "move"),
    [
        (BETTER, "promote"),
        (WORSE, "reject"),
        (SAME, "wait"),
        (Paired(both_right=15, champion_only=4, both_wrong=1), "wait"),
        (None, "reject"),
        (Paired(both_right=9), "reject"),
    ],
)
def test_a_challenger_is_released_unless_it_is_shown_to_be_worse(paired: Paired | None, move: str) -> None:
    ruling = challenger(paired, LARGE, min_rows=10)
    assert ruling.move == move
    assert ruling.released == (move != "reject")


def test_a_regression_challenger_is_judged_by_its_errors() -> None:
    def facts(difference: float) -> dict[str, float]:
        return {
            "n": 200, "mean_difference": difference, "std_difference": 1.0,
            "champion_loss": 10.0, "challenger_loss": 10.0 + difference,
        }  # fmt: skip

    assert challenger(facts(-0.5), LARGE).move == "promote"
    assert challenger(facts(0.0), LARGE).move == "wait"
    assert challenger(facts(0.5), LARGE).move == "reject"
    assert challenger(facts(0.5), LARGE).why.endswith("mean absolute error 10.5 on 200 rows, the champion's 10")


def test_figures_come_back_from_their_record() -> None:
    seen = Figures(Arm(1, 2, 3, 4, 5, 6), Arm(rows=9), 3.5, 1, BETTER, False, 7, 2)
    assert Figures.from_record(seen.record()) == seen


def test_without_shares_the_replay_alone_decides() -> None:
    whole = replace(LARGE, shares=())
    assert canary(figures(BETTER, SHADOW), whole) == Decision(
        "promote", "shown to be no worse by a replay of the log: 190 of 200 right, the champion 154"
    )
    assert canary(figures(WORSE, SHADOW), whole).move == "back"
    assert canary(figures(SAME, SHADOW), whole).move == "wait"
    assert canary(figures(SAME, SHADOW, minutes=1e9), whole).undecided
    unlabelled = replace(whole, step_labelled=0)
    assert canary(figures(SAME, SHADOW), unlabelled).move == "promote"
    assert canary(figures(Paired(), SHADOW), unlabelled).move == "wait"
