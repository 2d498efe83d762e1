"""The alarm: Alertmanager's body, once a window while it is drift, until the hook has answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.monitoring.stream import MODEL, Stream, draw

from trimtab.core.records import read_record
from trimtab.core.store import Store
from trimtab.monitoring import windows
from trimtab.monitoring.alarm import Alarm, Answer, http_sender
from trimtab.monitoring.hook import Alerts
from trimtab.monitoring.watch import Watch

URL = "http://hook.test"


class Hook:
    """A hook's answers, one after the other; the last one again and again."""

    def __init__(self, *answers: Answer | OSError) -> None:
        self.answers = list(answers)
        self.posted: list[dict[str, Any]] = []

    def __call__(self, message: dict[str, Any]) -> Answer:
        self.posted.append(message)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.fixture
def stream(store: Store, tmp_path: Path) -> Stream:
    return Stream(store, tmp_path)


def drifting(stream: Stream, hook: Hook) -> tuple[Watch, str, np.random.Generator]:
    version, rng = stream.publish(), np.random.default_rng(0)
    alarm = Alarm(stream.store, MODEL, URL, hook)
    watch = Watch(stream.store, MODEL, alarm=alarm, clock=lambda: stream.now)
    for flip in (0.0, 0.3):
        stream.label(stream.answer(version, draw(rng, 100, flip=flip)))
        watch.step()
    return watch, version, rng


def test_it_is_posted_once_a_window_and_the_answer_kept(stream: Stream) -> None:
    hook = Hook((202, {"campaign": 1}), (202, {"reason": "campaign 1 is open"}))
    watch, version, rng = drifting(stream, hook)
    watch.step()
    assert len(hook.posted) == 1
    key = f"{windows.folder(MODEL, version, 2)}alarm-00000001.json"
    assert read_record(stream.store, key, "alarm")["campaign"] == 1
    stream.answer(version, draw(rng, 100, flip=0.3))
    watch.step()
    assert len(hook.posted) == 2
    again = read_record(stream.store, f"{windows.folder(MODEL, version, 3)}alarm-00000001.json", "alarm")
    assert again["reason"] == "campaign 1 is open"
    assert "campaign" not in again


def test_the_body_is_alertmanagers(stream: Stream) -> None:
    hook = Hook((202, {"campaign": 1}))
    _, version, _ = drifting(stream, hook)
    (body,) = hook.posted
    assert body["version"] == "4"
    read = Alerts.model_validate(body)
    (alert,) = read.alerts
    assert alert.labels == {"alertname": "TrimtabDrift", "model": MODEL, "version": version, "severity": "warning"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url", "dashboard_url", "report_url"}
    assert alert.annotations["report_url"].startswith(f"{URL}/reports/")
    assert body["alerts"][0]["startsAt"] < body["alerts"][0]["endsAt"] or body["alerts"][0]["endsAt"].startswith("0001")


@pytest.mark.parametrize(
    "trouble", [ConnectionRefusedError("down"), (401, {"error": "no token"}), (503, {"error": "store"})]
)
def test_it_is_posted_again_until_it_is_answered(stream: Stream, trouble: Answer | OSError) -> None:
    hook = Hook(trouble, (202, {"campaign": 3}))
    watch, version, _ = drifting(stream, hook)
    assert len(hook.posted) == 1
    watch.step()
    assert len(hook.posted) == 1  # not at once
    stream.now += timedelta(seconds=2)
    watch.step()
    assert len(hook.posted) == 2
    assert windows.newest(list(stream.store.list(windows.folder(MODEL, version, 2))), "alarm")


def test_a_restarted_watch_does_not_post_an_answered_window_again(stream: Stream) -> None:
    drifting(stream, Hook((202, {"campaign": 1})))
    hook = Hook((202, {"reason": "open"}))
    Watch(stream.store, MODEL, alarm=Alarm(stream.store, MODEL, URL, hook), clock=lambda: stream.now).step()
    assert hook.posted == []


def test_an_alarm_that_was_lost_with_the_process_is_posted_by_the_next(stream: Stream) -> None:
    drifting(stream, Hook(ConnectionRefusedError("down")))
    hook = Hook((202, {"campaign": 1}))
    Watch(stream.store, MODEL, alarm=Alarm(stream.store, MODEL, URL, hook), clock=lambda: stream.now).step()
    assert len(hook.posted) == 1


class _Handler(BaseHTTPRequestHandler):
    seen: list[tuple[str, str, dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers["Authorization"], body))
        good = self.headers["Authorization"] == "Bearer right"
        self.send_response(202 if good else 401)
        self.end_headers()
        self.wfile.write(b'{"campaign": 7}' if good else b"<p>no</p>")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    _Handler.seen = []
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_sender_brings_the_token_and_reads_any_answer(server: HTTPServer) -> None:
    url = f"http://127.0.0.1:{server.server_port}/"
    assert http_sender(url, "right")({"a": 1}) == (202, {"campaign": 7})
    assert http_sender(url, "wrong")({"a": 1}) == (401, {"reason": "<p>no</p>"})
    assert _Handler.seen[0] == ("/alerts", "Bearer right", {"a": 1})


def test_nobody_there_is_an_oserror() -> None:
    with pytest.raises(OSError, match="refused"):
        http_sender("http://127.0.0.1:9", "t")({})
