"""Servers in pods under load: what a rolling update, a drain, a store that restarts and a kill cost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence

import pytest
from benchmarks.cluster.load import THREADS, Answer, Load, Row
from tests.cluster.site import Site
from tests.servers.kubernetes.node import NAME
from tests.servers.prometheus import wait_until

from trimtab.core import predictions

pytestmark = [pytest.mark.cluster, pytest.mark.images, pytest.mark.timeout(600)]
MODEL, SELECTOR = "digits", "app=digits-predictor"
ROWS = [Row({"image": [[1.0] * 8] * 8, "image_id": "x"})]
RATE = 50.0
FLUSH_SECONDS = 5.0


def logged(site: Site, version: str) -> set[str]:
    """The prediction ids in the log."""
    store = site.store("watch")
    keys = list(predictions.list_files(store, MODEL, version))
    return set(predictions.read_files(store, keys, ["_id"])["_id"].to_pylist()) if keys else set()


def missing(site: Site, version: str, answers: Sequence[Answer], allowed: int = 0) -> list[Answer]:
    """Answers that the log does not have, once what waits on disk has been shipped."""

    def now() -> list[Answer]:
        there = logged(site, version)
        return [a for a in answers if a.id not in there]

    deadline = time.monotonic() + 60
    while (found := now()) and time.monotonic() < deadline:
        if len(found) <= allowed:
            time.sleep(2 * FLUSH_SECONDS)
            return now()
        time.sleep(1)
    return found


def test_rolling_update_drain_and_a_store_that_restarts_lose_nothing(pod_site: Site) -> None:
    site = pod_site
    site.start()
    version = site.place.publish(MODEL, "digits")
    address = site.serve(MODEL, version)
    kubectl = site.kubectl
    with Load(f"http://{address}", MODEL, ROWS, RATE, token=site.token) as load:
        load.wait(50)

        before = set(site.pods(SELECTOR))
        kubectl("rollout", "restart", f"deployment/{MODEL}-predictor")
        site.rolled_out(f"deployment/{MODEL}-predictor")
        wait_until(lambda: not before & set(site.pods(SELECTOR)), 60, "new pods in place of the old ones")
        load.wait(50)
        update = load.seen.words()

        # The one node is drained: the budget lets one pod go at a time, and none where no other one is ready.
        try:
            kubectl(
                "drain", NAME, f"--pod-selector={SELECTOR}", "--delete-emptydir-data", "--timeout=12s", check=False
            )  # fmt: skip
            assert site.pods(SELECTOR), "the budget keeps one"
            load.wait(50)
        finally:
            kubectl("uncordon", NAME)
        site.rolled_out(f"deployment/{MODEL}-predictor")
        drain = load.seen.words()

        kubectl("delete", "pod", "trimtab-minio-0", "--wait=true")
        load.wait(100)
        site.rolled_out("statefulset/trimtab-minio")
        load.wait(200)
    print(f"\nupdate: {update}\ndrain: {drain}\nstore restarted: {load.seen.words()}")
    seen = load.seen
    assert (seen.failed, seen.refused) == (0, 0)
    assert len({a.id for a in seen.answers}) == len(seen.answers)
    assert missing(site, version, seen.answers) == []


def test_a_killed_pod_loses_what_it_was_answering_and_rows_in_memory_at_most(pod_site: Site) -> None:
    site = pod_site
    site.start()
    version = site.place.publish(MODEL, "digits")
    address = site.serve(MODEL, version)
    with Load(f"http://{address}", MODEL, ROWS, RATE, token=site.token) as load:
        load.wait(50 * int(2 * FLUSH_SECONDS))
        pod = site.pods(SELECTOR)[0]
        victims = site.node.processes_of(site.namespace, pod)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        killed = time.time()
        wait_until(lambda: _restarts(site, pod) == 1 and _ready(site, pod), 90, "the killed server's next life")
        load.wait(100)
    seen = load.seen
    gone = missing(site, version, seen.answers, allowed=int(RATE * 2 * FLUSH_SECONDS))
    print(f"\nkilled: {load.seen.words()}; {len(gone)} rows of the log lost")
    assert seen.failed <= THREADS, "each connection asks one thing at a time"
    assert not any(f.told for f in seen.failures), seen.words()
    assert all(killed - FLUSH_SECONDS - 2 <= a.at <= killed + 1 for a in gone), "older rows were on disk"
    assert len(gone) <= RATE * (FLUSH_SECONDS + 2)


def _status(site: Site, pod: str) -> dict[str, object]:
    statuses = json.loads(site.kubectl("get", "pod", pod, "-o", "json"))["status"]["containerStatuses"]
    assert isinstance(statuses[0], dict)
    return statuses[0]


def _restarts(site: Site, pod: str) -> object:
    return _status(site, pod)["restartCount"]


def _ready(site: Site, pod: str) -> bool:
    return bool(_status(site, pod)["ready"])
