"""Two ways to carry the calls out: threads over urllib3, asyncio over httpx."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import urllib3

from trimtab.client.calls import Answer, Calls, Step, Steps
from trimtab.core.errors import ProjectError

P = ParamSpec("P")
T = TypeVar("T")


def _now(call: Callable[Concatenate[Any, P], Steps[T]]) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(call)
    def carried(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        steps, answer = call(self, *args, **kwargs), None
        try:
            while True:
                answer = self._send(steps.send(answer))
        except StopIteration as end:
            return cast("T", end.value)

    return carried


def _later(call: Callable[Concatenate[Any, P], Steps[T]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    @functools.wraps(call)
    async def carried(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        steps, answer = call(self, *args, **kwargs), None
        try:
            while True:
                answer = await self._send(steps.send(answer))
        except StopIteration as end:
            return cast("T", end.value)

    return carried


class Client(Calls):
    """Talks to one model server; several threads may share one. Settings, retries and errors: see `Calls`."""

    predict, infer = _now(Calls._predict), _now(Calls._infer)
    feedback, ready = _now(Calls._feedback), _now(Calls._ready)

    def _open(self) -> None:
        self._pool = urllib3.PoolManager(maxsize=self.connections, timeout=self.timeout, retries=False)

    def _send(self, step: Step) -> Answer | None:
        if not isinstance(step, tuple):
            time.sleep(step)
            return None
        path, body, headers = step
        try:
            got = self._pool.request("POST" if body else "GET", self.url + path, body=body, headers=headers)
            return Answer(got.status, got.data, got.headers)
        except urllib3.exceptions.HTTPError as error:
            return Answer(0, type(error).__name__.encode(), {})

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(Calls):
    """The same for asyncio; needs httpx (`pip install "trimtab[async]"`).

    Raises:
        ProjectError: httpx is not installed.
    """

    predict, infer = _later(Calls._predict), _later(Calls._infer)
    feedback, ready = _later(Calls._feedback), _later(Calls._ready)

    def _open(self) -> None:
        try:
            import httpx
        except ImportError:
            raise ProjectError("the async client needs httpx", hint='pip install "trimtab[async]"') from None
        limits = httpx.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        self._pool, self._trouble = httpx.AsyncClient(timeout=self.timeout, limits=limits), httpx.HTTPError

    async def _send(self, step: Step) -> Answer | None:
        if not isinstance(step, tuple):
            await asyncio.sleep(step)
            return None
        path, body, headers = step
        try:
            got = await self._pool.request("POST" if body else "GET", self.url + path, content=body, headers=headers)
            return Answer(got.status_code, got.content, got.headers)
        except self._trouble as error:
            return Answer(0, type(error).__name__.encode(), {})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
