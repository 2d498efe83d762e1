"""A server in a thread of the tests' own process, whose connections and memory they can look into."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from tests.serving.bundles import Place
from tests.serving.raw import Raw
from uvicorn.config import Config
from uvicorn.server import ServerState

from trimtab.core import bundle, signing
from trimtab.core.tokens import TokenFile
from trimtab.serving import fast
from trimtab.serving.app import InferenceApp
from trimtab.serving.config import ServerConfig
from trimtab.serving.heads import Heads
from trimtab.serving.log import PredictionLog
from trimtab.serving.metrics import Metrics
from trimtab.serving.model import LoadedModel, load_model
from trimtab.serving.protocol import Patience, protocol
from trimtab.serving.traffic import Traffic

# Rows for the model of the kind `numbers`, called demand: 96 kB.
ROWS = 6000
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
PATH = "/v2/models/demand/infer"


# The largest body, bytes.
LIMIT = 200_000


class Counted(InferenceApp):
    """Counts what went the long way."""

    long = 0

    async def _answer(self, *given: Any) -> None:
        self.long += 1
        await super()._answer(*given)


class Here:
    """A server in a thread of this process.

    Attributes:
        app, url: the app, and where it answers.
        models: the version that serves, and another one.
        open: its connections.
        heads: those it knows.
    """

    def __init__(self, app: Counted, models: list[LoadedModel]) -> None:
        self.app, self.models = app, models
        self.open: set[Any] = set()
        self.heads: dict[bytes, Any] = {}
        self._bound = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._bound.getsockname()[1]}"
        self._loop = uvloop.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        made = fast.fast(self.app, protocol(Patience()))
        self.heads = made.heads._known
        config = Config(self.app, http=made, ws="none", lifespan="off", log_config=None, access_log=False)
        config.load()
        state = ServerState()
        self.open = state.connections

        async def start() -> None:
            self._server = await self._loop.create_server(lambda: made(config, state, {}, self._loop), sock=self._bound)
            self._started.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._server.close()
        self._loop.run_until_complete(self._server.wait_closed())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def on_loop(self, what: Callable[[], Any]) -> Any:
        """Call a function on the event loop, and wait for it."""

        async def call() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(60)

    def until(self, what: Callable[[], bool]) -> None:
        """Let the loop turn until a condition holds."""
        pause = threading.Event()
        for _ in range(6000):
            if self.on_loop(what):
                return
            pause.wait(0.01)
        raise AssertionError("not in time")

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self.app.close()


@contextlib.contextmanager
def started(root: Path) -> Iterator[Here]:
    """A server of two versions of one model of numbers, the first of which serves."""
    place = Place(root)
    serving = {"max_rows": ROWS, "max_body_mb": LIMIT / 1e6, "latency_ms": 1e6}
    trusted = signing.trusted_keys(place.settings.trusted_keys)
    config = ServerConfig("demand", place.settings.store, root / "spool", root, root / "tokens.json")
    metrics = Metrics("demand")
    log = PredictionLog(config, metrics, b"k" * 32)
    models: list[LoadedModel] = []
    for seed in (0, 1):
        version = place.publish("demand", "numbers", seed, serving=serving)
        folder = root / version
        model = load_model(folder, bundle.fetch_bundle(place.store, "demand", version, folder, trusted))
        model.row_seconds = model.more_seconds = 0.0  # quick, however busy this machine is
        log.add_version(version, model.schema)
        models.append(model)
    app = Counted(config, log, metrics, TokenFile(config.tokens, "feedback"), lambda _: pytest.fail("no page here"))
    app.traffic = Traffic(champion=models[0])
    here = Here(app, models)
    yield here
    here.close()
    log.close()


@contextlib.contextmanager
def cleaned(server: Here, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> Iterator[None]:
    """A test that begins with none the long way, and leaves no memory taken and none in flight.

    Args:
        server: its server.
        monkeypatch: the test's.
        known: whether the head of `request()` was seen before; else no head is ever known.
    """
    app = server.app
    monkeypatch.setattr("trimtab.serving.app.SURPRISE_SECONDS", math.inf)  # however busy this machine is
    app._wary_until = 0.0
    app.long, app.keys, app.tracing, app.traffic = 0, None, None, Traffic(champion=server.models[0])
    if known:
        with Raw(server.url) as raw:
            assert raw.ask(request())[0] == 200
        server.until(lambda: not server.open)
        assert server.heads
    else:
        monkeypatch.setattr(Heads, "keep", lambda *_: None)
        server.heads.clear()
    server.on_loop(app.log._drain)
    yield
    server.until(lambda: app.memory.held == 0 and app.metrics.in_flight.value == 0)


def request(x: np.ndarray[Any, Any] = X, tail: bytes | None = None, chunks: bool = False, **more: Any) -> bytes:
    """A request in the binary extension, whole; `chunks`: its length untold, which goes the long way."""
    tail = x.tobytes() if tail is None else tail
    tensor = {"name": "input", "shape": list(x.shape), "datatype": "FP32", **more.pop("tensor", {})}
    tensor["parameters"] = {"binary_data_size": len(tail)}
    headers = more.pop("headers", {})
    head = json.dumps({"id": "mine", "inputs": [tensor], "parameters": {"binary_data_output": True}, **more}).encode()
    body = head + tail
    length = {"Transfer-Encoding": "chunked"} if chunks else {"Content-Length": str(len(body))}
    fields = {"Host": "x", "Inference-Header-Content-Length": str(len(head)), **length, **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunks else body
    return f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode() + sent


def counts(server: Here) -> Counter[tuple[str, int]]:
    """How many answers were counted, by protocol and code."""
    found: Counter[tuple[str, int]] = Counter()
    for _, protocol_name, code, _, buckets in server.on_loop(server.app.metrics.dump)["answers"]:
        found[protocol_name, code] += sum(buckets)
    return found


def told(answer: tuple[int, Any, Any]) -> tuple[int, Any]:
    """Status and body."""
    return answer[0], answer[2]


def pieces(raw: Raw, server: Here, whole: bytes, *cuts: int) -> None:
    """Send a request cut there, each piece only when the server has read the one before."""
    start = 0
    for cut in (*cuts, len(whole)):
        raw.send(whole[start:cut])
        start = cut
        if cut < len(whole):
            server.until(lambda cut=cut: any(one._size == cut for one in server.open))  # type: ignore[misc]
