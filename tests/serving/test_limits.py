"""The project's `serving:` block: rows, body and page of what is served; the command line's body limit overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.bundles import Place, running, write_bundle
from tests.serving.raw import Raw, chunked, post

from trimtab.core import blocks, bundle, signing
from trimtab.core.errors import ModelError
from trimtab.serving.limits import MB, Limits, read_limits
from trimtab.serving.model import load_model

V1, V2 = "/v1/models/demand:predict", "/v2/models/demand/infer"
HTML = "text/html"


def rows(n: int) -> dict[str, object]:
    return {"instances": [[1.0, 2.0, 3.0, 4.0]] * n}


def matrix(n: int) -> dict[str, object]:
    return {"inputs": [{"name": "input", "shape": [n, 4], "datatype": "FP32", "data": [1.0] * (4 * n)}]}


def test_rows_body_and_page_follow_the_project_of_what_is_served(place: Place) -> None:
    serving = {"max_rows": 3, "max_body_mb": 0.002, "page": False}
    place.say("demand", "promoted", place.publish("demand", "numbers", 0, serving=serving))
    with running(place, "demand") as server, Raw(server.url) as raw:
        assert raw.ask(post(V1, rows(3)))[0] == 200
        assert raw.ask(post(V2, matrix(3)))[0] == 200
        for body in (post(V1, rows(4)), post(V2, matrix(4))):
            status, _, answer = raw.ask(body)
            assert (status, answer["expected"], answer["got"]) == (413, "at most 3 rows", "4 rows")
        for body in (post(V1, b" " * 2001), chunked(V1, [b" " * 500] * 5)):
            status, _, answer = raw.ask(body)
            assert (status, answer["expected"]) == (413, "at most 2000 bytes")
        assert server.get("/", HTML)[0] == 404
        assert server.get("/page.json")[0] == 404
        assert server.get("/") == (200, {"status": "alive"})
        # Another version's project, another limit, without a restart.
        second = place.publish("demand", "numbers", 1, serving={"max_rows": 4})
        place.say("demand", "promoted", second)
        server.until(lambda: raw.ask(post(V1, rows(1)))[1]["x-model-version"] == second)
        assert raw.ask(post(V1, rows(4)))[0] == 200
        assert raw.ask(post(V1, rows(5)))[0] == 413
        assert server.get("/", HTML)[0] == 200


def test_the_command_lines_body_limit_overrides_the_projects(place: Place) -> None:
    place.say("demand", "promoted", place.publish("demand", "numbers", 0, serving={"max_body_mb": 0.001}))
    with running(place, "demand", "--body-mib", "0.01") as server, Raw(server.url) as raw:
        assert raw.ask(post(V1, b" " * 9000 + b'{"instances": [[1, 2, 3, 4]]}'))[0] == 200
        assert raw.ask(post(V1, b" " * 10_486))[0] == 413


def test_each_of_two_versions_keeps_its_own_body_limit(place: Place) -> None:
    place.say("demand", "promoted", place.publish("demand", "numbers", 0, serving={"max_body_mb": 0.001}))
    large = place.publish("demand", "numbers", 1, serving={"max_body_mb": 0.004})
    place.say("demand", "canaried", large, percent=50)
    body = b" " * 2000 + b'{"instances": [[1, 2, 3, 4]]}'
    with running(place, "demand") as server, Raw(server.url) as raw:
        server.until(lambda: server.get(f"/v2/models/demand/versions/{large}/ready")[0] == 200)
        answers = [raw.ask(post(V1, body, X_Trimtab_Key=f"k{i}")) for i in range(40)]
        seen = {(status, headers["x-model-version"] == large) for status, headers, _ in answers}
        assert seen == {(200, True), (413, False)}


def test_defaults_are_the_blocks_own() -> None:
    block = blocks.Serving().model_dump(mode="json")
    projects: list[dict[str, object]] = [{}, {"serving": {}}, {"serving": block}]
    for project in projects:
        assert read_limits(project, "v1") == Limits()
    told = {name: value * 2 for name, value in block.items() if isinstance(value, (int, float)) and value is not True}
    limits = read_limits({"serving": {**told, "page": False, "auth": "key"}}, "v1")
    assert limits == Limits(2000, 16 * MB, False, 2000, 60_000, 64, 10, "key")


@pytest.mark.parametrize(
    "block",
    [
        *({"max_rows": bad} for bad in (True, 0, 1e400)),
        *({"max_body_mb": bad} for bad in (float("nan"), float("inf"))),
        {"latency_ms": "1"},
        ["page"],
        "page",
    ],
)
def test_a_block_that_could_stop_a_server_is_refused(block: object) -> None:
    with pytest.raises(ModelError, match="serving"):
        read_limits({"serving": block}, "v1")


def test_a_serving_block_that_cannot_be_read_refuses_the_version(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, "digits")
    project = {"serving": {"max_rows": "many"}}
    version = bundle.publish_bundle(
        place.store, "digits", folder, place.key, metrics={}, threshold=None, lineage={}, project=project
    )
    trusted = signing.trusted_keys(place.settings.trusted_keys)
    manifest = bundle.fetch_bundle(place.store, "digits", version, tmp_path / "fetched", trusted)
    with pytest.raises(ModelError, match="max_rows"):
        load_model(tmp_path / "fetched", manifest)
