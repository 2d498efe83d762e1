"""The serving benchmark measures what it says: its load generator, its ratios, and one tiny run of the real thing."""

from __future__ import annotations

import json
import os
import select
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import serving
from benchmarks.serving_bench import load, measure, models, processes, requests

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
BAD = b"HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\nno!"


class Scripted(socketserver.ThreadingTCPServer):
    """Answers each request with what the path asks for, in pieces where it says so; counts what it read."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[bytes] = []


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Scripted)
        while line := self.rfile.readline():
            length = 0
            while (head := self.rfile.readline()) != b"\r\n":
                if head.lower().startswith(b"content-length:"):
                    length = int(head.split(b":")[1])
            self.server.seen.append(self.rfile.read(length))
            path = line.split()[1]
            answer = {b"/chunked": CHUNKED, b"/bad": BAD}.get(path, GOOD)
            if path == b"/pieces":
                for i in range(len(answer)):
                    self.wfile.write(answer[i : i + 1])
                    self.wfile.flush()
            elif path == b"/gone":
                return
            else:
                self.wfile.write(answer)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sent(server: Scripted, *paths: str, **options: Any) -> dict[str, Any]:
    port = int(server.server_address[1])
    texts = [requests.post(path, f"body {i}".encode(), {}) for i, path in enumerate(paths)]
    return load.Generator(
        load.Load(port, texts, **{"connections": 3, "seconds": 0.3, "warm": 0.0, **options})
    ).measure()


@pytest.mark.parametrize("awake", [False, True])
def test_every_answer_counts_once(scripted: Scripted, awake: bool) -> None:
    facts = sent(scripted, "/plain", "/chunked", "/pieces", awake=awake)
    assert facts["statuses"] == {"200": len(scripted.seen)}
    assert set(scripted.seen) == {b"body 0", b"body 1", b"body 2"}
    # Answers after the end are no part of the rate, at most one a connection.
    assert 0 < facts["requests"] <= len(scripted.seen) <= facts["requests"] + 3
    assert facts["rps"] == pytest.approx(facts["requests"] / 0.3, abs=0.06)
    assert 0 < facts["p50_ms"] <= facts["p99_ms"] <= facts["max_ms"]
    assert (facts["looked_in_vain"] > 0) == (awake and len(os.sched_getaffinity(0)) > 1)
    assert facts["client_cpu_s"] < 0.3  # looking in vain is no work


def test_who_stays_awake_gives_up_like_who_sleeps() -> None:
    with select.epoll() as poll:
        assert load.awaited(poll, awake=False, limit=0.01) == ([], 0)
        ready, vain = load.awaited(poll, awake=True, limit=0.01)
    assert ready == []
    assert vain > 0


def test_refusals_and_lost_connections_are_told(scripted: Scripted) -> None:
    facts = sent(scripted, "/plain", "/bad", "/gone", connections=1)
    assert facts["statuses"]["500"] > 0
    assert facts["statuses"]["ConnectionResetError"] > 0
    assert facts["first_error"].endswith("no!")
    assert sum(facts["statuses"].values()) == len(scripted.seen)


def test_an_open_loop_sends_its_rate_whatever_comes_back(scripted: Scripted) -> None:
    facts = sent(scripted, "/plain", rate=200, seconds=0.5)
    assert facts["requests"] == len(scripted.seen) == 100


def test_requests_hold_the_same_rows_in_every_protocol() -> None:
    x = requests.rows(1, 3, (4,))[0]
    v1, v2, binary = (made([x], "m", {"A": "b"})[0] for made in (requests.v1, requests.v2, requests.v2_binary))
    bodies = [one.encode("latin-1").partition(b"\r\n\r\n")[2] for one in (v1, v2, binary)]
    assert all("A: b\r\n" in one for one in (v1, v2, binary))
    np.testing.assert_array_equal(np.array(json.loads(bodies[0])["instances"], np.float32), x)
    tensor = json.loads(bodies[1])["inputs"][0]
    np.testing.assert_array_equal(np.array(tensor["data"], np.float32).reshape(tensor["shape"]), x)
    head = int(binary.partition("Inference-Header-Content-Length: ")[2].partition("\r")[0])
    assert json.loads(bodies[2][:head])["inputs"][0]["parameters"]["binary_data_size"] == len(bodies[2]) - head
    np.testing.assert_array_equal(np.frombuffer(bodies[2][head:], np.float32).reshape(3, 4), x)


def test_ratios_compare_repeats_of_the_same_turn() -> None:
    ours, theirs = [{"rps": 10.0}, {"rps": 40.0}, {"rps": 90.0}], [{"rps": 5.0}, {"rps": 10.0}, {"rps": 30.0}]
    assert measure.ratios(ours, theirs, "rps") == {"median": 3.0, "low": 2.0, "high": 4.0, "repeats": 3}


def test_cpu_and_memory_are_those_of_the_whole_tree() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    child = subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        assert len(processes.tree(child.pid)) == 2
        used = processes.use(child.pid)
        assert used.cpu >= 0.28  # /proc tells ticks of 10 ms, user's and system's each rounded down
        assert used.cpu > processes.cpu(child.pid)
        assert used.rss_mb > processes.rss_mb(child.pid) > 1
        assert used.shipper_cpu == 0
    finally:
        child.communicate(b"\n")


def test_figures_without_a_part_are_none_and_never_invented() -> None:
    promised = {
        "v1_cpu_over_bare", "v2_json_cpu_over_bare", "v2_binary_cpu_over_bare", "rps_over_kserve", "rps_over_mlserver",
        "rps_over_bentoml", "rps_over_litserve", "p99_over_p50_at_500rps", "log_cost_percent",
        "adaptive_batching_gain", "start_over_kserve", "rss_mb",
    }  # fmt: skip
    nothing = serving.figures({})
    assert promised <= set(nothing)
    assert set(nothing.values()) == {None}
    assert all("not measured" in line for line in serving.table({}, nothing)[2:])
    found = {"cpu": {"rps_over": {"kserve": {"median": 6.5}}, "rss_mb": 111.0}}
    shown = serving.figures(found)
    assert (shown["rps_over_kserve"], shown["rss_mb"], shown["rps_over_bentoml"]) == (6.5, 111.0, None)
    assert not serving.holds(4.99, serving.WANTED["rps_over_kserve"])
    assert serving.holds(5.0, serving.WANTED["rps_over_kserve"])


def test_the_models_are_what_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "mlp.onnx").write_bytes(models.mlp())
    session = models.session(tmp_path / "mlp.onnx")
    out = session.run(None, {"input": requests.rows(1, 5, (64,))[0]})[0]
    assert out.shape == (5, 10)
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-5)
    assert 44e6 < len(models.resnet18()) < 46e6  # 11.2 million float32 weights


@pytest.mark.campaign
def test_a_tiny_run_measures_the_real_servers(tmp_path: Path) -> None:
    out = tmp_path / "serving.json"
    command = [sys.executable, "-m", "benchmarks.serving", "--only", "cpu,batch", "--peers", "", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--seconds", "0.5", "--out", str(out)], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(out.read_text())
    shown = run["figures"]
    measured = [*(f"{p}_cpu_over_bare" for p in serving.PROTOCOLS), "rss_mb", "batch_1000_v1_over_raw"]
    assert all(shown[name] > 0 for name in measured), shown
    assert shown["rps_over_kserve"] is None
    cpu = run["details"]["cpu"]
    assert cpu["shipper"]["whole"], "every answered row reached the store"
    assert cpu["shipper"]["rows"] > 0
    assert cpu["shipper"]["dropped"] == 0
    assert out.with_suffix(".png").stat().st_size > 10_000
