"""The servers that are compared, each started as its users start it, on free ports of loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.serving_bench import processes
from benchmarks.serving_bench.environments import NotInstalled, python_of
from benchmarks.serving_bench.requests import plain, rows, v1, v2

PEERS = Path(__file__).parents[1] / "serving_peers"
ENVIRON = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True"}
NAMES = ("kserve", "mlserver", "bentoml", "litserve")


def free_ports(n: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    bound = [socket.socket() for _ in range(n)]
    for one in bound:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in bound]
    for one in bound:
        one.close()
    return ports


@dataclass
class Server:
    """A running server.

    Attributes:
        name: of the row in the table.
        port: where it answers.
        process: its first process.
        requests: one row each, in its own words.
        first_answer: seconds from the process's start to its first good answer.
    """

    name: str
    port: int
    process: subprocess.Popen[bytes]
    requests: list[str]
    log: Path
    first_answer: float = 0.0
    metrics_port: int = 0

    def use(self) -> processes.Use:
        """CPU and memory of the whole process tree until now."""
        return processes.use(self.process.pid)

    def settle(self, limit: float = 15.0) -> None:
        """Wait until what a start leaves for later (imports of pages, say) is done and the server idles."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            before = self.use()
            time.sleep(0.5)
            fresh = self.use().since(before)
            if fresh.cpu + fresh.shipper_cpu < 0.03:
                return


def ask(port: int, request: str, timeout: float = 30.0) -> int:
    """Send one request on a connection of its own; its status.

    Raises:
        OSError: nobody listens, or the connection breaks.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as one:
        one.sendall(request.replace("\r\n", "\r\nConnection: close\r\n", 1).encode("latin-1"))
        data = b""
        while len(data) < 12:
            more = one.recv(65_536)
            if not more:
                raise ConnectionResetError("closed without an answer")
            data += more
    return int(data[9:12])


def expect(port: int, request: str) -> None:
    """Raise RuntimeError with the status where a request is not answered with 200."""
    status = ask(port, request)
    if status != 200:
        raise RuntimeError(f"answered with {status}")


@contextlib.contextmanager
def started(
    name: str,
    command: list[str],
    port: int,
    requests: list[str],
    folder: Path,
    environ: dict[str, str] | None = None,
    metrics_port: int = 0,
    limit: float = 180.0,
) -> Iterator[Server]:
    """Start a server, wait for its first good answer, and end its whole group at the end.

    Raises:
        RuntimeError: it ended or never answered; the message ends with its log's last lines.
    """
    log = folder / f"{name.replace(' ', '-')}-{port}.log"
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **ENVIRON, **(environ or {})}, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True, cwd=folder,
        )  # fmt: skip
    server = Server(name, port, process, requests, log, metrics_port=metrics_port)
    try:
        while not _answers(port, requests[0]):
            if process.poll() is not None or time.perf_counter() - began > limit:
                tail = log.read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{name} does not answer: {tail}")
            time.sleep(0.004)
        server.first_answer = time.perf_counter() - began
        yield server
    finally:
        _end(process)


def _answers(port: int, request: str) -> bool:
    try:
        return ask(port, request) == 200
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for whatever of its session is left."""
    below = processes.tree(process.pid)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
    for pid in below:
        with contextlib.suppress(OSError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
    process.wait()


def bare(model: Path, folder: Path, row: str = "") -> contextlib.AbstractContextManager[Server]:
    """The yardstick; `row` is its first request, where the model is another than the small one."""
    port = free_ports(1)[0]
    command = [sys.executable, str(PEERS / "bare.py"), str(model), str(port)]
    return started("bare", command, port, [row] if row else v1(one_row(), "mlp", {}), folder)


def still(folder: Path) -> contextlib.AbstractContextManager[Server]:
    """No server at all, nearly: the tail that the machine has by itself."""
    port = free_ports(1)[0]
    return started(
        "still", [sys.executable, str(PEERS / "still.py"), str(port)], port, v1(one_row(), "mlp", {}), folder
    )


def kserve(model: Path, folder: Path) -> contextlib.AbstractContextManager[Server]:
    """KServe's Python server with its defaults, gRPC on as it is."""
    port, grpc = free_ports(2)
    command = [str(python_of("kserve")), str(PEERS / "kserve_server.py"), str(model), str(port), str(grpc)]
    return started("kserve", command, port, v1(one_row(), "mlp", {}), folder)


def mlserver(model: Path, folder: Path) -> contextlib.AbstractContextManager[Server]:
    """MLServer in one process, without its pool of inference processes (`BENCH_MLSERVER_POOL=1` has one of them)."""
    port, grpc, metrics = free_ports(3)
    home = folder / f"mlserver-{port}"
    home.mkdir()
    pool = int(os.environ.get("BENCH_MLSERVER_POOL", "0"))
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": pool,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    about = {"name": "mlp", "implementation": "mlserver_model.Mlp", "parameters": {"uri": str(model)}}
    (home / "model-settings.json").write_text(json.dumps(about))
    command = [str(python_of("mlserver").parent / "mlserver"), "start", str(home)]
    return started("mlserver", command, port, v2(one_row(), "mlp", {}), folder, {"PYTHONPATH": str(PEERS)})


def bentoml(model: Path, folder: Path) -> contextlib.AbstractContextManager[Server]:
    """BentoML with its defaults: one worker."""
    port = free_ports(1)[0]
    home = {"BENCH_MODEL": str(model), "BENTOML_HOME": str(folder / "bentoml")}
    options = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(PEERS)]
    command = [str(python_of("bentoml").parent / "bentoml"), "serve", "bento_service:Mlp", *options]
    return started("bentoml", command, port, plain(one_row(), "/predict"), folder, home)


def litserve(model: Path, folder: Path) -> contextlib.AbstractContextManager[Server]:
    """LitServe with its defaults: one worker."""
    port = free_ports(1)[0]
    command = [str(python_of("litserve")), str(PEERS / "lit_server.py"), str(model), str(port)]
    return started("litserve", command, port, plain(one_row(), "/predict"), folder)


STARTERS: dict[str, Callable[[Path, Path], contextlib.AbstractContextManager[Server]]] = {
    "kserve": kserve, "mlserver": mlserver, "bentoml": bentoml, "litserve": litserve,
}  # fmt: skip


def one_row() -> list[np.ndarray[Any, Any]]:
    """The requests' rows: one of 64 numbers each."""
    return rows(64, 1, (64,))


@contextlib.contextmanager
def peers(
    model: Path, folder: Path, wanted: tuple[str, ...] = NAMES
) -> Iterator[tuple[dict[str, Server], dict[str, str]]]:
    """The peers that could be installed and started, and why the others could not."""
    running: dict[str, Server] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name in wanted:
            try:
                running[name] = stack.enter_context(STARTERS[name](model, folder))
            except (NotInstalled, RuntimeError) as error:
                missing[name] = str(error)
                print(f"{name} is left out: {error}", flush=True)
        yield running, missing
