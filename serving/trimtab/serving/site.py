"""Feedback and the page, in FastAPI: off the hot path, typed with pydantic."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from trimtab.core.errors import RequestError
from trimtab.core.records import rfc3339, utcnow
from trimtab.serving.feedback import Feedback, Receipt, check_labels
from trimtab.serving.http import error_body
from trimtab.serving.manual import add_docs
from trimtab.serving.mistakes import first_mistake

if TYPE_CHECKING:
    from trimtab.serving.app import InferenceApp
    from trimtab.serving.log import PredictionLog
    from trimtab.serving.metrics import Metrics
    from trimtab.serving.model import LoadedModel

ASSETS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
COMMON = {"cache-control": "no-cache", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
# Nothing is loaded from elsewhere, and the page says so to the browser.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
# The report is a static document of the bundle: its own styles, no script whatever it holds.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"


class Asset:
    """One file of the page, with the tag by which a browser asks whether it is still the same."""

    def __init__(self, name: str, body: bytes) -> None:
        self.kind = ASSETS[name.rpartition(".")[2]]
        self.body = body
        self.tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'

    def answer(self, request: Request) -> Response:
        """The file, or 304 where the browser has it."""
        headers = {**COMMON, "content-security-policy": PAGE_POLICY, "etag": self.tag}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.kind)


def build_site(app: InferenceApp, log: PredictionLog, metrics: Metrics) -> FastAPI:
    """The app behind `/feedback` and `/`.

    Args:
        app: gives the model that serves now.
        log: its label segments keep the feedback.
        metrics: counts labels.
    """
    site = FastAPI(title=f"Trimtab: {app.config.model}", docs_url=None, redoc_url=None, openapi_url=None)
    add_page(site, app)
    add_docs(site, app)

    @site.post("/feedback", status_code=202)
    async def take_labels(feedback: Feedback) -> Receipt:
        """Take labels: by prediction id or the rows' own key. 202 once they are on disk."""
        champion = app.traffic.champion
        try:
            rows = check_labels(
                feedback, app.config.model, champion.schema if champion else None, rfc3339(utcnow()), log.hash_key
            )
            if log.full:
                raise RequestError(
                    503, "the spool is full, the store has been away for long", hint="send them again later"
                )
            lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]
            await asyncio.to_thread(log.labels.append, lines, len(rows))
        except RequestError:
            metrics.labels("refused", len(feedback.labels))
            raise
        except OSError as error:
            metrics.labels("refused", len(feedback.labels))
            raise RequestError(503, "the disk did not take the labels", got=str(error)) from error
        metrics.labels("accepted", len(rows))
        return Receipt(accepted=len(rows))

    @site.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> Response:
        return Response(error_body(error), error.status, media_type="application/json")

    @site.exception_handler(HTTPException)
    async def refuse_path(_: Request, error: HTTPException) -> Response:
        return await refuse(_, RequestError(error.status_code, str(error.detail)))

    @site.exception_handler(RequestValidationError)
    async def refuse_body(_: Request, error: RequestValidationError) -> Response:
        refusal = first_mistake(error.errors())
        metrics.labels("refused", 1)
        return await refuse(_, refusal)

    return site


def add_page(site: FastAPI, app: InferenceApp) -> None:
    """The page's routes: `/`, its files, what it needs to know, examples and the evaluation report."""
    folder = files("trimtab.serving") / "page"
    assets = {one.name: Asset(one.name, one.read_bytes()) for one in folder.iterdir() if one.is_file()}
    methods = ["GET", "HEAD"]

    @site.api_route("/", methods=methods, include_in_schema=False)
    async def show_page(request: Request) -> Response:
        return assets["index.html"].answer(request)

    @site.api_route("/page/report.html", methods=methods, include_in_schema=False)
    async def show_report() -> Response:
        report = _champion(app).card.report
        if not report:
            raise RequestError(404, "this version carries no evaluation report", object=_champion(app).version)
        headers = {**COMMON, "content-security-policy": REPORT_POLICY}
        return Response(zlib.decompress(report), headers=headers, media_type=ASSETS["html"])

    @site.api_route("/page/examples.json", methods=methods, include_in_schema=False)
    async def give_examples() -> Response:
        examples = _champion(app).card.examples
        body = zlib.decompress(examples) if examples else b"[]"
        return Response(body, headers=COMMON, media_type="application/json")

    @site.api_route("/page/{name}", methods=methods, include_in_schema=False)
    async def give_asset(name: str, request: Request) -> Response:
        if name not in assets:
            raise RequestError(404, "the page has no such file", object=name[:100])
        return assets[name].answer(request)

    @site.api_route("/page.json", methods=methods, include_in_schema=False)
    async def describe_model() -> Response:
        """What the page needs: model, versions, fields, target, card; nothing of what private fields hold."""
        body = orjson.dumps(describe(app, _champion(app)), option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, headers=COMMON, media_type="application/json")


def describe(app: InferenceApp, champion: LoadedModel) -> dict[str, Any]:
    """The facts behind the page. Of private fields, examples and categories are left out: they are data."""
    schema = champion.schema.model_dump(mode="json")
    for field in schema["fields"]:
        if field["private"]:
            field["example"], field["categories"] = None, []
    return {
        "model": app.config.model,
        "versions": app.traffic.versions,
        "canary_percent": app.traffic.percent if app.traffic.canary else 0,
        "schema": schema,
        "card": {**champion.card.facts, "report": bool(champion.card.report), "examples": bool(champion.card.examples)},
        "hook": app.config.hook_url,
    }


def _champion(app: InferenceApp) -> LoadedModel:
    champion = app.traffic.champion
    if champion is None:
        raise app.traffic.not_ready()
    return champion
