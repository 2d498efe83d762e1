"""One watch and one hook for all models: found from the store, new ones taken up, gone ones dropped, faults apart."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.monitoring.stream import Stream, draw
from tests.monitoring.world import MODEL, START, Place, Runs, World

from trimtab.core import ledger, logs
from trimtab.core.errors import StoreError
from trimtab.core.store import Store
from trimtab.monitoring.campaign_data import Readers
from trimtab.monitoring.champion import published
from trimtab.monitoring.hook_service import HookService
from trimtab.monitoring.metrics import WatchMetrics
from trimtab.monitoring.models import Models
from trimtab.monitoring.remember import Remembering
from trimtab.monitoring.tail import WHOLE_KEYS, NewFiles
from trimtab.monitoring.turns import BACKOFF, Turns
from trimtab.monitoring.watch import Watch
from trimtab.monitoring.watches import Watches


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watches(store: Store, registry: CollectorRegistry, clock: Clock) -> Watches:
    shown = WatchMetrics(registry)
    models = Models(store, every_seconds=15, clock=clock)
    return Watches(models, lambda model: Watch(store, model, shown), shown, Turns(5, clock))


def stream(store: Store, folder: Path, model: str) -> tuple[Stream, str]:
    made = Stream(store, folder / model, model=model)
    return made, made.publish()


def folder_of(store: Store) -> Path:
    return Path(store.url.removeprefix("file://"))


def test_models_are_found_taken_up_and_let_go(
    store: Store, tmp_path: Path, watches: Watches, registry: CollectorRegistry, clock: Clock
) -> None:
    assert watches.step() == 5
    assert watches.names == []
    rng = np.random.default_rng(0)
    for model in ("apples", "pears"):
        made, version = stream(store, tmp_path, model)
        made.answer(version, draw(rng, 100))
    clock.now = 14
    watches.step()
    assert watches.names == [], "the store is listed once in 15 s"
    clock.now = 15
    assert watches.step() == 5
    text = generate_latest(registry).decode()
    assert all(f'layer="joined",model="{model}"' in text for model in ("apples", "pears"))
    shutil.rmtree(folder_of(store) / "models" / "pears")
    clock.now = 30
    watches.step()
    assert watches.names == ["apples"]
    text = generate_latest(registry).decode()
    assert "apples" in text
    assert "pears" not in text


def test_a_fault_of_one_model_stops_no_other(
    store: Store, tmp_path: Path, watches: Watches, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made, version = stream(store, tmp_path, "pears")
    stream(store, tmp_path, "apples")
    (folder_of(store) / "models" / "apples" / "ledger" / "00000002.json").write_bytes(b"{}")
    rng = np.random.default_rng(0)
    with caplog.at_level(logging.INFO, "trimtab"):
        for window in range(3):
            made.answer(version, draw(rng, 100))
            clock.now = 5.0 * window
            watches.step()
    assert len(list(store.list(f"windows/pears/{version}/"))) == 3 * 4
    errors = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 2, "one that fails is looked at again after a longer and longer pause"
    assert all("apples" in r.getMessage() for r in errors)


def test_pauses_grow_to_a_bound_and_end_with_the_trouble(clock: Clock) -> None:
    turns = Turns(5, clock)

    def fail() -> None:
        raise StoreError("away")

    waits = []
    for _ in range(8):
        turns.take("a", fail)
        waits.append(turns._turns["a"].due - clock.now)
    assert waits == [10, 20, 40, 80, 100, 100, 100, 100]
    assert max(waits) == 5 * BACKOFF
    turns.hurry()
    assert not turns.due("a"), "an alert makes no haste where there is trouble"
    assert turns.take("a", lambda: None)
    assert (turns.wait(["a"]), turns.wait(["a", "new"]), turns.wait([])) == (5, 0, 5)
    turns.hurry()
    assert turns.due("a")


def test_lines_of_the_log_name_their_model(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("trimtab.monitoring.turns")
    kept = list(logging.getLogger("trimtab").handlers), logging.getLogger("trimtab").propagate
    try:
        logs.setup("INFO", process="watch")
        Turns(5).take("apples", lambda: logger.info("looked"))
        logger.info("between")
    finally:
        root = logging.getLogger("trimtab")
        root.handlers[:], root.propagate = kept
        root.setLevel(logging.NOTSET)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["process"], first["model"], "model" in second) == ("watch", "apples", False)


def test_the_hook_steps_every_model_though_one_is_broken(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path)
    version = world.publish(1)
    state = ledger.state(store, "broken")
    ledger.append(store, "broken", "published", version, expect=state, who="test", why="first")
    (folder_of(store) / "models" / "broken" / "ledger" / "00000001.json").write_bytes(b"{}")
    place = Stepped()
    service = HookService(store, Runs(world), place, poll_seconds=0.01)
    service.start()
    try:
        assert place.stepped.wait(60)
        assert service.known() == ["broken", MODEL]
    finally:
        service.stop()


class Stepped(Place):
    """A place that says when the whole model was stepped a few times."""

    def __init__(self) -> None:
        super().__init__()
        self.stepped = threading.Event()

    def act(self, model: str, state: ledger.State) -> None:
        super().act(model, state)
        if model == MODEL and len(self.acted) > 5:
            self.stepped.set()


def test_the_hook_lets_go_of_the_log_when_nothing_is_tried(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path)
    version = world.champion()
    world.log(version, START, [True] * 50)
    service = HookService(store, Runs(world), Place(), [MODEL], 0.01)
    service.readers.of(store, MODEL, published(store, MODEL, version)).joined()
    service.replays.of(store, MODEL)
    world.publish(2)
    state = world.state()
    ledger.append(store, MODEL, "shadowed", world.publish(2), expect=state, who="test", why="try")
    service.round()
    assert service.readers.holds(MODEL), "while one is tried its log is read again and again"
    ledger.append(store, MODEL, "rejected", world.publish(2), expect=world.state(), who="test", why="worse")
    service.round()
    assert not service.readers.holds(MODEL)
    assert not service.replays.holds(store, MODEL)


def test_readers_of_one_model_are_forgotten_alone(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path)
    about = published(store, MODEL, world.publish(1))
    readers = Readers()
    for model in ("a", "b"):
        readers.of(store, model, about)
    readers.forget("a")
    assert (readers.holds("a"), readers.holds("b")) == (False, True)


def test_what_is_remembered_has_a_bound_in_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.monitoring.remember.KEPT_BYTES", 2500)
    remembering = Remembering(store)
    for n in range(10):
        store.create(f"runs/{n}", b"x" * 1000)
        remembering.get(f"runs/{n}")
    assert list(remembering._known) == ["runs/8", "runs/9"]
    remembering.delete("runs/9")
    assert remembering._bytes == 1000


class Counting:
    """A store that counts the keys it lists."""

    def __init__(self, keys: int) -> None:
        self.keys = [f"predictions/m/v1/2026-11-21T08/s-{n:08d}.parquet" for n in range(keys)]
        self.lists: list[str | None] = []

    def list(self, prefix: str, after: str | None = None) -> list[str]:
        self.lists.append(after)
        return [k for k in self.keys if after is None or k > after]


def test_a_long_log_is_listed_whole_less_often() -> None:
    from datetime import timedelta

    store = Counting(WHOLE_KEYS * 100)
    files = NewFiles(store, "predictions/m/v1/")  # type: ignore[arg-type]
    for seconds in range(0, 301, 5):
        files.look(START + timedelta(hours=3, seconds=seconds))
    assert [i * 5 for i, after in enumerate(store.lists) if after is None] == [0, 100, 200, 300]
