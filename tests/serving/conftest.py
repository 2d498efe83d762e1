"""A place with tiny models, and servers in child processes shared by a module's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.bundles import Place, Running, running

from trimtab.serving.config import ServerConfig
from trimtab.serving.metrics import Metrics


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("shared"))
    place.serve("digits", "digits")
    place.serve("demand", "numbers")
    version = place.publish("churn", "mixed", threshold=0.3)
    place.say("churn", "promoted", version)
    return place


@pytest.fixture(scope="module")
def digits(shared: Place) -> Iterator[Running]:
    with running(shared, "digits", "--body-mib", "1") as server:
        yield server


@pytest.fixture(scope="module")
def demand(shared: Place) -> Iterator[Running]:
    with running(shared, "demand") as server:
        yield server


@pytest.fixture(scope="module")
def churn(shared: Place) -> Iterator[Running]:
    with running(shared, "churn") as server:
        yield server


@pytest.fixture(scope="module")
def token(shared: Place, digits: Running) -> str:
    return shared.settings.token_file.read_text().strip()


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    spool, store = tmp_path / "spool", (tmp_path / "store").as_uri()
    return ServerConfig("digits", store, spool, tmp_path / "trusted", tmp_path / "tokens", flush_seconds=60)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("digits")
