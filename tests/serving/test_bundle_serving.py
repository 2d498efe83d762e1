"""`trimtab serve --bundle`: one version and no other, from a folder or from its place in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.fixtures import S3
from tests.serving.bundles import Place, Running, running, starting

from trimtab.core import rollouts
from trimtab.core.errors import ProjectError
from trimtab.serving.fixed import locate

ROW = {"instances": [{"a": 1, "b": 2, "c": 3, "d": 4}]}


def mounted(place: Place, version: str, to: Path, model: str = "demand") -> Path:
    """The files under a version's prefix, read-only, as KServe's storage-initializer leaves them."""
    place.store.download_dir(f"models/{model}/versions/{version}", to)
    to.chmod(0o555)
    return to


@contextlib.contextmanager
def ended(place: Place, bundle: str) -> Iterator[Running]:
    with starting(place, "demand", "--bundle", bundle) as server:
        server.process.wait(120)
        yield server


def test_it_serves_its_version_whatever_the_ledger_says(place: Place, tmp_path: Path) -> None:
    first, second = place.publish("demand", "numbers", 1), place.publish("demand", "numbers", 2)
    place.say("demand", "promoted", second)
    place.say("demand", "canaried", first, 50)
    with running(place, "demand", "--bundle", str(mounted(place, first, tmp_path / "models"))) as server:
        assert server.get("/v1/models/demand")[1]["versions"] == [first]
        assert server.get(f"/v2/models/demand/versions/{first}/ready")[0] == 200
        assert server.get(f"/v2/models/demand/versions/{second}/ready")[0] == 404
        place.say("demand", "promoted", second)
        assert server.get("/v1/models/demand")[1]["versions"] == [first]
        assert f"serving demand {first}" in server.log.read_text()


def test_two_workers_serve_the_bundle_too(place: Place, tmp_path: Path) -> None:
    version = place.publish("demand", "numbers", 1)
    with running(place, "demand", "--workers", "2", "--bundle", str(mounted(place, version, tmp_path / "m"))) as server:
        assert server.get("/v1/models/demand")[1]["versions"] == [version]


def test_from_the_store_itself(s3: S3, tmp_path: Path) -> None:
    url = s3.fresh()
    place = Place(tmp_path, s3.environ(url))
    version = place.publish("demand", "numbers", 1)
    with running(place, "demand", "--bundle", f"{url}/models/demand/versions/{version}") as server:
        assert server.get("/v1/models/demand")[1]["versions"] == [version]


def test_what_was_changed_is_refused_in_writing_and_ends_the_server(place: Place, tmp_path: Path) -> None:
    version = place.publish("demand", "numbers", 1)
    folder = mounted(place, version, tmp_path / "models")
    (folder / "model.onnx").chmod(0o644)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"x")
    for _ in range(2):
        with ended(place, str(folder)) as server:
            assert server.process.returncode == 1
            assert "model.onnx was changed after it was signed" in server.log.read_text()
            assert "Traceback" not in server.log.read_text()
    # One host refuses it once, however often its container starts again.
    (refusal,) = rollouts.refusals(place.store, "demand", version)
    assert "model.onnx" in refusal.reason


def test_a_key_that_is_not_trusted_is_refused(place: Place, tmp_path: Path) -> None:
    version = place.publish("demand", "numbers", 1)
    folder = mounted(place, version, tmp_path / "models")
    place.environ["TRIMTAB_TRUSTED_KEYS"] = str(tmp_path / "nobody")
    with ended(place, str(folder)) as server:
        assert server.process.returncode == 1
        assert "not trusted here" in server.log.read_text()


def test_a_folder_without_a_bundle_and_another_model_are_the_users_mistake(place: Place, tmp_path: Path) -> None:
    with ended(place, str(tmp_path / "nothing")) as server:
        assert server.process.returncode == 2
        assert "the folder holds no bundle" in server.log.read_text()
    version = place.publish("other", "numbers", 1)
    with ended(place, str(mounted(place, version, tmp_path / "models", "other"))) as server:
        assert server.process.returncode == 2
        assert "the bundle is of another model" in server.log.read_text()


@pytest.mark.parametrize("text", ["s3://bucket/v1-0a1b2c3d", "https://x/models/m/versions/v1-0a1b2c3d"])
def test_what_is_no_place_of_a_bundle_is_said_so(text: str) -> None:
    with pytest.raises(ProjectError, match="no place of a bundle"):
        locate(text)
