"""A watch that is killed (-9) at any moment: no window is lost, no row counted twice, no label forgotten."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
from tests.monitoring.nursery import Nursery
from tests.monitoring.stream import MODEL, Stream, draw
from tests.monitoring.test_watch import cuts, members

from trimtab.core.records import rfc3339
from trimtab.core.store import Store, open_store
from trimtab.monitoring import windows
from trimtab.monitoring.watch import Watch


def settle(stream: Stream) -> None:
    """A watch that nobody kills says what is left to say."""
    last = Watch(stream.store, MODEL, clock=lambda: stream.now)
    for _ in range(3):
        last.step()


@pytest.mark.parametrize(("kills", "watches"), [(10, 1), pytest.param(60, 2, marks=pytest.mark.campaign)])
def test_killed_at_random_moments_it_loses_and_doubles_nothing(
    store: Store, tmp_path: Path, root: Path, kills: int, watches: int
) -> None:
    chance, rng = random.Random(kills), np.random.default_rng(0)
    stream = Stream(store, tmp_path)
    version = stream.publish()
    (tmp_path / "child").mkdir()
    with contextlib.closing(Nursery(root)) as nursery:
        for kill in range(kills):
            if kill % 2 == 0:
                stream.answer(version, draw(rng, chance.randint(20, 80), flip=0.3 if kill > kills / 2 else 0.0))
            for at in range(len(stream.kept)):
                if chance.random() < 0.1:
                    stream.label(at, slice(chance.randint(0, 10), None), by_key=chance.random() < 0.5)
            (tmp_path / "child" / "now").write_text(rfc3339(stream.now))
            # A watch that starts again reads what there is: so much, and what comes after it.
            most = watches * (50 + 2 * len(list(store.list("windows/"))))
            nursery.kill_after(chance.randint(1, most), "watch", store.url, tmp_path / "child", watches)
    before = len(cuts(stream, version))
    for at in range(len(stream.kept)):
        stream.label(at)
    settle(stream)
    rows = [i for ids, _, _, _ in stream.kept for i in ids]
    assert [i for window in members(stream, version) for i in window] == rows[: len(rows) // 100 * 100]
    assert [cut.rows for cut in cuts(stream, version)] == [100] * (len(rows) // 100)
    said = windows.verdicts(store, MODEL, version)
    assert [(v.window, v.labelled) for v in said] == [(w, 100) for w in range(1, len(rows) // 100 + 1)]
    assert (said[0].verdict, said[-1].verdict) == ("none", "drift")
    assert before > len(said) / 2, "those that were killed cut most windows, not the one that was not"

    # A watch that was never killed, and saw everything at once, says the same in the end.
    other = open_store((tmp_path / "calm").as_uri())
    for key in [k for k in store.list("") if not k.startswith("windows/")]:
        other.create(key, store.get(key))
    calm = Stream(other, tmp_path, now=stream.now)
    settle(calm)
    told = windows.verdicts(other, MODEL, version)
    assert [v.performance["realised"] for v in told] == [v.performance["realised"] for v in said]
    assert (told[-1].verdict, told[-1].since) == (said[-1].verdict, said[-1].since)
