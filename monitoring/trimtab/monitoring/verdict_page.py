"""A verdict as one static HTML page: words, figures, then and now of the fields that moved. No script, no link out."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.monitoring import explanation, plots, windows
from trimtab.monitoring.calibration import Cells
from trimtab.monitoring.columns import arrays, needed
from trimtab.monitoring.counts import text
from trimtab.monitoring.drift import Column
from trimtab.monitoring.samples import sample

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.monitoring.explanation import Told
    from trimtab.monitoring.reference import Reference

# Fields drawn, at most; where none moved, so many of the least alike.
DRAWN, LEAST = 8, 3
# Windows in the picture of performance.
WINDOWS = 40
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c1e21;background:#fff}
h1{font-size:1.35em;margin:0 0 .3em}h2{font-size:1.05em;margin:1.6em 0 .4em}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25em .8em .25em 0;border-bottom:1px solid #e3e5e8;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.none{color:#2e7d32}.watch{color:#b36b00}.drift{color:#c62f2f}.muted{color:#6b7280;font-size:.9em}
figure{display:inline-block;margin:.4em 1em .8em 0;vertical-align:top}figcaption{font-size:.9em}
svg{max-width:100%;height:auto}svg text{font:10px system-ui,sans-serif;fill:#555}
"""


def make(store: Store, about: Reference, model: str, window: int) -> str:
    """The page of a window, from the store alone.

    Args:
        store: records, log and reports.
        about: the version's reference.
        model: the model.
        window: the window's number.

    Raises:
        NotFound: nothing was said about such a window.
    """
    told = explanation.read(store, model, about.version, window)
    rows = sample(store, told.cut, needed(about.columns))
    return render(
        told,
        about,
        arrays(rows, about.columns, about.classes),
        arrays(about.table, about.columns, about.classes),
        windows.recent(store, model, about.version, window, WINDOWS),
        explanation.opinions_of(store, told),
        evidently=store.exists(windows.evidently_key(model, about.version, window)),
    )


