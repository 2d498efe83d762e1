"""The sender of the hosted loop, against a real server of ours."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.manifests.kustomize import MANIFESTS
from tests.serving.bundles import Place, Running, running


@pytest.fixture(scope="module")
def traffic() -> ModuleType:
    spec = importlib.util.spec_from_file_location("traffic", MANIFESTS / "kind" / "traffic.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("traffic"))
    place.serve("digits", "digits")
    return place


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Running]:
    with running(place, "digits") as one:
        yield one


def test_every_answer_is_counted_and_labels_go_back(
    traffic: ModuleType, place: Place, server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "traffic.json"
    words = ["--url", server.url, "--host", "digits-trimtab.models.example", "--rate", "500", "--requests", "80"]
    code = traffic.main([*words, "--token-file", str(place.settings.token_file), "--out", str(out)])
    found = json.loads(out.read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert (code, found["requests"], found["failed_requests"], found["reached"]) == (0, 80, 0, True)
    assert sum(found["versions"].values()) == 80
    assert all(version.startswith("v1-") for version in found["versions"])
    assert server.metric("trimtab_labels_total") == 80


def test_a_server_that_is_away_is_counted_too(traffic: ModuleType) -> None:
    sender = traffic.Traffic("http://127.0.0.1:9", "", "token")
    assert sender.ask({"image": []}, "1") is None
    assert sender.label([{"id": "x", "value": "1"}]) is False
    facts = sender.facts()
    assert (facts["requests"], facts["failed_requests"], facts["versions"]) == (1, 1, {})
