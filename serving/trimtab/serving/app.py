"""The ASGI app: routes by hand on the hot paths, a framework only behind feedback and page."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from trimtab.core.errors import RequestError
from trimtab.serving import health, v1, v2
from trimtab.serving.admission import DEADLINE
from trimtab.serving.calls import Answer, Body, Call, Codec, Decoded, Prediction, read_output
from trimtab.serving.exchange import Exchange, Ids, error_headers, http_response
from trimtab.serving.heads import Head
from trimtab.serving.http import (
    JSON_LENGTH,
    ClientGone,
    Message,
    Receive,
    Scope,
    Send,
    check_json,
    error_body,
    header,
    read_body,
    respond,
)
from trimtab.serving.memory import Memory, Share
from trimtab.serving.trace import echoes
from trimtab.serving.traffic import Traffic

if TYPE_CHECKING:
    import numpy as np

    from trimtab.core.tokens import TokenFile
    from trimtab.serving.config import ServerConfig
    from trimtab.serving.hooks import Admission, Batcher, Keys, Shadow, Tracing
    from trimtab.serving.log import PredictionLog
    from trimtab.serving.metrics import Metrics
    from trimtab.serving.model import LoadedModel

logger = logging.getLogger(__name__)

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")

# A body or a row beyond these is computed in a thread, so that it holds up nobody else's request.
INLINE_BYTES = 32_768
INLINE_SECONDS = 0.002
# A body up to this is answered at once nevertheless where its rows need no parsing (`Codec.decode_bulk`).
BULK_BYTES = 1 << 20
# An estimate cannot know all values (a matrix product of denormal numbers takes 80 times as long): where an answer at
# once took so many seconds, such bodies go the long way for a while.
SURPRISE_SECONDS, WARY_SECONDS = 0.02, 1.0
# Feedback has 1,000 labels at most: a thousand characters each, and as much again for what stands around them.
FEEDBACK_BYTES = 2_000_000
FAILED = b'{"error":"an error in the server; its log has the details"}'
PAGE = {"/", "/page.json"}
SITE = {"/", "/page.json", "/openapi.json", "/docs", "/feedback"}
_INFER = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
_PREDICT = re.compile(r"/v1/models/([^/:]+):predict")


class InferenceApp:
    """Answers KServe's V1 and V2 REST protocol for one model.

    Attributes:
        traffic: what serves now; the follower replaces it.
        log, metrics: take every answered row, and count every answer.
        keys, admission, batcher, tracing, shadow: neighbours on a request's way, set before the server starts; see
            `hooks`.
        ids: makes the ids of requests.
        routes: paths of the served model's predict and infer.

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
        self.log, self.metrics, self._tokens = log, metrics, tokens
        self.keys: Keys | None = None
        self.admission: Admission | None = None
        self.batcher: Batcher | None = None
        self.tracing: Tracing | None = None
        self._make_site = site
        self._site: Asgi | None = None
        self._site_lock = asyncio.Lock()
        self.shadow: Shadow | None = None
        self.ids = Ids()
        self.memory = Memory()
        self._seen, self._quick = self.traffic, True
        self._wary_until = 0.0
        v1_path, v2_path = f"/v1/models/{config.model}:predict", f"/v2/models/{config.model}/infer"
        self.routes = {v1_path.encode(): v1.CODEC, v2_path.encode(): v2.CODEC}
        self._routes = {v1_path: v1.CODEC, v2_path: v2.CODEC}
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="predict")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; whatever it holds, the answer is JSON and the connection stays usable."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        try:
            codec = self._routes.get(path)
            if codec is not None and scope["method"] == "POST":
                await self._answer(scope, receive, send, codec)
            else:
                await self._rest(path, scope, receive, send)
        except RequestError as error:
            fields = [*error_headers(error), *echoes(dict(scope["headers"]))]
            await respond(send, error.status, error_body(error), fields)
        except ClientGone:
            pass
        except Exception:
            logger.exception("answering %s failed", path)
            await respond(send, 500, FAILED)

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
        """The long way: read, choose, compute, record, answer; a request is counted whatever becomes of it."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        exchange = Exchange(self, Head(codec, headers))
        limit = self.config.body_bytes or self.traffic.body_bytes
        share = self.memory.share(limit)
        self.metrics.in_flight.inc()
        try:
            exchange.enter(scope)
            body = await read_body(headers, receive, limit, share)
            await share.parse(body)
            model = exchange.choose(len(body), named)
            answer = await self._compute(codec, model, body, exchange)
            await respond(send, 200, answer.body, exchange.fields(answer))
        except RequestError as error:
            await respond(send, *exchange.refuse(error))
        except ClientGone:
            exchange.code = 0 if "refused" in scope else 499
        except Exception:
            exchange.code = 500
            logger.exception("answering failed", extra=exchange.told())
            await respond(send, 500, FAILED)
        finally:
            share.release()
            self.metrics.in_flight.dec()
            exchange.leave()

    async def _compute(self, codec: Codec, model: LoadedModel, body: bytes, exchange: Exchange) -> Answer:
        """Decode, run, encode, record; what takes long does so in a thread, so that it holds up nobody else's."""
        large = len(body) > INLINE_BYTES
        call = exchange.call
        if self.batcher is not None and self.batcher.takes(model, 1):
            decoded = await self._aside(large, codec.decode, model, body, call)
            output = await self.batcher.run(model, decoded.tensors, decoded.n, exchange.slot)
            said, answer = await self._aside(large, _finish, codec, model, call, decoded, output)
        elif large:
            decoded, said, answer = await self._aside(True, _whole, codec, model, body, call)
        else:
            decoded = codec.decode(model, body, call)
            output = await self._aside(model.seconds(decoded.n) > INLINE_SECONDS, model.run, decoded.tensors)
            said, answer = _finish(codec, model, call, decoded, output)
        exchange.record(decoded, said)
        return answer

    async def _aside(self, aside: bool, function: Callable[..., T], *given: Any) -> T:
        """The function's result; in a thread where it may take long."""
        if not aside:
            return function(*given)
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *given)

    def answer_now(self, head: Head, scope: Scope, body: Body) -> bytes | None:
        """The short way: the whole HTTP response to a whole request, at once; None where that could take long."""
        bulk = len(body) > INLINE_BYTES
        if (bulk and not self._takes_bulk(head)) or not self._is_quick():
            return None
        started = time.monotonic()
        exchange = Exchange(self, head)
        codec = head.codec
        try:
            exchange.enter(scope, at_once=True)
            model = exchange.choose(len(body), None)
            if codec.decode_bulk is not None and (bulk or isinstance(body, memoryview)):
                decoded = codec.decode_bulk(model, body, exchange.call)
            else:
                decoded = codec.decode(model, bytes(body), exchange.call)
            if decoded is None or model.seconds(decoded.n) > INLINE_SECONDS:
                exchange.withdraw()
                return None
            said, answer = _finish(codec, model, exchange.call, decoded, model.run(decoded.tensors))
            exchange.record(decoded, said)
            response = exchange.response(answer)
        except RequestError as error:
            response = http_response(*exchange.refuse(error))
        except Exception:
            exchange.code = 500
            logger.exception("answering failed", extra=exchange.told())
            response = http_response(500, FAILED, [])
        exchange.leave()
        if bulk:
            now = time.monotonic()
            if now - started > SURPRISE_SECONDS:
                self._wary_until = now + WARY_SECONDS
        return response

    def bulk_share(self, head: Head) -> Share | None:
        """What a body beyond `INLINE_BYTES` takes of the memory while it comes the short way; None: it may not.

        Who asks is looked at before the body is awaited, as on the long way, which refuses in words.
        """
        if not self._takes_bulk(head) or not self._is_quick():
            return None
        if self.keys is not None:
            try:
                self.keys.check(head.authorization)
            except RequestError:
                return None
        return self.memory.share(self.config.body_bytes or self.traffic.body_bytes)

    def _takes_bulk(self, head: Head) -> bool:
        """Whether a body beyond `INLINE_BYTES` behind this head may go the short way."""
        headers = head.headers
        if head.codec.decode_bulk is None or JSON_LENGTH not in headers or DEADLINE in headers:
            return False
        limit = min(self.config.body_bytes or self.traffic.body_bytes, BULK_BYTES)
        length = int(headers.get(b"content-length") or 0)  # the parser lets digits alone through
        return length <= limit and time.monotonic() >= self._wary_until

    def _is_quick(self) -> bool:
        """Whether each version that serves answers a row in little time."""
        traffic = self.traffic
        if traffic is not self._seen:
            serving = [model for model in (traffic.champion, traffic.canary) if model is not None]
            self._seen, self._quick = traffic, all(model.row_seconds <= INLINE_SECONDS for model in serving)
        return self._quick

    async def _visit(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Feedback and page: the token first, then the body within its limit, then the framework."""
        body = b""
        if path == "/feedback":
            health.check_method(scope["method"], "POST")
            headers: dict[bytes, bytes] = dict(scope["headers"])
            authorization = headers.get(b"authorization", b"")
            if not self._tokens.accepts_header(authorization.decode("latin-1")):
                self.metrics.labels("refused", 1)
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
            limit = min(self.config.body_bytes or self.traffic.body_bytes, FEEDBACK_BYTES)
            share = self.memory.share(limit)
            try:
                body = await read_body(headers, receive, limit, share)
            finally:
                share.release()
        site = await self.warm_site()
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        carried = echoes(dict(scope["headers"]))

        async def carry(message: Message) -> None:
            if carried and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *carried]}
            await send(message)

        await site(scope, replay, carry)

    async def warm_site(self) -> Asgi:
        """The app behind feedback and page; its imports cost more than all of ours, so they come after the start."""
        async with self._site_lock:
            if self._site is None:
                self._site = await asyncio.to_thread(self._make_site, self)
            return self._site

    def close(self) -> None:
        """End the computing threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _whole(codec: Codec, model: LoadedModel, body: bytes, call: Call) -> tuple[Decoded, Prediction, Answer]:
    """All there is to do for a body, at a stretch."""
    decoded = codec.decode(model, body, call)
    return decoded, *_finish(codec, model, call, decoded, model.run(decoded.tensors))


def _finish(
    codec: Codec, model: LoadedModel, call: Call, decoded: Decoded, output: np.ndarray[Any, Any]
) -> tuple[Prediction, Answer]:
    """What the graph's output says, and the answer."""
    said = read_output(model, output)
    return said, codec.encode(model, call, decoded, said)