def render(
    told: Told,
    about: Reference,
    now: Mapping[str, Any],
    then: Mapping[str, Any],
    recent: Sequence[windows.Verdict],
    opinions: Mapping[str, Any],
    *,
    evidently: bool = False,
) -> str:
    """The page as text.

    Args:
        told: the window's records.
        about: the version's reference.
        now: compared values of the window (a sample) by column.
        then: the same of the reference.
        recent: verdicts of the windows up to this one, oldest first.
        opinions: second opinions.
        evidently: whether Evidently's report lies beside it.
    """
    said = told.verdict
    facts = explanation.facts(told, about.yardstick, opinions)
    head = (
        f'<h1>{_e(facts["title"].rpartition(":")[0])}: <span class="{_e(said.verdict)}">{_e(said.verdict)}</span></h1>'
    )
    parts = [head, *(f"<p>{_e(p)}</p>" for p in facts["paragraphs"]), _performance(said, about)]
    points = [
        {"window": v.window, "verdict": v.verdict, **{k: v.performance[k] for k in ("realised", "expected")}}
        for v in recent
    ]
    usual = said.performance["reference"]["value"]
    parts.append(
        f"<figure>{plots.over_windows(points, usual, percent=about.yardstick.binary)}<figcaption>"
        f"{_e(about.yardstick.unit.capitalize())} by window: labels with 95 % interval (dots), estimated without "
        "labels (line), the reference (dashed).</figcaption></figure>"
    )
    parts += _calibration(told, about)
    parts += _slices(facts["slices"], about)
    parts += _fields(told, about, then, now, opinions)
    if evidently:
        parts.append('<p><a href="drift.html">Evidently\'s report</a> of the same window (on samples; 5 MB).</p>')
    parts.append(_records(told))
    body = "\n".join(parts)
    title = _e(facts["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>{body}</body></html>'
    )


def _performance(said: windows.Verdict, about: Reference) -> str:
    rows = []
    for kind, words in (
        ("realised", "as labels show, this window"),
        ("prequential", "as labels show, newest rows (older ones fade)"),
        ("expected", "estimated without labels, this window"),
        ("reference", "on the reference"),
    ):
        found = said.performance.get(kind)
        if found is None or found["value"] is None:
            continue
        low, high = (_shown(found[end], about) for end in ("low", "high"))
        rows.append([words, _shown(found["value"], about), f"{low} to {high}"])
    heads = [f"{about.yardstick.unit.capitalize()}", "value", "95 % interval"]
    levels = "".join(
        f'<tr><td>{_e(name)}</td><td class="{_e(level)}">{_e(level)}</td></tr>'
        for name, level in explanation.ordered(said)
    )
    return f"<h2>Layers</h2><table>{levels}</table><h2>Performance</h2>{_table(heads, rows)}"


def _calibration(told: Told, about: Reference) -> list[str]:
    if told.realised is None or not about.yardstick.binary:
        return []
    cells = told.realised.get("calibration")
    now = Cells.from_facts(cells if isinstance(cells, list) else None)
    if not now.n.sum():
        return []
    words = "Share right against the probability that the model gave: reference grey, this window blue."
    return [f"<figure>{plots.reliability(about.yardstick.cells, now)}<figcaption>{words}</figcaption></figure>"]


def _slices(found: Sequence[Mapping[str, Any]], about: Reference) -> list[str]:
    if not found:
        return []
    rows = [
        [
            s["name"],
            f"{s['rows']:,}",
            _shown(s["value"], about),
            f"{_shown(s['low'], about)} to {_shown(s['high'], about)}",
            _shown(s["reference"], about),
        ]
        for s in found
    ]
    heads = ["Part of the traffic", "labelled rows", "now", "95 % interval", "reference"]
    return ["<h2>Parts of the traffic, the worst first</h2>", _table(heads, rows)]


def _fields(
    told: Told, about: Reference, then: Mapping[str, Any], now: Mapping[str, Any], opinions: Mapping[str, Any]
) -> list[str]:
    listed = explanation.fields(told)
    if not listed:
        return []
    scores = opinions.get("evidently") or {}
    rows = [
        [
            f["shown"] + (" (moved)" if f["moved"] else ""),
            f"{f['effect']:.3f}",
            f["unit"],
            f"{f['p']:.2g}",
            f.get("words", ""),
            _score(scores.get(f["name"])),
        ]
        for f in listed[: 2 * DRAWN]
    ]
    heads = ["Field", "effect", "unit", "p", "then → now", "Evidently's score"]
    if not scores:
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    moved = [f["name"] for f in listed if f["moved"]][:DRAWN] or [f["name"] for f in listed[:LEAST]]
    columns = {c.name: c for c in about.columns}
    if any(columns[n].kind == "vector" for n in moved if n in columns):
        # What the model sees in images cannot be drawn; the images can.
        moved += [c.name for c in about.columns if c.kind == "image" and c.name not in moved]
    drawn = [_figure(columns[n], then.get(n), now.get(n)) for n in moved if n in columns]
    more = f"<p class=muted>{len(listed) - len(rows):,} further fields.</p>" if len(listed) > len(rows) else ""
    legend = '<p class="muted">Reference grey, this window blue.</p>'
    return ["<h2>Fields</h2>", _table(heads, rows), more, *([legend, *drawn] if any(drawn) else [])]


def _figure(column: Column, then: Any, now: Any) -> str:
    if then is None or now is None:
        return ""
    if column.kind == "image":
        drawn = plots.images(then, now, column.shape)
    elif column.kind == "category":
        drawn = plots.categories(text(then), text(now))
    else:
        drawn = plots.numbers(then, now)
    return f"<figure>{drawn}<figcaption>{_e(explanation.shown_name(column.name))}</figcaption></figure>"


def _records(told: Told) -> str:
    late = sum(p.late for p in told.cut.pieces)
    keys = [p.key for p in told.cut.pieces][: explanation.FILES]
    more = f" and {len(told.cut.pieces) - len(keys):,} more" if len(told.cut.pieces) > len(keys) else ""
    lines = "<br>".join(_e(k) for k in keys)
    said = told.verdict
    earlier = [[str(v.k), v.verdict, f"{v.labelled:,}", v.words] for v in told.verdicts[-6:-1]]
    before = (
        f"<h2>Said before, with fewer labels</h2>{_table(['', 'verdict', 'labelled', 'words'], earlier)}"
        if earlier
        else ""
    )
    return (
        f'{before}<h2>Records</h2><p class="muted">windows/{_e(told.model)}/{_e(said.version)}/{said.window:08d}/ · '
        f"verdict {said.k} · reference {_e(told.cut.reference[:12])} · {len(told.cut.pieces)} pieces of log files, "
        f"{late} late:<br>{lines}{more}</p>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{_e(c)}</{tag}>' for c in cells)}</tr>"

    return f"<table>{row(heads, 'th')}{''.join(row(r, 'td') for r in rows)}</table>"


def _score(found: Mapping[str, Any] | None) -> str:
    if not found or found.get("score") is None:
        return ""
    return f"{found['score']:.3f} ({found['method']}, flags from {found['threshold']:g})"


def _shown(value: float | None, about: Reference) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if about.yardstick.binary else f"{value:.4g}"


def _e(value: object) -> str:
    return html.escape(str(value))
