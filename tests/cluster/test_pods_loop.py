"""Watch and hook in pods: killed, they take up where they were; idle, they take little."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from benchmarks.cluster.footprint import measure
from tests.cluster.site import Site
from tests.monitoring.stream import KEY, Stream, draw
from tests.monitoring.test_watch import cuts, members
from tests.servers.prometheus import wait_until

from trimtab.core import ledger, rollouts, signing

pytestmark = [pytest.mark.cluster, pytest.mark.images, pytest.mark.timeout(600)]
WATCH, HOOK = "app.kubernetes.io/component=watch", "app.kubernetes.io/component=hook"
CPU, MEGABYTES = 0.2, 500.0


def kill(site: Site, selector: str) -> None:
    """SIGKILL for what runs in the pod."""
    (pod,) = site.pods(selector)
    for pid in site.node.processes_of(site.namespace, pod):
        os.kill(pid, signal.SIGKILL)


def promoted(site: Site, model: str) -> str | None:
    """A model's champion."""
    return ledger.state(site.store("watch"), model).champion


def test_a_killed_hook_takes_up_the_requests_that_came_meanwhile(pod_site: Site) -> None:
    site = pod_site
    site.start(hook=1)
    store = site.store("pipeline")
    first = site.place.publish("digits", "digits")
    rollouts.request(store, "digits", first, kind="serve", who="test", why="a first version")
    wait_until(lambda: promoted(site, "digits") == first, 90, "the hook promotes a first version")
    kill(site, HOOK)
    second = site.place.publish("demand", "numbers")
    rollouts.request(store, "demand", second, kind="serve", who="test", why="a first version")
    wait_until(lambda: promoted(site, "demand") == second, 90, "the hook's next life promotes the other model's")
    assert [e.event for e in ledger.read(store, "digits")].count("promoted") == 1


def test_a_killed_watch_loses_and_doubles_no_window(pod_site: Site, tmp_path: Path) -> None:
    site = pod_site
    signing.trust(KEY.public_key(), site.place.settings.trusted_keys)
    site.start(watch=1)
    rng = np.random.default_rng(0)
    # What a server and an operator would have left behind, put there by the administrator.
    stream = Stream(site.store("root"), tmp_path, now=datetime.now(UTC) - timedelta(minutes=10))
    version = stream.publish()
    stream.answer(version, draw(rng, 150))
    wait_until(lambda: len(cuts(stream, version)) == 1, 120, "the first window")
    kill(site, WATCH)
    stream.answer(version, draw(rng, 150))
    wait_until(lambda: len(cuts(stream, version)) == 3, 120, "the windows of the watch's next life")
    rows = [i for ids, _, _, _ in stream.kept for i in ids]
    assert [i for window in members(stream, version) for i in window] == rows


def test_idle_watch_and_hook_take_little(pod_site: Site) -> None:
    site = pod_site
    site.start(watch=1, hook=1)
    version = site.place.publish("digits", "digits")
    rollouts.request(site.store("pipeline"), "digits", version, kind="serve", who="test", why="a first version")
    wait_until(lambda: promoted(site, "digits") == version, 90, "the hook promotes it")
    pods = {"watch": WATCH, "hook": HOOK}
    uids = {name: [site.uid(pod) for pod in site.pods(selector)] for name, selector in pods.items()}
    taken = measure(site.node.sandbox.cgroup, uids, seconds=20.0)
    print(f"\nidle: {taken.record()}")
    assert sum(taken.cpu.values()) < CPU
    assert sum(taken.megabytes.values()) < MEGABYTES
