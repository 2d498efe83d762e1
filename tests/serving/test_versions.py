"""Taking versions: verified, warmed, swapped without losing a request; or refused in writing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.serving.bundles import Place, Running, running, write_bundle
from tests.serving.raw import Raw, post

from trimtab.core import bundle, predictions, rollouts, signing
from trimtab.core.errors import ModelError
from trimtab.serving.model import load_model

PREDICT = post("/v1/models/digits:predict", {"instances": [[[1.0] * 8] * 8]})


class Load:
    """Requests at a steady rate from several keep-alive connections, until told to stop."""

    def __init__(self, server: Running, rate: float, connections: int = 4) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(server, connections / rate)) for _ in range(connections)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _work(self, server: Running, pause: float) -> None:
        try:
            with Raw(server.url) as raw:
                due = time.perf_counter()
                while not self._stop.is_set():
                    started = time.perf_counter()
                    status, headers, _ = raw.ask(PREDICT)
                    self.answers.append((started, status, headers.get("x-model-version", "")))
                    due = max(due + pause, time.perf_counter() - 0.5)
                    time.sleep(max(0.0, due - time.perf_counter()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a lost request
            self.failures.append(f"{type(error).__name__}: {error}")

    def versions(self) -> set[str]:
        return {version for _, _, version in self.answers[-200:]}


def test_versions_swap_under_load_and_no_request_fails(place: Place) -> None:
    first = place.serve("digits", "digits", 0)
    with running(place, "digits") as server, Load(server, rate=300) as load:
        server.until(lambda: load.versions() == {first})
        for seed in range(1, 6):
            version = place.publish("digits", "digits", seed)
            place.say("digits", "canaried", version, percent=50)
            server.until(lambda version=version: version in load.versions())
            place.say("digits", "promoted", version)
            server.until(lambda version=version: load.versions() == {version})
    assert load.failures == []
    assert {status for _, status, _ in load.answers} == {200}
    assert len(load.answers) > 200
    ordered = [version for _, _, version in sorted(load.answers)]
    assert ordered[-1] == version


def test_the_canarys_share_is_followed_and_it_goes_when_it_is_rolled_back(place: Place) -> None:
    first = place.serve("digits", "digits", 0)
    second = place.publish("digits", "digits", 1)
    with running(place, "digits") as server, Load(server, rate=300) as load:
        server.until(lambda: load.versions() == {first})
        place.say("digits", "canaried", second, percent=20)
        server.until(lambda: second in load.versions())
        mark = len(load.answers)
        server.until(lambda: len(load.answers) > mark + 600)
        share = sum(v == second for _, _, v in load.answers[mark:]) / len(load.answers[mark:])
        assert 0.12 < share < 0.28
        assert server.get(f"/v2/models/digits/versions/{second}/ready")[0] == 200
        assert server.metric("trimtab_server_requests_total", version=second) > 0
        place.say("digits", "rolled_back", second)
        server.until(lambda: load.versions() == {first})
        assert server.get(f"/v2/models/digits/versions/{second}/ready")[0] == 404
        server.until(lambda: server.metric("trimtab_server_requests_total", version=second) == 0)
    assert load.failures == []
    assert {status for _, status, _ in load.answers} == {200}
    shares = set(_logged(place, second)["_share"].to_pylist())
    assert shares == {20}
    assert set(_logged(place, first)["_share"].to_pylist()) == {100, 80}


def _logged(place: Place, version: str) -> Any:
    return predictions.read_files(place.store, predictions.list_files(place.store, "digits", version))


def _tamper(place: Place, version: str, name: str, body: bytes) -> None:
    place.store.put(f"models/digits/versions/{version}/{name}", body)


def test_a_changed_file_is_refused_by_name_and_the_old_version_goes_on(place: Place) -> None:
    first = place.serve("digits", "digits", 0)
    with running(place, "digits") as server, Raw(server.url) as raw:
        for seed, name in enumerate(["model.onnx", "schema.json", "expected.json", "manifest.json"], 1):
            changed = place.publish("digits", "digits", seed)
            body = bytearray(place.store.get(f"models/digits/versions/{changed}/{name}"))
            body[len(body) // 2] ^= 1
            _tamper(place, changed, name, bytes(body))
            place.say("digits", "promoted", changed)
            server.until(lambda changed=changed: rollouts.refusals(place.store, "digits", changed))
            (refusal,) = rollouts.refusals(place.store, "digits", changed)
            assert name in refusal.reason
            assert raw.ask(PREDICT)[1]["x-model-version"] == first
            assert server.get("/v2/health/ready")[0] == 200
        # Refused again after another promotion: that is another refusal.
        place.say("digits", "promoted", changed)
        server.until(lambda: len(rollouts.refusals(place.store, "digits", changed)) == 2)


def test_a_version_that_computes_something_else_than_recorded_never_serves(place: Place) -> None:
    version = place.publish("digits", "digits", 0, wrong=True)
    place.say("digits", "promoted", version)
    with running(place, "digits", wait=False) as server:
        server.until(lambda: rollouts.refusals(place.store, "digits", version))
        server.until(lambda: "was refused" in server.get("/v2/health/ready")[1]["error"])
        assert "something else than recorded" in server.get("/v2/health/ready")[1]["error"]
        # A refusal is not for ever: the next good version serves.
        good = place.serve("digits", "digits", 1)
        server.until_ready()
        assert server.get("/v2/models/digits")[1]["versions"] == [good]


def test_an_untrusted_signature_is_refused_until_its_key_is_trusted(place: Place, tmp_path: Path) -> None:
    stranger = signing.load_or_create_key(tmp_path / "stranger.pem")
    folder = tmp_path / "bundle"
    write_bundle(folder, "digits")
    version = bundle.publish_bundle(
        place.store, "digits", folder, stranger, metrics={}, threshold=None, lineage={}, project={}
    )
    place.say("digits", "promoted", version)
    with running(place, "digits", wait=False) as server:
        server.until(lambda: "not trusted" in server.get("/v2/health/ready")[1].get("error", ""))
        signing.trust(stranger.public_key(), place.settings.trusted_keys)
        place.say("digits", "promoted", version)
        server.until_ready()


def test_a_bundle_of_another_schema_or_without_its_files_does_not_load(place: Place, tmp_path: Path) -> None:
    cases = {
        "inputs": ("schema.json", "numbers", "inputs are not the schema's"),
        "graph": ("model.onnx", None, "cannot load the graph"),
        "expected": ("expected.json", None, "expected.json cannot be read"),
        "schema": ("schema.json", None, "schema.json cannot be read"),
    }
    for case, (name, other, message) in cases.items():
        folder, donor = tmp_path / case, tmp_path / f"{case}-donor"
        write_bundle(folder, "digits")
        if other:
            write_bundle(donor, other)
            (folder / name).write_bytes((donor / name).read_bytes())
        else:
            (folder / name).write_bytes(b"{}")
        version = bundle.publish_bundle(
            place.store, case, folder, place.key, metrics={}, threshold=None, lineage={}, project={}
        )
        fetched = tmp_path / f"{case}-fetched"
        trusted = signing.trusted_keys(place.settings.trusted_keys)
        manifest = bundle.fetch_bundle(place.store, case, version, fetched, trusted)
        with pytest.raises(ModelError, match=message):
            load_model(fetched, manifest)
