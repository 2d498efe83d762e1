"""The retrain hook's HTTP side: alerts come in, and what the watch and the campaigns left can be read.

`POST /alerts` takes Alertmanager's webhook body, version 4. Everything but `/healthz`, `/runbooks/` and the form to
sign in wants a bearer token, or for reading a browser that has signed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from trimtab.core import bundle
from trimtab.core.errors import NotFound, RequestError, TrimtabError
from trimtab.core.store.keys import is_key
from trimtab.core.tokens import TokenFile
from trimtab.monitoring import hook_pages, pages
from trimtab.monitoring.campaign_open import Answer
from trimtab.monitoring.hook_pages import READ
from trimtab.monitoring.sign_in import Sessions

if TYPE_CHECKING:
    from trimtab.core.store import Store

# Alertmanager groups alerts: a body of thousands of them stays below this.
MAX_BODY = 4 * 1024 * 1024
VERSION = "4"
READABLE = ("reports", "windows", "campaigns")
TYPES = {"json": "application/json", "html": "text/html; charset=utf-8", "png": "image/png", "svg": "image/svg+xml"}
# Reports are pages that others wrote: they may show, never run, load or be framed elsewhere.
PAGE_HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'unsafe-inline' data: blob: 'unsafe-eval'",
    "X-Content-Type-Options": "nosniff",
}


class Alert(BaseModel):
    """One element of `alerts[]`; other fields are left alone."""

    model_config = ConfigDict(extra="ignore")

    status: str = "firing"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    generatorURL: str = ""  # noqa: N815 - Alertmanager's name

    @property
    def model(self) -> str:
        """The model that it is about; empty where it names none."""
        return self.labels.get("model", "")

    @property
    def why(self) -> str:
        """Which alert it is and who raised it, for the records: `TrimtabDrift (Prometheus): …`."""
        # Prometheus names the expression's graph; the watch, where it stands in for both, its own window.
        source = "Prometheus" if "/graph?" in self.generatorURL else "watch"
        name, summary = self.labels.get("alertname", ""), self.annotations.get("summary", "")
        return f"{name} ({source}): {summary}" if name else summary


class Alerts(BaseModel):
    """Alertmanager's webhook body, version 4."""

    model_config = ConfigDict(extra="ignore")

    version: str = VERSION
    alerts: list[Alert]


def make_app(
    store: Store,
    tokens: TokenFile,
    answers: Callable[[Mapping[str, str]], Mapping[str, Answer]],
    status: Callable[[], dict[str, Any]],
) -> FastAPI:
    """The hook as an ASGI app.

    Args:
        store: what is read from.
        tokens: who may ask.
        answers: called once a body with each model's name and its first alert's name and summary; opens campaigns or
            says why not.
        status: the state of every model, JSON.
    """
    app = FastAPI(title="Trimtab retrain hook", docs_url=None, redoc_url=None, openapi_url=None)
    sessions = Sessions(tokens)

    def bearer(request: Request) -> None:
        if not tokens.accepts_header(request.headers.get("authorization", "")):
            raise RequestError(401, "no accepted token", hint="send `Authorization: Bearer <token>`")

    def reader(request: Request) -> None:
        """A browser that signed in may read; an alert wants the header, which no page elsewhere can make it send."""
        if not hook_pages.signed_in(sessions, request):
            bearer(request)

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> Response:
        if hook_pages.wants_page(request):
            return hook_pages.refusal(request, error)
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"error": error.sentence()}, error.status, headers)

    @app.exception_handler(TrimtabError)
    async def failed(_: Request, error: TrimtabError) -> Response:
        # Whoever sent the alert tries again: the store may be back by then.
        return JSONResponse({"error": error.sentence()}, 503)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        said = RequestError(error.status_code, str(error.detail), object=f"{request.method} {request.url.path}")
        if hook_pages.wants_page(request):
            return hook_pages.refusal(request, said)
        return JSONResponse({"error": said.sentence()}, error.status_code, error.headers)

    @app.api_route("/healthz", methods=READ)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/alerts", dependencies=[Depends(bearer)])
    async def take(request: Request) -> JSONResponse:
        body = await _body(request)
        try:
            read = Alerts.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(p) for p in first["loc"])
            raise RequestError(
                400, "not an alert", object=where, expected="Alertmanager's webhook body, version 4", got=first["msg"]
            ) from None
        if read.version != VERSION:
            raise RequestError(
                400,
                "the webhook's body has a version that this hook does not read",
                object="version",
                expected=f'"{VERSION}"',
                got=f'"{read.version[:20]}"',
                hint="send what Alertmanager from 0.16 on sends",
            )
        said = await run_in_threadpool(lambda: _answered(read.alerts, answers))
        if len(said) == 1:
            return JSONResponse(said[0], 202)
        opened = next((a for a in said if "campaign" in a), None)
        return JSONResponse({**(opened or {"reason": "no alert opened a campaign"}), "alerts": said}, 202)

    @app.api_route("/status", methods=READ, dependencies=[Depends(reader)])
    def get_status() -> dict[str, Any]:
        return status()

    app.include_router(hook_pages.make_router(store, sessions, lambda: bundle.list_models(store), reader))

    @app.api_route("/{kind}/{rest:path}", methods=READ, dependencies=[Depends(reader)])
    def read(request: Request, kind: str, rest: str) -> Response:
        if kind not in READABLE:
            raise RequestError(404, "nothing here", object=f"/{kind}", expected=", ".join(f"/{r}/…" for r in READABLE))
        if not hook_pages.wants_page(request):
            return _read(store, f"{kind}/{rest}")
        page = pages.page(store, kind, rest)
        # What names a file is shown as it is, and nothing else: a list of keys is for programs.
        return _read(store, f"{kind}/{rest.rstrip('/')}") if page is None else hook_pages.shown(page)

    return app


def _answered(
    alerts: list[Alert], answers: Callable[[Mapping[str, str]], Mapping[str, Answer]]
) -> list[dict[str, Any]]:
    """What each alert led to; those about one model share one look at it."""
    asked: dict[str, str] = {}
    for alert in alerts:
        if alert.model and alert.status != "resolved":
            asked.setdefault(alert.model, alert.why)
    found = answers(asked) if asked else {}
    return [_said(alert, found).body() for alert in alerts]


def _said(alert: Alert, found: Mapping[str, Answer]) -> Answer:
    if alert.status == "resolved":
        return Answer(reason="resolved: nothing to do")
    return found[alert.model] if alert.model else Answer(reason="the alert has no label `model`")


async def _body(request: Request) -> bytes:
    """The body, counted as it comes: a chunked one names no length."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise RequestError(413, "the body is too large", expected=f"at most {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def _read(store: Store, key: str) -> Response:
    """What lies under a key, or the keys below it."""
    if key.endswith("/") and is_key(key[:-1]):
        return JSONResponse({"keys": list(store.list(key))})
    if not is_key(key):
        raise RequestError(404, "nothing under that name", object=key)
    try:
        body = store.get(key)
    except NotFound:
        raise RequestError(404, "nothing under that name", object=key) from None
    kind = TYPES.get(key.rsplit(".", 1)[-1], "application/octet-stream")
    return Response(body, media_type=kind, headers=PAGE_HEADERS)
