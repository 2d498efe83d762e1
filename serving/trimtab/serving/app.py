"""The ASGI app: routes by hand on the hot paths, a framework only behind feedback and page."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from trimtab.core.errors import RequestError
from trimtab.core.ids import parse_prediction_id, uuid7
from trimtab.serving import health, v1, v2
from trimtab.serving.calls import Answer, Call, Codec, Decoded, Prediction, read_output
from trimtab.serving.http import (
    ClientGone,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    check_json,
    error_body,
    header,
    read_body,
    respond,
    too_long,
)
from trimtab.serving.rows import Answered
from trimtab.serving.traffic import Traffic

if TYPE_CHECKING:
    from trimtab.core.tokens import TokenFile
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.hooks import Admission, Batcher, Keys, Slot, Trace, Tracing
    from trimtab.serving.log import PredictionLog
    from trimtab.serving.metrics import Metrics
    from trimtab.serving.model import LoadedModel

logger = logging.getLogger(__name__)

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

# A body or a row beyond these is computed in a thread, so that it holds up nobody else's request.
INLINE_BYTES = 32_768
INLINE_SECONDS = 0.002
PAGE = {"/", "/page.json"}
SITE = {"/", "/page.json", "/openapi.json", "/feedback"}
_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_PREDICT = re.compile(r"/v1/models/([^/:]+):predict")


class InferenceApp:
    """Answers KServe's V1 and V2 REST protocol for one model.

    Attributes:
        traffic: what serves now; the follower replaces it.
        keys, admission, batcher, tracing: neighbours on a request's way, set before the server starts; see `hooks`.

    Args:
        config: the model's name and the body limit.
        log: takes every answered row.
        metrics: counts every answer.
        tokens: whom feedback is taken from.
        site: makes the app behind feedback and page, on first use or when `warm_site` says.
    """

    def __init__(
        self,
        config: ServerConfig,
        log: PredictionLog,
        metrics: Metrics,
        tokens: TokenFile,
        site: Callable[[InferenceApp], Asgi],
    ) -> None:
        self.config = config
        self.traffic = Traffic()
        self._log, self._metrics, self._tokens = log, metrics, tokens
        self.keys: Keys | None = None
        self.admission: Admission | None = None
        self.batcher: Batcher | None = None
        self.tracing: Tracing | None = None
        self._make_site = site
        self._site: Asgi | None = None
        self._site_lock = asyncio.Lock()
        self._v1_path = f"/v1/models/{config.model}:predict"
        self._v2_path = f"/v2/models/{config.model}/infer"
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="predict")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; whatever it holds, the answer is JSON and the connection stays usable."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        try:
            if path == self._v1_path and scope["method"] == "POST":
                await self._answer(scope, receive, send, v1.CODEC)
            elif path == self._v2_path and scope["method"] == "POST":
                await self._answer(scope, receive, send, v2.CODEC)
            else:
                await self._rest(path, scope, receive, send)
        except RequestError as error:
            await respond(send, error.status, error_body(error), _error_headers(error))
        except ClientGone:
            pass
        except Exception:
            logger.exception("answering %s failed", path)
            await respond(send, 500, b'{"error":"an error in the server; its log has the details"}')

    async def _rest(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything that is not the served model's own predict or infer."""
        method = scope["method"]
        predict, infer = _PREDICT.fullmatch(path), _INFER.fullmatch(path)
        match = predict or infer
        if match is not None:
            health.check_method(method, "POST")
            health.check_model(match[1], self.config.model)
            version = infer[2] if infer else None
            await self._answer(scope, receive, send, v2.CODEC if infer else v1.CODEC, version)
            return
        if path in SITE or path.startswith("/page/"):
            accept = header(scope, b"accept") or b""
            if path == "/" and b"text/html" not in accept:
                health.check_method(method, "GET", "HEAD")
                await respond(send, 200, b'{"status":"alive"}')
            elif (path in PAGE or path.startswith("/page/")) and not self.traffic.page:
                raise RequestError(
                    404, "the page is switched off", object=path, hint="`serving: page` of the project file says so"
                )
            else:
                await self._visit(path, scope, receive, send)
            return
        status, body = health.answer(path, method, self.config.model, self.traffic)
        await respond(send, status, orjson.dumps(body))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, codec: Codec, named: str | None = None) -> None:
        """Read, choose, compute, log, answer: a request is counted whatever becomes of it.

        Counted and logged before it is sent: who has the answer finds its row, and a canary's rows are whole.
        """
        started = time.perf_counter()
        metrics, version, code = self._metrics, "", 500
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace: Trace | None = None
        slot: Slot | None = None
        metrics.in_flight.inc()
        try:
            if self.tracing is not None:
                trace = self.tracing.context(headers, codec.name)
            uuid = _request_uuid(headers)
            if self.keys is not None:
                self.keys.check(headers.get(b"authorization"))
            if self.admission is not None:
                slot = self.admission.enter(scope, headers)
            check_json(headers)
            body = await read_body(headers, receive, self.config.body_bytes or self.traffic.body_bytes)
            if slot is not None:
                slot.check()
            if named is None:
                model, share = self.traffic.choose(headers.get(b"x-trimtab-key") or uuid.encode())
            else:
                model, share = self.traffic.named(named)
            version = model.version
            if self.config.body_bytes is None and len(body) > model.limits.body_bytes:
                raise too_long(model.limits.body_bytes, f"{len(body)} bytes")
            call = Call(uuid, headers)
            decoded, said, answer = await self._compute(codec, model, body, call, slot)
            code = 200
            self._record(model, share, uuid, decoded, said, time.perf_counter() - started)
            await respond(send, 200, answer.body, _answer_headers(uuid, version, answer, trace))
        except RequestError as error:
            code = error.status
            fields = _error_headers(error)
            if version:
                fields.append((b"x-model-version", version.encode()))
            if trace is not None:
                fields += trace.headers
            await respond(send, code, error_body(error), fields)
        except ClientGone:
            code = 499
        finally:
            if slot is not None:
                slot.leave()
            metrics.in_flight.dec()
            metrics.answered(version, codec.name, code, time.perf_counter() - started)
            if trace is not None:
                trace.end(version, code)

    async def _compute(
        self, codec: Codec, model: LoadedModel, body: bytes, call: Call, slot: Slot | None
    ) -> tuple[Decoded, Prediction, Answer]:
        """Decode, run, encode; what takes long does so in a thread, so that it holds up nobody else's request."""
        large = len(body) > INLINE_BYTES
        decoded = await self._aside(large, codec.decode, model, body, call)
        if self.batcher is not None and self.batcher.takes(model, decoded.n):
            output = await self.batcher.run(model, decoded.tensors, decoded.n, slot)
        else:
            slow = large or model.row_seconds > INLINE_SECONDS
            output = await self._aside(slow, model.run, decoded.tensors)
        said = read_output(model, output)
        answer = await self._aside(large, codec.encode, model, call, decoded, said)
        return decoded, said, answer

    async def _aside(self, aside: bool, function: Callable[..., T], *given: Any) -> T:
        """The function's result; in a thread where it may take long."""
        if not aside:
            return function(*given)
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *given)

    def _record(
        self, model: LoadedModel, share: int, uuid: str, decoded: Decoded, said: Prediction, seconds: float
    ) -> None:
        self._log.append(
            Answered(
                model.version,
                uuid,
                time.time_ns() // 1000,
                seconds * 1000,
                share,
                decoded.records,
                said.outputs,
                said.probabilities,
            )
        )
        if not model.classifies:
            self._metrics.predicted(model.version, "value", len(said.outputs))
            return
        for label in said.outputs:
            self._metrics.predicted(model.version, label)

    async def _visit(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Feedback and page: the token first, then the body within its limit, then the framework."""
        body = b""
        if path == "/feedback":
            health.check_method(scope["method"], "POST")
            headers: dict[bytes, bytes] = dict(scope["headers"])
            authorization = headers.get(b"authorization", b"")
            if not self._tokens.accepts_header(authorization.decode("latin-1")):
                self._metrics.labels("refused", 1)
                raise RequestError(
                    401,
                    "feedback needs a bearer token that this server accepts",
                    object="Authorization",
                    expected="Bearer <token>",
                    got="another token" if authorization else "none",
                    hint="one's own token is in the file that TRIMTAB_TOKEN_FILE names, by default "
                    "~/.config/trimtab/token, on the machine that started the server",
                )
            check_json(headers)
            body = await read_body(headers, receive, self.config.body_bytes or self.traffic.body_bytes)
        site = await self.warm_site()
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await site(scope, replay, send)

    async def warm_site(self) -> Asgi:
        """The app behind feedback and page; its imports cost more than all of ours, so they come after the start."""
        async with self._site_lock:
            if self._site is None:
                self._site = await asyncio.to_thread(self._make_site, self)
            return self._site

    def close(self) -> None:
        """End the computing threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _request_uuid(headers: Mapping[bytes, bytes]) -> str:
    """The request's UUID: the client's own (`X-Prediction-Id: <uuid7>-0`) or a fresh one."""
    given = headers.get(b"x-prediction-id")
    if given is None:
        return uuid7()
    parsed = parse_prediction_id(given.decode("latin-1"))
    if parsed is None or parsed[1] != 0:
        raise RequestError(
            400,
            "the prediction id is malformed",
            object="X-Prediction-Id",
            expected="<UUIDv7>-0, in lower case",
            got=repr(given[:60].decode("latin-1")),
        )
    return parsed[0]


def _answer_headers(uuid: str, version: str, answer: Answer, trace: Trace | None) -> Headers:
    fields = [(b"x-prediction-id", f"{uuid}-0".encode()), (b"x-model-version", version.encode())]
    if answer.headers:
        fields += answer.headers
    if trace is not None:
        fields += trace.headers
    return fields


def _error_headers(error: RequestError) -> Headers:
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    if error.status == 405:
        return [(b"allow", error.expected.encode())]
    if error.status in {429, 503}:
        return [(b"retry-after", b"%d" % max(1, math.ceil(getattr(error, "retry_after", 1))))]
    return []
