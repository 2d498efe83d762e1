"""`/openapi.json`, and `/docs`: the same document as a page, written here, with nothing loaded from anywhere."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI
from fastapi.responses import Response

from trimtab.serving.openapi import document

if TYPE_CHECKING:
    from trimtab.serving.app import InferenceApp

Doc = dict[str, Any]
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "form-action 'none'; base-uri 'none'",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
}
STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#4d5866;--line:#c9d0d8;--back:#fff;--pane:#f4f6f8;--mark:#0b5cad}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#b3bdc9;--line:#3c4653;--back:#12171d;--pane:#1b222b;--mark:#7db8f5}}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--back);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif}h1{margin:.2em 0}h2{margin:2.2rem 0 .4rem;font-size:1.3rem}
h3{margin:2rem 0 .3rem;font-size:1.05rem}a{color:var(--mark)}p{margin:.3rem 0;color:var(--soft)}
code,pre{font:.9em/1.45 ui-monospace,monospace}pre{background:var(--pane);border:1px solid var(--line);
border-radius:6px;padding:.7rem;overflow:auto;max-height:22rem}b.verb{color:var(--mark)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.95rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
"""


def add_docs(site: FastAPI, app: InferenceApp) -> None:
    """The routes of the document and of its page."""

    def current() -> Doc:
        return document(app.config.model, app.traffic, bool(getattr(app.keys, "required", False)))

    @site.api_route("/openapi.json", methods=["GET", "HEAD"], include_in_schema=False)
    async def give_document() -> Response:
        return Response(orjson.dumps(current()), media_type="application/json", headers={"cache-control": "no-cache"})

    @site.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def show_document() -> Response:
        return Response(render(current(), app), media_type="text/html; charset=utf-8", headers=HEADERS)


def render(doc: Doc, app: InferenceApp | None = None) -> str:
    """The document as a page: how to ask, field by field, with examples to copy.

    Args:
        doc: from `openapi.document`.
        app: gives the fields of what serves; without it they are left out.
    """
    info = doc["info"]
    champion = app.traffic.champion if app is not None else None
    parts = [
        f"<h1>{escape(info['title'])}</h1>",
        f"<p>{escape(info['summary'])}. Version {escape(info['version'])}. {escape(info['description'])}</p>",
        '<p><a href="/">Try it</a> · <a href="/openapi.json">openapi.json</a></p>',
    ]
    if champion is not None:
        parts.append("<h2>Fields</h2>" + _fields(doc["components"]["schemas"]["Row"]["anyOf"][0]))
    groups: dict[str, list[str]] = {}
    for path, methods in doc["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(path, method.upper(), operation))
    order = sorted(groups, key=["inference", "feedback", "health and metadata"].index)
    parts += [f"<h2>{escape(name[:1].upper() + name[1:])}</h2>{''.join(groups[name])}" for name in order]
    title = escape(f"{info['title']}: how to ask")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _fields(row: Doc) -> str:
    """The fields of one row as a table."""
    lines = []
    for name, form in row["properties"].items():
        examples = form.get("examples")
        shown = json.dumps(examples[0], ensure_ascii=False) if examples else ""
        shown = shown if len(shown) <= 60 else shown[:57] + "…"
        needed = "yes" if name in row["required"] else "no"
        cells = [f"<code>{escape(name)}</code>", needed, escape(_kind(form)), escape(form.get("description", ""))]
        lines.append("<tr><td>" + "</td><td>".join([*cells, f"<code>{escape(shown)}</code>"]) + "</td></tr>")
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Field", "Required", "Holds", "Meaning", "Example"))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _kind(form: Doc) -> str:
    """What a value may be, in a word or two."""
    if "anyOf" in form:
        return " or ".join(dict.fromkeys(filter(None, (_kind(one) for one in form["anyOf"]))))
    kinds = form.get("type", "")
    if kinds == "array":
        lengths = []
        while form.get("type") == "array":
            lengths.append(form.get("minItems", 0))
            form = form["items"]
        return f"array {'×'.join(map(str, lengths))}"
    if "pattern" in form:
        return "RFC 3339 time"
    if isinstance(kinds, list):
        return " or ".join(kinds)
    return str(kinds)


def _operation(path: str, method: str, operation: Doc) -> str:
    """One operation: what it does, how to call it, what comes back."""
    parts = [
        f'<h3><b class="verb">{method}</b> <code>{escape(path)}</code></h3>',
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>",
    ]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content:
        body = json.dumps(content["example"], ensure_ascii=False)
        quoted = body.replace("'", "'\\''")
        call = f"curl -H 'Content-Type: application/json' \\\n  -d '{quoted}' \\\n  $SERVER{path}"
        if operation.get("security"):
            call = call.replace("curl ", 'curl -H "Authorization: Bearer $KEY" \\\n  ', 1)
        parts.append(f'<pre tabindex="0" aria-label="example call">{escape(call)}</pre>')
    named = [p for p in operation.get("parameters", []) if p.get("description")]
    if named:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['description'])}</td></tr>" for p in named
        )
        parts.append(f'<div class="wide"><table><tbody>{rows}</tbody></table></div>')
    answers = ", ".join(f"{code} {escape(one['description'])}" for code, one in operation["responses"].items())
    parts.append(f"<details><summary>Answers</summary><p>{answers}</p></details>")
    return "".join(parts)
