"""SIGTERM under load: each request that was sent is answered whole, and the last answer says that it is the last."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tests.serving.bundles import Place, Running, running
from tests.serving.raw import Raw, post
from tests.serving.test_binary import body, one

PATH = "/v1/models/digits:predict"
ROW = {"instances": [{"image": [[1.0] * 8] * 8, "image_id": "x"}]}


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_sigterm_under_load_breaks_no_answer(place: Place, options: tuple[str, ...]) -> None:
    place.serve("digits", "digits")
    request = post(PATH, ROW)
    answers: list[int] = []
    partings: list[str] = []
    broken: list[str] = []
    going = threading.Barrier(9)

    def ask(url: str) -> None:
        with Raw(url) as raw:
            first = True
            while True:
                try:
                    raw.send(request)
                    line = raw.file.readline()
                except OSError as error:
                    partings.append(f"{type(error).__name__} between two requests")
                    return
                if not line:
                    partings.append("closed between two requests")
                    return
                head = {}
                while (field := raw.file.readline().strip()) != b"":
                    name, _, value = field.partition(b":")
                    head[name.lower()] = value.strip()
                body = raw.file.read(int(head[b"content-length"]))
                if len(body) != int(head[b"content-length"]) or b"predictions" not in body:
                    broken.append(repr(line + body))
                answers.append(int(line.split()[1]))
                if head.get(b"connection") == b"close":
                    partings.append("told")
                    assert raw.file.read() == b""
                    return
                if first:
                    first = False
                    going.wait(120)

    with running(place, "digits", *options) as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        going.wait(120)
        server.process.terminate()
        for thread in threads:
            thread.join(120)
        assert server.process.wait(120) == 0
    assert broken == []
    assert set(answers) == {200}
    assert len(partings) == 8
    assert "told" in partings


def refuses(server: Running) -> bool:
    """Whether it takes no connections any more."""
    try:
        Raw(server.url).close()
    except ConnectionError:
        return True
    return False


def test_sigterm_amid_a_body_lets_it_come(place: Place) -> None:
    place.serve("demand", "numbers")
    rows = np.ones((1000, 4), np.float32).tobytes()
    sent, fields = body({**one(rows, [1000, 4], "input"), "parameters": {"binary_data_output": True}}, rows)
    whole = post("/v2/models/demand/infer", sent, None, **fields)
    with running(place, "demand") as server, Raw(server.url) as raw, Raw(server.url) as gone:
        assert raw.ask(whole)[0] == 200
        for client in (raw, gone):
            client.send(whole[:8000])
        server.process.terminate()
        server.until(lambda: refuses(server))
        gone.close()
        raw.send(whole[8000:])
        status, headers, _ = raw.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert raw.file.read() == b""
        assert server.process.wait(120) == 0
        assert "Traceback" not in server.log.read_text()
