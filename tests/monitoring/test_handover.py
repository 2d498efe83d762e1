"""From champion to champion: reference and thresholds move with it, no row goes unwatched, and nothing alarms falsely.

The concept turns round: what was `yes` is `no` from then on. The old champion is wrong about it, the new one right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.monitoring.stream import KEY, MODEL, SCHEMA, Stream, answered, draw
from tests.monitoring.test_watch import cuts, members

from trimtab.core import bundle, ledger
from trimtab.core.records import create_record, rfc3339
from trimtab.core.store import Store
from trimtab.monitoring import campaign, reference, windows
from trimtab.monitoring.alarm import Alarm
from trimtab.monitoring.metrics import WatchMetrics
from trimtab.monitoring.watch import Watch

OTHER = {"yes": "no", "no": "yes"}


def turned(rows: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Rows of which truth, or the model's answers, are turned round."""
    found = dict(rows)
    for name in names:
        found[name] = 1 - rows[name] if name == "yes" else np.array([OTHER[v] for v in rows[name]])
    return found


def after(rows: dict[str, Any]) -> dict[str, Any]:
    """Rows of the new concept, as the old champion answers them."""
    return turned(rows, ("truth",))


def learnt(rows: dict[str, Any]) -> dict[str, Any]:
    """Rows of the new concept, as the new champion answers them."""
    return turned(rows, ("truth", "yes", "label"))


def publish(stream: Stream) -> str:
    """The new version, with a reference of the new concept."""
    folder = stream.folder / "new"
    folder.mkdir()
    rows = learnt(draw(np.random.default_rng(77), 1000))
    table = pa.table({**answered(rows), "churn": pa.array(rows["truth"].tolist(), pa.string())})
    pq.write_table(table, folder / "reference.parquet")
    (folder / "schema.json").write_text(SCHEMA.to_json())
    (folder / "model.onnx").write_bytes(b"new model")
    (folder / "expected.json").write_text(json.dumps({}))
    (folder / "report.html").write_text("<p>report</p>")
    project = {"name": MODEL, "windows": stream.windows, "fields": [{"name": "order", "kind": "id"}]}
    return bundle.publish_bundle(
        stream.store, MODEL, folder, KEY, metrics={}, threshold=None, lineage={}, project=project
    )


def say(store: Store, event: str, version: str, percent: int = 0) -> None:
    state = ledger.state(store, MODEL)
    done = ledger.append(store, MODEL, event, version, expect=state, who="test", why="test", percent=percent)
    assert done is not None


class Hook:
    """What the watch posts to: the campaigns' own answer, and what was posted."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.posted: list[str] = []

    def __call__(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.posted.append(body["alerts"][0]["labels"]["version"])
        return 202, campaign.answer(self.store, MODEL, why="").body()


def shown(registry: CollectorRegistry) -> dict[str, float]:
    """The joined verdict's metric, by version."""
    return {
        s.labels["version"]: s.value
        for family in registry.collect()
        for s in family.samples
        if s.name == "trimtab_watch_verdict" and s.labels["layer"] == "joined"
    }


@pytest.mark.parametrize("restarted", [False, True])
def test_the_new_champion_is_watched_from_its_first_row_by_its_own_reference(
    store: Store, tmp_path: Path, restarted: bool
) -> None:
    rng = np.random.default_rng(3)
    stream = Stream(store, tmp_path)
    old = stream.publish()
    hook, registry = Hook(store), CollectorRegistry()

    def watch() -> Watch:
        metrics = WatchMetrics(CollectorRegistry() if restarted else registry)
        return Watch(store, MODEL, metrics, alarm=Alarm(store, MODEL, "http://h", hook), clock=lambda: stream.now)

    watching = watch()
    for n in range(6):
        stream.label(stream.answer(old, draw(rng, 100) if n < 4 else after(draw(rng, 100))))
        watching.step()
    assert [v.verdict for v in windows.verdicts(store, MODEL, old)][:4] == ["none"] * 4
    assert windows.latest(store, MODEL, old).verdict == "drift"  # type: ignore[union-attr]
    assert len(hook.posted) >= 1
    opened = campaign.state(store, MODEL)
    assert opened is not None
    data_end = stream.now

    # A canary answers some rows; the old champion goes on, and its drift goes on being said.
    new = publish(stream)
    say(store, "published", new)
    say(store, "canaried", new, 50)
    canary = stream.answer(new, learnt(draw(rng, 80)))
    stream.label(canary)
    stream.label(stream.answer(old, after(draw(rng, 80))))
    watching.step()
    assert windows.keys_by_window(store, MODEL, new) == {}
    say(store, "promoted", new)
    closing = {"outcome": "promoted", "why": "", "champion": new, "window": 0, "data_end": rfc3339(data_end)}
    create_record(store, f"campaigns/{MODEL}/00000001/closed.json", "campaign-closed", closing)

    # What was said about the old champion opens nothing about the new one, and no metric tells it any longer.
    watching = watch() if restarted else watching
    before = list(hook.posted)
    watching.step()
    assert hook.posted == before
    assert campaign.answer(store, MODEL).reason == f"{new} has no window with a verdict yet"
    assert restarted or shown(registry) == {}

    for n in range(10):
        stream.label(stream.answer(new, learnt(draw(rng, 20 if n == 0 else 100))))
        watching.step()
    said = windows.verdicts(store, MODEL, new)
    assert [v.verdict for v in said] == ["none"] * 10
    assert hook.posted == before
    # The rows that it answered as canary are in its first window: none went unwatched.
    assert members(stream, new)[0][:80] == stream.kept[canary][0]
    assert {cut.reference for cut in cuts(stream, new)} == {reference.load(store, MODEL, new).digest}
    assert restarted or shown(registry) == {new: 0.0}
    if not restarted:
        assert f'version="{old}"' not in generate_latest(registry).decode()

    # The old concept comes back: that is a drift of the new champion, and another campaign's.
    for _ in range(2):
        stream.label(stream.answer(new, turned(draw(rng, 100), ("yes", "label"))))
        watching.step()
    assert windows.latest(store, MODEL, new).verdict == "drift"  # type: ignore[union-attr]
    assert set(hook.posted[len(before) :]) == {new}
    now = campaign.state(store, MODEL)
    assert now is not None
    assert (now.n, now.version, now.phase) == (2, new, "debounce")
