"""Small pieces of HTML for the hook's pages: everything that is not markup of ours is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from urllib.parse import quote

# The pages hold text alone: nothing runs, nothing is loaded from elsewhere, nobody frames them.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STYLE = """
:root { color-scheme: light dark; --bg: #fbfbfa; --fg: #1b1f24; --dim: #57606a; --line: #d0d7de; --accent: #0b5cad;
 --none: #1a7f37; --watch: #7d4e00; --drift: #a4161a; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --fg: #e8eaed; --dim: #a3acb8; --line: #3a424c;
 --accent: #6cb2ff; --none: #57c77b; --watch: #e6b450; --drift: #ff8b8b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--bg); color: var(--fg);
 font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
a { color: var(--accent); } .dim { color: var(--dim); font-size: .9rem; } .bad { color: var(--drift); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; min-width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
.none { color: var(--none); } .watch { color: var(--watch); } .drift { color: var(--drift); }
.none, .watch, .drift { font-weight: 600; }
pre { background: color-mix(in srgb, var(--line) 25%, transparent); padding: .7rem; overflow-x: auto; }
input, button { font: inherit; padding: .4rem .6rem; max-width: 100%; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""


class Safe(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Safe:
    """A value as HTML: escaped, unless it is HTML already.

    >>> text("<b>"), text(Safe("<b>")), text(None)
    ('&lt;b&gt;', '<b>', '')
    """
    if isinstance(value, Safe):
        return value
    return Safe("" if value is None else html.escape(str(value)))


def link(address: str, words: object) -> Safe:
    """A link to an address of this server.

    >>> link("/windows/toy/", "toy")
    '<a href="/windows/toy/">toy</a>'
    """
    return Safe(f'<a href="{html.escape(quote(address, safe="/?=&#.:-_~%"))}">{text(words)}</a>')


def listing(keys: Iterable[str], below: str = "") -> Safe:
    """Links to keys of the store, each called by what is below a prefix, or by its file's name.

    >>> listing(["reports/toy/a.html"])
    '<ul><li><a href="/reports/toy/a.html">a.html</a></li></ul>'
    """
    named = ((key, key.removeprefix(f"{below}/") if below else key.rsplit("/", 1)[-1]) for key in keys)
    return Safe(f"<ul>{''.join(f'<li>{link(chr(47) + key, name)}</li>' for key, name in named)}</ul>")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Safe:
    """A table; a sentence where it has no rows."""
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return Safe('<p class="dim">Nothing yet.</p>')
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    return Safe(f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>')


def level(verdict: str) -> Safe:
    """A verdict in its colour, and in words for whoever sees none."""
    known = verdict if verdict in {"none", "watch", "drift"} else "dim"
    return Safe(f'<span class="{known}">{text(verdict)}</span>')


def moment(stamp: object) -> str:
    """A time of a record, to the second.

    >>> moment("2026-11-21T14:05:00.123456Z"), moment(None)
    ('2026-11-21 14:05:00 UTC', '')
    """
    return f"{str(stamp)[:10]} {str(stamp)[11:19]} UTC" if stamp else ""


def amount(value: object) -> str:
    """A number in at most four digits; what is none as it is.

    >>> amount(0.93512), amount(None), amount(1234.5)
    ('0.9351', '', '1234')
    """
    if value is None:
        return ""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def document(title: str, body: str, *, home: bool = True) -> str:
    """A whole page.

    Args:
        title: shown above and in the browser's list.
        body: HTML.
        home: whether a link to the first page stands above.
    """
    top = '<nav><a href="/">All models</a></nav>' if home else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)} · Trimtab</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body>{top}<main><h1>{text(title)}</h1>{body}</main></body></html>"
    )
