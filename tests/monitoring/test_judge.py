"""The judge: its rules, and how often it errs.

A false rollback takes back a version that is no worse than the champion; a false promotion promotes one that is
truly worse by more than the margin. Measured with `simulate` (labels land in batches, the judge looks after each),
2,000 canaries a cell, champion wrong on 10 % of rows, the version's true extra errors in points:

    promoted, %              0     +1     +3     +5    +10    +20    +40
    default settings       100   99.4   86.6   53.6    4.1      0      0
    shares [50], 20 labels 100    100   98.5   93.2   72.4   25.9    0.6
    300 labels a step      100   99.7   61.9   14.9      0      0      0

What is no worse is promoted at any setting; what small numbers cannot tell from the champion is promoted too, and
`step_labelled` is what buys certainty. The paired judge before the canary comes on top (champion right on 90 %, both
wrong on 5 %): of versions worse by 10 points it lets 22 % pass on 20 rows, 7 % on 50, 0.2 % on 200; one that is no
better and no worse passes in 59 to 74 % at any of these, and one better by 5 points more often.
"""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.core.policies import Rollout
from trimtab.monitoring.judge import Arm, Decision, Figures, canary, challenger, harm_evidence

SMALL = Rollout(shares=(50,), step_rows=25, step_labelled=20)


def figures(canary_wrong: int, champion_wrong: int, n: int = 100, minutes: float = 1.0, step: int = 0) -> Figures:
    return Figures(
        Arm(rows=n, labelled=n, wrong=canary_wrong), Arm(rows=n, labelled=n, wrong=champion_wrong), minutes, step
    )


def simulate(policy: Rollout, p: float, q: float, batch: int, canaries: int, seed: int = 0) -> float:
    """Share of canaries that are promoted: the champion errs with probability p, the canary with q."""
    rng = np.random.default_rng(seed)
    return sum(_one(rng, policy, p, q, batch) for _ in range(canaries)) / canaries


def _one(rng: np.random.Generator, policy: Rollout, p: float, q: float, batch: int, looks: int = 200) -> bool:
    for step, share in enumerate(policy.shares):
        n = wrong = n_champion = wrong_champion = 0
        for look in range(1, looks + 1):
            k = int(rng.binomial(batch, share / 100))
            n, wrong = n + k, wrong + int(rng.binomial(k, q))
            n_champion += batch - k
            wrong_champion += int(rng.binomial(batch - k, p))
            seen = Figures(
                Arm(rows=n, labelled=n, wrong=wrong),
                Arm(rows=n_champion, labelled=n_champion, wrong=wrong_champion),
                look * policy.max_minutes / looks,
                step,
            )
            move = canary(seen, policy).move
            if move == "back":
                return False
            if move == "promote":
                break
        else:
            raise AssertionError("undecided after max_minutes")
    return True


def test_waits_for_rows_then_for_labels_then_promotes() -> None:
    few = Figures(Arm(rows=5), Arm(rows=5), 1.0, 0)
    assert canary(few, SMALL) == Decision("wait", "5 of 25 rows answered")
    unlabelled = Figures(Arm(rows=40, labelled=3), Arm(rows=40, labelled=3), 1.0, 0)
    assert canary(unlabelled, SMALL) == Decision("wait", "3 of 20 labels are known")
    assert canary(figures(2, 3), SMALL).move == "promote"


def test_only_the_last_step_needs_labels() -> None:
    policy = Rollout(shares=(10, 50), step_rows=20, step_labelled=20)
    seen = Arm(rows=30), Arm(rows=200)
    assert canary(Figures(*seen, 1.0, 0), policy).move == "promote"
    assert canary(Figures(*seen, 1.0, 1), policy).move == "wait"


def test_harm_sends_it_back_before_its_rows_are_full() -> None:
    assert canary(figures(18, 0, n=20), Rollout(step_rows=1000)).move == "back"


def test_failed_requests_and_slow_answers_send_it_back() -> None:
    good = Arm(rows=100, labelled=100, requests=100)
    failing = Figures(Arm(rows=80, labelled=80, requests=100, failed=20), good, 1.0, 0)
    assert canary(failing, SMALL) == Decision("back", "failed requests: 20 of 100, the champion's 0 of 100")
    slow = Figures(Arm(rows=100, labelled=100, slow=60), good, 1.0, 0)
    assert canary(slow, SMALL).why.startswith("slow answers: 60 of 100")


