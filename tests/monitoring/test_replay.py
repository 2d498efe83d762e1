"""Both versions answer every logged row; and the controller decides on that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.monitoring.real_world import HIDDEN, NARROW, WIDER, RealWorld, trust
from tests.monitoring.world import MODEL, Place

from trimtab.core import ledger, rollouts, settings
from trimtab.core.records import create_record, rfc3339
from trimtab.core.signing import trusted_keys
from trimtab.core.store import Store
from trimtab.monitoring import controller
from trimtab.monitoring.champion import published
from trimtab.monitoring.log_reader import LogReader
from trimtab.monitoring.paired import Paired
from trimtab.monitoring.replay import Replay, Replayed, unseen_from

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
BEGUN = START + timedelta(minutes=30)


@pytest.fixture
def world(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealWorld:
    monkeypatch.setenv("TRIMTAB_TRUSTED_KEYS", str(trust(tmp_path / "trusted")))
    return RealWorld(store, tmp_path)


def compare(world: RealWorld, canary: str, champion: str) -> Replayed:
    replay = Replay(world.store, MODEL, trusted_keys(settings.load().trusted_keys))
    return replay.compare(LogReader(world.store, MODEL, "order"), canary, champion, START, BEGUN)


def test_both_answer_every_labelled_row_whoever_was_asked(world: RealWorld) -> None:
    champion, canary = world.version(0.7), world.version(0.55)
    xs = np.arange(101) / 100 + 0.005
    world.asked(champion, 0.7, xs, START)
    world.asked(canary, 0.55, xs, BEGUN + timedelta(minutes=1))
    # Of each 101 rows the champion is wrong on the 20 between 0.5 and 0.7, the canary on the 5 up to 0.55.
    found = compare(world, canary, champion)
    assert found == Replayed(Paired(both_right=162, challenger_only=30, both_wrong=10), before=101)


def test_rows_without_label_tell_whether_both_agree(world: RealWorld) -> None:
    champion, canary = world.version(0.7), world.version(0.6)
    world.asked(champion, 0.7, [0.1, 0.65, 0.9, 0.69], START, labelled=False)
    assert compare(world, canary, champion).paired == Paired(same=2, different=2)


def test_rows_from_before_are_not_asked(world: RealWorld) -> None:
    champion, canary = world.version(0.7), world.version(0.6)
    world.asked(champion, 0.7, [0.1, 0.2], START - timedelta(minutes=1))
    world.asked(champion, 0.7, [0.1], START)
    assert compare(world, canary, champion).paired.n == 1


def test_labels_that_come_later_and_new_rows_are_counted_once(world: RealWorld) -> None:
    champion, canary = world.version(0.7), world.version(0.6)
    replay = Replay(world.store, MODEL, trusted_keys(settings.load().trusted_keys))
    reader = LogReader(world.store, MODEL, "order")
    for k in range(3):
        world.asked(champion, 0.7, [0.1, 0.62], START + timedelta(minutes=k))
        found = replay.compare(reader, canary, champion, START, BEGUN)
        assert found.paired == Paired(both_right=k + 1, challenger_only=k + 1)
        assert replay.compare(reader, canary, champion, START, BEGUN) is found


def test_a_log_that_lacks_what_a_version_takes_cannot_be_answered(world: RealWorld) -> None:
    champion, canary = world.version(0.7), world.version(0.6, WIDER)
    world.asked(champion, 0.7, [0.1, 0.65], START)
    assert compare(world, canary, champion).cannot == f"the log lacks what {canary} takes: z"
    hidden = world.version(0.65, HIDDEN)
    assert compare(world, hidden, champion).cannot == "private fields are not in the log: x"


def test_a_version_that_fails_on_rows_that_the_champion_answered_is_counted(world: RealWorld) -> None:
    champion, canary = world.version(0.7), world.version(0.6)
    broken = Replay(world.store, MODEL, trusted_keys(settings.load().trusted_keys))
    world.asked(champion, 0.7, [0.1, 0.65, 0.9], START)

    class Fails:
        def __init__(self, inner: object) -> None:
            self.schema = inner.schema  # type: ignore[attr-defined]
            self.inner = inner

        def answers(self, table: object) -> object:
            if 0.65 in table["x"].to_pylist():  # type: ignore[index]
                raise ValueError("no such category")
            return self.inner.answers(table)  # type: ignore[attr-defined]

    loaded = broken._load(canary)
    broken._versions[canary] = Fails(loaded)  # type: ignore[assignment]
    found = broken.compare(LogReader(world.store, MODEL, "order"), canary, champion, START, BEGUN)
    assert (found.failed, found.paired) == (1, Paired(both_right=2))


def test_a_version_with_a_key_that_nobody_trusts_cannot_be_asked(
    world: RealWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_TRUSTED_KEYS", str(tmp_path / "none"))
    assert "not trusted" in compare(world, world.version(0.6), world.version(0.7)).cannot


def test_from_when_on_rows_are_unseen(world: RealWorld) -> None:
    version = world.version(0.6, made=START)
    about = published(world.store, MODEL, version)
    assert unseen_from(world.store, MODEL, about) == START
    for key, campaign in (("a" * 16, None), ("b" * 16, 3)):
        log = {"model": MODEL, "judge_from": rfc3339(BEGUN)}
        fields = {"data": {"sources": [{"dataset": "toy/x"}, {"log": log}]}, "campaign": campaign}
        create_record(world.store, f"runs/{key}/request.json", "run-request", fields)
    person = type(about)(**{**vars(about), "run_key": "a" * 16})
    campaign_ran = type(about)(**{**vars(about), "run_key": "b" * 16})
    # What a person trains on may hold any row that was there; a campaign says what it kept.
    assert unseen_from(world.store, MODEL, person) > BEGUN
    assert unseen_from(world.store, MODEL, campaign_ran) == BEGUN


def play(world: RealWorld, threshold: float, xs: np.ndarray) -> list[str]:
    """A champion with threshold 0.7, labelled rows in its log, and a rollout of another version; what happened."""
    champion = world.version(0.7)
    world.promote(champion)
    world.asked(champion, 0.7, xs, START)
    new = world.version(threshold)
    rollouts.request(world.store, MODEL, new, kind="serve", who="ann", why="")
    controller.step(world.store, MODEL, Place())
    return [e.event for e in ledger.read(world.store, MODEL) if e.version == new]


def test_what_the_log_shows_to_be_worse_never_gets_a_live_request(world: RealWorld) -> None:
    assert play(world, 0.99, np.linspace(0, 1, 200)) == ["published", "shadowed", "rejected"]
    assert ledger.read(world.store, MODEL)[-1].why.startswith("shown to be worse: ")


def test_without_a_label_the_estimates_hold_what_looks_worse_in_the_shadow(world: RealWorld) -> None:
    champion, worse, good = world.version(0.5), world.version(0.52, right=0.6), world.version(0.51)
    world.promote(champion)
    world.asked(champion, 0.5, np.linspace(0, 1, 300), START, labelled=False)
    for version, events in ((worse, ["published", "shadowed"]), (good, ["published", "shadowed", "canaried"])):
        rollouts.request(world.store, MODEL, version, kind="serve", who="ann", why="")
        controller.step(world.store, MODEL, Place())
        told = [e.event for e in ledger.read(world.store, MODEL) if e.version == version]
        assert told == events
    figures = rollouts.evidence(world.store, MODEL, 2)[0].figures
    assert figures["estimated"]["unit"] == "accuracy"
    assert figures["estimated"]["canary"][0] == pytest.approx(0.95, abs=0.03)


def test_versions_that_keep_numbers_in_different_widths_are_compared(world: RealWorld) -> None:
    champion, canary = world.version(0.5), world.version(0.51, NARROW)
    world.promote(champion)
    world.asked(champion, 0.5, np.linspace(0, 1, 300), START, labelled=False)
    rollouts.request(world.store, MODEL, canary, kind="serve", who="ann", why="")
    controller.step(world.store, MODEL, Place())
    world.asked(canary, 0.51, np.linspace(0, 1, 30), BEGUN + timedelta(minutes=1), labelled=False, kind=pa.float32())
    replay = Replay(world.store, MODEL, trusted_keys(settings.load().trusted_keys))
    found = replay.estimate(LogReader(world.store, MODEL, "order"), canary, champion, START)
    assert found is not None
    assert found.unit == "accuracy"
    controller.step(world.store, MODEL, Place())
    assert [e.event for e in ledger.read(world.store, MODEL) if e.version == canary] == [
        "published", "shadowed", "canaried",
    ]  # fmt: skip


def test_what_looks_worse_waits_in_the_shadow_and_one_that_does_well_goes_on(world: RealWorld) -> None:
    assert play(world, 0.8, np.array([0.1] * 20 + [0.75] * 4)) == ["published", "shadowed"]
    state = world.state()
    assert state.shadow is not None
    assert state.canary is None
    # Many rows on which it is as good outweigh the few.
    assert state.champion is not None
    world.asked(state.champion, 0.7, np.linspace(0, 0.5, 2000), START + timedelta(minutes=1))
    controller.step(world.store, MODEL, Place())
    assert world.state().canary == state.shadow


def test_what_the_log_shows_to_be_no_worse_skips_the_small_share_and_is_promoted_by_its_rows(world: RealWorld) -> None:
    world.project = {"rollout": {"shares": [10, 50], "step_rows": 10}}
    assert play(world, 0.5, np.linspace(0, 1, 200)) == ["published", "shadowed", "canaried"]
    state = world.state()
    assert state.canary_percent == 50
    assert state.canary is not None
    world.asked(state.canary, 0.5, np.linspace(0, 1, 20), datetime.now(UTC) + timedelta(seconds=1), labelled=False)
    controller.step(world.store, MODEL, Place())
    assert world.state().champion == state.canary
    last = ledger.read(world.store, MODEL)[-1]
    assert last.why.startswith("shown to be no worse: 200 of 200 right, the champion 160")
    frozen = rollouts.evidence(world.store, MODEL, 1)[-1]
    assert last.evidence is not None
    assert last.evidence["digest"] == frozen.digest
    assert frozen.figures["paired"]["challenger_only"] == 40
