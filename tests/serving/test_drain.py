"""SIGTERM under load: each request that was sent is answered whole, and the last answer says that it is the last."""

from __future__ import annotations

import threading

import pytest
from tests.serving.bundles import Place, running
from tests.serving.raw import Raw, post

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
