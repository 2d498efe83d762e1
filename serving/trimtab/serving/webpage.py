"""The page's routes: `/`, its files, what it needs to know, rows to try and the evaluation report."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response

from trimtab.core.errors import RequestError
from trimtab.core.privacy import keyed_hash

if TYPE_CHECKING:
    from trimtab.serving.app import InferenceApp
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


def add_page(site: FastAPI, app: InferenceApp, secret: bytes) -> None:
    """Add the page's routes.

    Its files are anyone's who reaches the server; what they show of the model (schema, card, rows, report) is behind
    the key where predictions are. A link cannot carry a key: the report's carries a ticket, which `/page.json` gives.

    Args:
        site: gets the routes.
        app: gives the model that serves now, and who may ask.
        secret: what tickets are made from; the same in every worker.
    """
    folder = files("trimtab.serving") / "page"
    assets = {one.name: Asset(one.name, one.read_bytes()) for one in folder.iterdir() if one.is_file()}
    methods = ["GET", "HEAD"]

    @site.api_route("/", methods=methods, include_in_schema=False)
    async def show_page(request: Request) -> Response:
        return assets["index.html"].answer(request)

    @site.api_route("/page/report.html", methods=methods, include_in_schema=False)
    async def show_report(request: Request) -> Response:
        champion = _champion(app)
        given = request.query_params.get("ticket", "")
        if not hmac.compare_digest(given.encode(), _ticket(secret, champion).encode()):
            _check_key(app, request)
        report = champion.card.report
        if not report:
            raise RequestError(404, "this version carries no evaluation report", object=champion.version)
        headers = {**COMMON, "content-security-policy": REPORT_POLICY}
        return Response(zlib.decompress(report), headers=headers, media_type=ASSETS["html"])

    @site.api_route("/page/examples.json", methods=methods, include_in_schema=False)
    async def give_examples(request: Request) -> Response:
        _check_key(app, request)
        examples = _champion(app).card.examples
        body = zlib.decompress(examples) if examples else b"[]"
        return Response(body, headers=COMMON, media_type="application/json")

    @site.api_route("/page/{name}", methods=methods, include_in_schema=False)
    async def give_asset(name: str, request: Request) -> Response:
        if name not in assets:
            raise RequestError(404, "the page has no such file", object=name[:100])
        return assets[name].answer(request)

    @site.api_route("/page.json", methods=methods, include_in_schema=False)
    async def describe_model(request: Request) -> Response:
        """What the page needs: model, versions, fields, target, card; nothing of what private fields hold."""
        _check_key(app, request)
        champion = _champion(app)
        facts = describe(app, champion)
        if champion.card.report:
            facts["card"]["report"] = f"page/report.html?ticket={_ticket(secret, champion)}"
        body = orjson.dumps(facts, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, headers=COMMON, media_type="application/json")


def describe(app: InferenceApp, champion: LoadedModel) -> dict[str, Any]:
    """The facts behind the page. Of private fields, examples and categories are left out: they are data."""
    schema = champion.schema.to_facts()
    for field in schema["fields"]:
        if field["private"]:
            field["example"], field["categories"] = None, []
    return {
        "model": app.config.model,
        "versions": app.traffic.versions,
        "canary_percent": app.traffic.percent if app.traffic.canary else 0,
        "schema": schema,
        "card": {**champion.card.facts, "report": "", "examples": bool(champion.card.examples)},
        "hook": app.config.hook_url,
    }


def _champion(app: InferenceApp) -> LoadedModel:
    champion = app.traffic.champion
    if champion is None:
        raise app.traffic.not_ready()
    return champion


def _ticket(secret: bytes, model: LoadedModel) -> str:
    """What the report's link carries in place of a key: good for one version, useless for anything else."""
    return keyed_hash(secret, f"report of {model.name} {model.version}")


def _check_key(app: InferenceApp, request: Request) -> None:
    if app.keys is not None:
        app.keys.check(request.headers.get("authorization", "").encode("latin-1") or None)