def test_a_doubtful_one_waits_until_time_is_up() -> None:
    doubtful = figures(9, 2, n=40)
    assert canary(doubtful, SMALL).move == "wait"
    late = figures(9, 2, n=40, minutes=SMALL.max_minutes)
    assert canary(late, SMALL).move == "back"
    assert canary(figures(2, 2, n=24, minutes=SMALL.max_minutes), SMALL).move == "promote"
    assert canary(Figures(Arm(), Arm(rows=50), SMALL.max_minutes, 0), SMALL).why.endswith("not one row answered")


def test_a_challenger_wins_when_it_is_no_worse_by_the_margin() -> None:
    def paired(mine: int, theirs: int, n: int = 100) -> dict[str, int]:
        return {"n": n, "both_right": 50, "challenger_only": mine, "champion_only": theirs, "both_wrong": n - 50}

    policy = Rollout(margin=0.01)
    assert challenger(paired(5, 5), policy)[0]
    assert challenger(paired(4, 5), policy)[0]
    assert not challenger(paired(3, 5), policy)[0]
    assert challenger(None, policy) == (False, "0 fresh labelled rows to judge on, at least 1 needed")
    assert not challenger(paired(9, 0, n=9), policy, min_rows=10)[0]


def test_a_regression_challenger_is_judged_by_its_loss() -> None:
    facts = {"n": 50, "mean_difference": 0.1, "std_difference": 1.0, "champion_loss": 10.0}
    assert challenger({**facts, "challenger_loss": 10.1}, Rollout())[0]
    assert not challenger({**facts, "challenger_loss": 10.2}, Rollout())[0]


def test_evidence_is_none_without_rows_and_grows_with_them() -> None:
    assert harm_evidence(0, 0, 0, 10, 0.01) == harm_evidence(5, 5, 0, 0, 0.01) == 0
    values = [harm_evidence(n // 2, n, n // 20, n, 0.01) for n in (20, 40, 80, 160)]
    assert values == sorted(values)
    assert values[-1] > 1e6


def test_what_is_no_worse_is_hardly_ever_taken_back_and_what_harms_is() -> None:
    assert simulate(SMALL, 0.1, 0.1, 69, 300) >= 0.99
    assert simulate(SMALL, 0.1, 0.6, 69, 300) <= 0.02


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("policy", "batch", "worst"),
    [
        (Rollout(), 100, {0.1: 0.10, 0.2: 0.005}),
        (SMALL, 69, {0.2: 0.35, 0.4: 0.03}),
        (Rollout(step_rows=300, step_labelled=300), 200, {0.1: 0.005, 0.2: 0.005}),
    ],
)
def test_error_rates(policy: Rollout, batch: int, worst: dict[float, float]) -> None:
    for champion in (0.05, 0.1, 0.2):
        assert simulate(policy, champion, champion, batch, 1000, 1) >= 0.99
        assert simulate(policy, champion, max(champion - 0.05, 0), batch, 1000, 2) >= 0.99
    for extra, at_most in worst.items():
        assert simulate(policy, 0.1, 0.1 + extra, batch, 1000, 3) <= at_most


@pytest.mark.campaign
def test_error_rates_of_the_paired_judge() -> None:
    rng = np.random.default_rng(0)

    def passed(n: int, worse: float, rounds: int = 20_000) -> float:
        """Champion right on 90 %; both fail on 5 %, each alone on what remains."""
        won = 0
        counts = rng.multinomial(n, [0.05, 0.05 + worse, 0.05, 0.85 - worse], rounds)
        for mine, theirs, both_wrong, both in counts:
            facts = {
                "n": n,
                "both_right": both,
                "challenger_only": mine,
                "champion_only": theirs,
                "both_wrong": both_wrong,
            }
            won += challenger(facts, Rollout())[0]
        return won / rounds

    assert passed(20, 0.10) <= 0.24
    assert passed(200, 0.10) <= 0.01
    assert passed(200, -0.05) >= 0.97
