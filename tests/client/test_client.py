"""The client against a real server, and against one that fails now and then."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving.bundles import Place, Running, free_ports, running

from trimtab.client import AsyncClient, Client, calls
from trimtab.core import labels, predictions
from trimtab.core.errors import ProjectError, RequestError
from trimtab.core.ids import uuid7

IMAGES = np.random.default_rng(0).uniform(0, 16, (3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("client"))
    place.serve("digits", "digits")
    return place


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Running]:
    with running(place, "digits") as server:
        yield server


@pytest.fixture
def client(place: Place, server: Running) -> Iterator[Client]:
    with Client(server.url, place.settings.token_file.read_text().strip()) as client:
        yield client


def test_predict_and_infer_agree(client: Client) -> None:
    prediction = client.predict("digits", list(IMAGES), probabilities=True)
    inference = client.infer("digits", {"image": IMAGES})
    assert inference.outputs["label"] == prediction.predictions
    assert inference.shapes["probabilities"] == [3, 10]
    assert inference.version == prediction.version
    assert len(prediction.ids) == len(inference.ids) == 3
    assert prediction.probabilities is not None
    np.testing.assert_allclose(np.ravel(prediction.probabilities), inference.outputs["probabilities"], rtol=1e-5)
    named = client.infer("digits", {"image": IMAGES}, outputs=["label"], request_id="r", version=prediction.version)
    assert (list(named.outputs), named.id) == (["label"], "r")


def test_labels_join_what_was_predicted(client: Client, place: Place, server: Running) -> None:
    rows = [{"image": image, "image_id": f"k{i}"} for i, image in enumerate(IMAGES)]
    first = f"{uuid7()}-0"
    prediction = client.predict("digits", rows, first)
    assert prediction.ids[0] == first
    sent = [{"id": prediction.ids[0], "value": 1}, {"key": "k1", "value": 2, "labelled_at": datetime.now(UTC)}]
    assert client.feedback("digits", sent) == 2
    server.until(lambda: list(labels.list_files(place.store, "digits")))

    def truths() -> list[str | None]:
        table = predictions.read_files(place.store, predictions.list_files(place.store, "digits", prediction.version))
        told = labels.read_files(place.store, labels.list_files(place.store, "digits"))
        joined = labels.join(table, told, "image_id")
        found = dict(zip(joined["_id"].to_pylist(), joined["_truth"].to_pylist(), strict=True))
        return [found.get(one) for one in prediction.ids]

    server.until(lambda: truths() == ["1", "2", None])


def test_any_number_of_labels_is_taken(client: Client) -> None:
    assert client.feedback("digits", [{"key": f"n{i}", "value": i % 10} for i in range(2500)]) == 2500
    assert client.feedback("digits", []) == 0


def test_refusals_are_errors_with_their_sentence(client: Client, server: Running) -> None:
    with pytest.raises(RequestError, match="expected an array of shape") as caught:
        client.predict("digits", [[1, 2]])
    assert caught.value.status == 400
    with pytest.raises(RequestError, match="'other' is not served here"):
        client.predict("other", [1])
    with pytest.raises(RequestError, match="prediction id is malformed"):
        client.predict("digits", list(IMAGES), "7")
    with pytest.raises(RequestError, match=r"labels\[0\]"):
        client.feedback("digits", [{"key": "k", "value": 11}])
    with pytest.raises(RequestError, match="bearer token") as caught, Client(server.url) as stranger:
        stranger.feedback("digits", [{"key": "k", "value": 1}])
    assert caught.value.status == 401


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"rows": -1}, {"connections": 0}])
def test_a_client_that_could_send_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ProjectError, match="are 1 at least"):
        Client("http://127.0.0.1:1", **wrong)  # type: ignore[arg-type]


def test_ready_tells_and_never_raises(client: Client) -> None:
    version = client.predict("digits", list(IMAGES)).version
    assert client.ready("digits")
    assert client.ready("digits", version)
    assert not client.ready("digits", "v9-00000000")
    assert not client.ready("other")
    assert not Client(f"http://127.0.0.1:{free_ports(1)[0]}", retries=0).ready("digits")


def test_nobody_there_is_said() -> None:
    with pytest.raises(RequestError, match="did not answer"):
        Client(f"http://127.0.0.1:{free_ports(1)[0]}", retries=1).predict("digits", [1])


class Flaky(BaseHTTPRequestHandler):
    """Fails as it is told, then answers."""

    protocol_version = "HTTP/1.1"
    script: list[str]
    seen: list[dict[str, Any]]
    rows: list[int]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(dict(self.headers))
        step = self.script.pop(0) if self.script else "200"
        if step == "drop":
            self.close_connection = True
            self.connection.close()
            return
        answers = ["1"] * len(asked["instances"])
        body = json.dumps({"predictions": answers} if step == "200" else {"error": "no"}).encode()
        self.rows.append(len(answers))
        self.send_response(int(step))
        self.send_header("content-length", str(len(body)))
        self.send_header("x-prediction-id", self.headers["x-prediction-id"])
        self.send_header("x-model-version", "v1-00000000")
        if step == "429":
            self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[tuple[str, type[Flaky]]]:
    handler = type("Handler", (Flaky,), {"script": [], "seen": [], "rows": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("step", ["drop", "503", "502", "429"])
def test_what_may_pass_is_tried_again_under_the_same_id(flaky: tuple[str, type[Flaky]], step: str) -> None:
    url, handler = flaky
    handler.script.extend([step, step])
    with Client(url) as client:
        assert client.predict("m", [1]).predictions == ["1"]
    assert len(handler.seen) == 3
    assert len({headers["x-prediction-id"] for headers in handler.seen}) == 1


@pytest.mark.parametrize(("step", "tries"), [("400", 1), ("401", 1), ("413", 1), ("500", 1), ("503", 3)])
def test_what_stays_is_an_error(flaky: tuple[str, type[Flaky]], step: str, tries: int) -> None:
    url, handler = flaky
    handler.script.extend([step] * 9)
    with Client(url, retries=2) as client, pytest.raises(RequestError) as caught:
        client.predict("m", [1])
    assert caught.value.status == int(step)
    assert len(handler.seen) == tries


def test_a_large_call_goes_in_parts_under_one_key(flaky: tuple[str, type[Flaky]]) -> None:
    url, handler = flaky
    with Client(url, "secret", rows=4) as client:
        found = client.predict("m", [[n] for n in range(10)])
    assert handler.rows == [4, 4, 2]
    assert len(set(found.ids)) == len(found.predictions) == len(found.versions) == 10
    assert len({headers["x-prediction-id"] for headers in handler.seen}) == 3
    assert {headers["x-trimtab-key"] for headers in handler.seen} == {found.ids[0]}
    assert {headers["authorization"] for headers in handler.seen} == {"Bearer secret"}
    assert {headers["x-trimtab-deadline-ms"] for headers in handler.seen} == {"10000"}, "as long as it waits itself"


def test_a_server_in_trouble_is_not_asked_ever_more(flaky: tuple[str, type[Flaky]]) -> None:
    url, handler = flaky
    handler.script.extend(["429"] * 1000)
    with Client(url, retries=3, budget=0.5) as client:
        for _ in range(20):
            with pytest.raises(RequestError):
                client.predict("m", [1])
    # Every call is sent once; beside that 10 retries at the start, and half of one for each call.
    assert 20 + 10 <= len(handler.seen) <= 20 + 10 + 10


def test_the_async_client_does_the_same(flaky: tuple[str, type[Flaky]], place: Place, server: Running) -> None:
    url, handler = flaky
    handler.script.extend(["503", "drop"])

    async def talk() -> None:
        async with AsyncClient(url, rows=2) as client:
            assert (await client.predict("m", [1, 2, 3])).predictions == ["1", "1", "1"]
        token = place.settings.token_file.read_text().strip()
        async with AsyncClient(server.url, token) as client:
            many = await asyncio.gather(*(client.predict("digits", list(IMAGES)) for _ in range(20)))
            assert len({one for prediction in many for one in prediction.ids}) == 60
            inference = await client.infer("digits", {"image": IMAGES}, outputs=["label"])
            assert inference.outputs["label"] == many[0].predictions
            assert await client.feedback("digits", [{"id": inference.ids[0], "value": 3}]) == 1
            assert await client.ready("digits")
            assert not await client.ready("digits", "v9-00000000")
            with pytest.raises(RequestError, match="expected an array of shape"):
                await client.predict("digits", [[1, 2]])
        async with AsyncClient(f"http://127.0.0.1:{free_ports(1)[0]}", retries=0) as client:
            assert not await client.ready("digits")
            with pytest.raises(RequestError, match="did not answer"):
                await client.predict("digits", [1])

    asyncio.run(talk())
    assert len(handler.seen) == 4


def test_both_clients_have_the_same_typed_calls() -> None:
    for name in ("predict", "infer", "feedback", "ready"):
        assert inspect.signature(getattr(Client, name)) == inspect.signature(getattr(AsyncClient, name))
        assert getattr(Client, name).__doc__
    assert inspect.iscoroutinefunction(AsyncClient.predict)


def test_it_is_small() -> None:
    folder = Path(calls.__file__).parent
    lines = [line for path in folder.glob("*.py") for line in code_lines(path.read_text())]
    assert len(lines) < 200


def code_lines(source: str) -> list[str]:
    """The lines that hold code: neither empty, nor comment, nor docstring."""
    docs = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(source.splitlines(), 1)
    return [line for n, line in lines if line.strip() and n not in docs and not line.strip().startswith("#")]
