"""The same story on S3, where a create may be asked twice and a list takes its time."""

from __future__ import annotations

from pathlib import Path

from tests.monitoring.test_campaign import ROLLOUT, play
from tests.monitoring.world import MODEL, START, Runs, World, story
from tests.servers.fixtures import S3

from trimtab.monitoring.remember import Remembering


def test_a_campaign_runs_on_s3(moto: S3, tmp_path: Path) -> None:
    store = moto.store()
    world = World(store, tmp_path, {"rollout": ROLLOUT, "campaign": {"follow_ups": 1, "follow_up_windows": 1}})
    version = world.champion()
    world.log(version, START, [i % 2 == 0 for i in range(40)])
    world.verdict(version, 1)
    play(world, lambda: Remembering(store), Runs(world))
    told = story(store)
    assert (told["opened"], told["outcomes"], told["runs"], told["requests"]) == (1, ["promoted"], 2, 2)
    assert next(iter(store.list(f"campaigns/{MODEL}/"))).endswith("/closed.json")
