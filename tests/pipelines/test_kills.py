"""A run that is killed again and again, at any moment, ends in one version."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from trimtab.core import rollouts, runs, settings
from trimtab.core.bundle import list_versions
from trimtab.core.project import Project
from trimtab.core.store import Store
from trimtab.pipelines import children
from trimtab.pipelines.local import make_request, run_local
from trimtab.pipelines.work import work_folder

from .conftest import processes_of, until


@pytest.mark.campaign
@pytest.mark.timeout(1200)
def test_a_run_killed_at_random_moments_ends_in_one_version(quick: Project, store: Store, tmp_path: Path) -> None:
    moments = random.Random(7)
    key = runs.open_run(store, make_request(quick, store))
    work = work_folder(store.url, settings.load())
    for _ in range(12):
        if runs.result(store, key) is not None:
            break
        # Moments are drawn in records that it leaves, and a little later: as many kills on any machine.
        records = moments.randint(0, 6) + len(list(store.list(f"runs/{key}/")))
        child = children.start(store, key, work, attached=False)
        until(lambda c=child, n=records: not c.running or len(list(store.list(f"runs/{key}/"))) >= n, 300)  # type: ignore[misc]
        time.sleep(moments.uniform(0.0, 0.5))
        pid = int(child.name.split("-")[2])
        if child.running:
            os.kill(pid, signal.SIGKILL)
        until(lambda c=child: not c.running)  # type: ignore[misc]
    outcome = run_local(quick, store.url)
    assert outcome.key == key
    assert list_versions(store, "quick") == [outcome.version]
    assert len(rollouts.requests(store, "quick")) == 1
    until(lambda: not processes_of(str(tmp_path)))
    ends = [a.state for a in runs.attempts(store, key)]
    assert ends[-1] == "succeeded"
    assert set(ends[:-1]) <= {""}
