"""More than a thousand malformed requests: each is refused in a sentence with field, expected and got, and no more.

Never a 5xx, never a reset: the connection answers a good request right after, or ends in order where the bytes were
no HTTP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.bundles import Running
from tests.serving.malformed import feedback, headers, v1, v2, v2_binary
from tests.serving.malformed.case import Case
from tests.serving.raw import Raw, post

GOOD = {name: post(f"/v1/models/{name}:predict", body) for name, body in v1.GOOD.items()}
SERVERS = ("digits", "demand", "churn")
Answer = tuple[int, dict[str, str], Any]


class Asker:
    """Sends cases over one connection, with a good request after each; opens another where one had to end."""

    def __init__(self, server: Running, good: bytes) -> None:
        self.url, self.good = server.url, good
        self.raw = Raw(server.url)
        self.wrong: list[str] = []

    def ask(self, case: Case) -> None:
        try:
            with contextlib.suppress(BrokenPipeError):  # answered before all was sent
                self.raw.send(case.request)
            answer = self.raw.answer(head=case.request.startswith(b"HEAD "))
            fault = self.judge(case, answer) or self.after(case, answer)
        except (OSError, AssertionError) as error:
            fault = f"{type(error).__name__}: {error}"
            self.again()
        if fault:
            self.wrong.append(f"{case.name}: {fault}")

    def again(self) -> None:
        """Another connection in place of this one."""
        self.raw.close()
        self.raw = Raw(self.url)

    def judge(self, case: Case, answer: Answer) -> str:
        """What is not right with an answer."""
        status, fields, body = answer
        shown = str(body)[:400]
        if status != case.status:
            return f"status {status}, not {case.status}: {shown}"
        if case.request.startswith(b"HEAD "):
            return ""
        if fields.get("content-type") != "application/json" or not isinstance(body, dict):
            return f"no JSON: {shown}"
        if case.says not in body.get("error", ""):
            return f"does not say {case.says!r}: {shown}"
        if not {"expected", "got", "object"} <= body.keys():
            return f"lacks field, expected or got: {shown}"
        if case.field and body["object"] != case.field:
            return f"names {body['object']!r}, not {case.field!r}: {shown}"
        if status == 405 and not fields.get("allow"):
            return "405 without Allow"
        return ""

    def after(self, case: Case, answer: Answer) -> str:
        """What is not right with the connection afterwards."""
        if case.closes:
            rest = self.raw.file.read()  # a reset raises
            self.again()
            return "" if rest == b"" else f"more than one answer: {rest[:200]!r}"
        status, _, body = self.raw.ask(self.good)
        return "" if status == 200 else f"then a good request got {status}: {str(body)[:200]}"


def send_all(server: Running, model: str, cases: Iterable[Case]) -> int:
    """All cases of one model; fails with every one that was not answered as it should be."""
    asker = Asker(server, GOOD[model])
    n = 0
    for case in cases:
        asker.ask(case)
        n += 1
    asker.raw.close()
    if asker.wrong:
        pytest.fail(f"{len(asker.wrong)} of {n}:\n" + "\n".join(asker.wrong), pytrace=False)
    assert server.metric("trimtab_server_requests_total", code="500") == 0
    assert "Traceback" not in server.log.read_text()
    assert peak_mb(server) < 300
    return n


def peak_mb(server: Running) -> float:
    """The most memory that the server's process ever had resident, MB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def of(model: str, *cases: Iterator[Case]) -> Iterator[Case]:
    """Those cases that go to a model's server."""
    for group in cases:
        for case in group:
            line = case.request.split(b"\r\n", 1)[0].decode("latin-1")
            if f"/models/{model}" in line:
                yield case


@pytest.mark.parametrize("model", SERVERS)
def test_malformed_predictions_are_refused_in_a_sentence(model: str, request: pytest.FixtureRequest) -> None:
    server: Running = request.getfixturevalue(model)
    one = (v1.digits(), v1.demand(), v1.churn())
    assert send_all(server, model, of(model, *one, v2.requests(), v2.shapes(), v2_binary.cases())) > 90


def test_malformed_feedback_is_refused_in_a_sentence(digits: Running, token: str) -> None:
    before = digits.metric("trimtab_labels_total", outcome="accepted")
    assert send_all(digits, "digits", feedback.cases(token)) > 150
    assert digits.metric("trimtab_labels_total", outcome="accepted") == before


def test_malformed_paths_headers_and_framing_are_refused_in_a_sentence(demand: Running) -> None:
    assert send_all(demand, "demand", headers.cases()) > 100


def test_the_good_requests_of_the_corpus_are_good(digits: Running, demand: Running, churn: Running, token: str) -> None:
    for server, good in zip((digits, demand, churn), GOOD.values(), strict=True):
        with Raw(server.url) as raw:
            assert raw.ask(good)[0] == 200
    with Raw(demand.url) as raw:
        assert raw.ask(v2_binary.GOOD)[0] == 200
        assert raw.ask(post(v2.DEMAND, v2.tensor()))[0] == 200
    with Raw(digits.url) as raw:
        assert raw.ask(post("/feedback", feedback.GOOD, Authorization=f"Bearer {token}"))[0] == 202
