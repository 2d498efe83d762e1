"""The hook's pages in a browser: signing in, models, windows, campaigns, reports, runbooks; all read-only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from trimtab.core.errors import RequestError
from trimtab.monitoring import pages, runbooks
from trimtab.monitoring.markup import HEADERS, document, text
from trimtab.monitoring.sign_in import COOKIE, MAX_FORM, SECONDS, Sessions, form, local, read_form

if TYPE_CHECKING:
    from trimtab.core.store import Store

# HEAD is answered as GET; the server leaves the body out.
READ = ["GET", "HEAD"]


def wants_page(request: Request) -> bool:
    """Whether a browser asks: programs that name no type, or JSON, get JSON."""
    return request.method in READ and "text/html" in request.headers.get("accept", "")


def shown(body: str, status: int = 200) -> HTMLResponse:
    """A page with headers that let it show and nothing else."""
    return HTMLResponse(body, status, headers=HEADERS)


def signed_in(sessions: Sessions, request: Request) -> bool:
    """Whether the request reads, and comes from a browser that has signed in."""
    return request.method in READ and sessions.accepts(request.cookies.get(COOKIE, ""))


def refusal(request: Request, error: RequestError) -> HTMLResponse:
    """A refusal as a page; without a token, the form that leads back to the address that was asked for."""
    if error.status == 401:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return shown(form(asked), 401)
    return shown(document("Not here", f"<p>{text(error.sentence())}</p>"), error.status)


def make_router(
    store: Store, sessions: Sessions, models: Callable[[], list[str]], allowed: Callable[[Request], None]
) -> APIRouter:
    """The routes beside `/windows`, `/campaigns` and `/reports`.

    Args:
        store: what is read.
        sessions: who has signed in.
        models: names of the models shown.
        allowed: raises where a request may not read.
    """
    router = APIRouter()

    @router.api_route("/", methods=READ)
    def home(request: Request) -> Response:
        allowed(request)
        return shown(pages.home(store, models()))

    @router.api_route("/sign-in", methods=READ)
    def ask(next: str = "/") -> Response:
        return shown(form(next))

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM:
                raise RequestError(413, "the form is too large", expected=f"at most {MAX_FORM} bytes")
        token, address = read_form(body)
        name = sessions.open(token)
        if name is None:
            return shown(form(address, wrong=True), 401)
        answer = RedirectResponse(local(address), 303)
        # Lax: a link from an alert or a dashboard of another site opens the page; nothing but GET is sent along.
        answer.set_cookie(
            COOKIE, name, max_age=SECONDS, httponly=True, samesite="lax", secure=request.url.scheme == "https"
        )
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request) -> Response:
        sessions.close(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE)
        return answer

    # Runbooks hold nothing of anybody's: they open without a token.
    @router.api_route("/runbooks/", methods=READ)
    def list_runbooks() -> Response:
        return shown(runbooks.index())

    @router.api_route("/runbooks/{name}", methods=READ)
    def show_runbook(name: str) -> Response:
        # Runbooks link to each other as files do, so that the links work in the folder and on a code host too.
        found = runbooks.page(name.removesuffix(".md"))
        if found is None:
            raise RequestError(404, "no runbook of that name", object=name, hint="see /runbooks/")
        return shown(found)

    return router
