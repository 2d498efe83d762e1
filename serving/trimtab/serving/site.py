"""Feedback and the page, in FastAPI: off the hot path, typed with pydantic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from trimtab.core.errors import RequestError
from trimtab.core.records import rfc3339, utcnow
from trimtab.serving import health
from trimtab.serving.feedback import Feedback, Receipt, check_labels
from trimtab.serving.http import error_body
from trimtab.serving.manual import add_docs
from trimtab.serving.mistakes import first_mistake, unreadable
from trimtab.serving.webpage import add_page

if TYPE_CHECKING:
    from trimtab.serving.app import InferenceApp
    from trimtab.serving.log import PredictionLog
    from trimtab.serving.metrics import Metrics


def build_site(app: InferenceApp, log: PredictionLog, metrics: Metrics) -> FastAPI:
    """The app behind `/feedback` and `/`.

    Args:
        app: gives the model that serves now.
        log: its label segments keep the feedback.
        metrics: counts labels.
    """
    site = FastAPI(title=f"Trimtab: {app.config.model}", docs_url=None, redoc_url=None, openapi_url=None)
    add_page(site, app, log.hash_key)
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
    async def refuse_path(request: Request, error: HTTPException) -> Response:
        allowed = (error.headers or {}).get("Allow", "")
        if error.status_code == 405 and allowed:
            answer = await refuse(request, health.refused_method(request.method, allowed))
            answer.headers["allow"] = allowed
            return answer
        if error.status_code == 400:  # what its parser of JSON does not even report: too deep, no UTF-8
            return await refuse(request, unreadable())
        got = request.url.path[:100]
        refusal = RequestError(error.status_code, str(error.detail), object="request", expected="another one", got=got)
        return await refuse(request, refusal)

    @site.exception_handler(RequestValidationError)
    async def refuse_body(_: Request, error: RequestValidationError) -> Response:
        refusal = first_mistake(error.errors())
        metrics.labels("refused", 1)
        return await refuse(_, refusal)

    return site
