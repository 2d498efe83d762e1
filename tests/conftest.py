"""What every test shares: no thread races for two cores, no settings of the user's, a store in a folder."""

from __future__ import annotations

import faulthandler
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests import slow
from tests.servers.fixtures import described, docker, moto, s3
from tests.servers.kubernetes import fixtures as kubernetes
from tests.servers.kubernetes.fixtures import cluster_api, cluster_node, namespace, node_namespace

if TYPE_CHECKING:
    from trimtab.core.store import Store

__all__ = ["cluster_api", "cluster_node", "docker", "moto", "namespace", "node_namespace", "s3"]

# Before any library reads them: more threads than cores make small fits 20 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

ROOT = Path(__file__).resolve().parents[1]
# Where the servers that tests use are to be found.
KEPT = {
    *("TRIMTAB_TEST_S3", "TRIMTAB_PROMETHEUS_BIN", "TRIMTAB_TEST_CHROMIUM"),
    *("TRIMTAB_TEST_DOCKER", "TRIMTAB_TEST_KUBECONFIG", slow.END),
}


def pytest_report_header() -> str:
    """Say which S3 and which Kubernetes the tests use, or that there is none."""
    return f"S3: {described()}\nKubernetes: {kubernetes.described()}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of slow tests: what only they show comes first."""
    items.sort(key=slow.place)


def pytest_unconfigure() -> None:
    """A thread that a test left behind keeps a process for ever: after a minute it is shown, and the process fails."""
    faulthandler.dump_traceback_later(60, exit=True, file=2)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """No slow test begins when the time for them is over."""
    slow.begin(item)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No TRIMTAB_* variable of the user's reaches a test, and no test reaches the user's keys."""
    for name in [n for n in os.environ if n.startswith("TRIMTAB_") and n not in KEPT]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty folder store."""
    from trimtab.core.store import open_store

    return open_store((tmp_path / "store").as_uri())
