"""The validation report: a small static HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from trimtab.core.profile import Column, Profile

STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:70em;color:#222}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .6em;border-bottom:1px solid #ddd}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.w{background:#fff6e0;padding:.4em .8em;margin:.3em 0}"
    "tr.dropped td{color:#888;text-decoration:line-through}"
)


def render(profile: Profile, dropped: Mapping[str, str], warnings: Sequence[str], kept: int, judge_rows: int) -> str:
    """The page.

    Args:
        profile: counts of all rows.
        dropped: field → why.
        warnings: sentences.
        kept: rows that go on.
        judge_rows: rows kept for judging.
    """
    fields = "".join(_row(c, dropped.get(name, "")) for name, c in profile.columns.items() if not c.field.private)
    hidden = sum(1 for c in profile.columns.values() if c.field.private)
    notes = "".join(f'<p class="w">{escape(w)}.</p>' for w in warnings) or "<p>Nothing to remark.</p>"
    left = profile.rows - kept
    return (
        f"<!doctype html><meta charset=utf-8><title>Validation</title><style>{STYLE}</style><h1>Validation</h1>"
        f"<p>{profile.rows:,} rows came in, {kept:,} go on, {left:,} were left out"
        f"{f'; {judge_rows:,} more are kept for judging' if judge_rows else ''}.</p>{notes}"
        "<h2>Fields</h2><table><tr><th>Field<th>Kind<th>Missing<th>From<th>To<th>Mean<th>Values<th>Remark</tr>"
        f"{fields}</table>"
        f"{f'<p>{hidden} private fields are not shown.</p>' if hidden else ''}"
        f"<h2>Target: {escape(profile.schema.target.name)}</h2>{_target(profile)}"
    )


def _row(column: Column, why: str) -> str:
    field = column.field
    numeric = field.kind in ("number", "image") and column.low <= column.high
    count = max(1, column.present * field.size)
    cells = (f"{column.low:g}", f"{column.high:g}", f"{column.total / count:.4g}") if numeric else ("", "", "")
    values = f"{len(column.counts):,}{'+' if column.overflow else ''}" if field.kind == "category" else ""
    figures = "".join(f"<td class=n>{cell}" for cell in (*cells, values))
    return (
        f"<tr{' class=dropped' if why else ''}><td>{escape(field.name)}<td>{field.kind}"
        f"<td class=n>{column.missing:,}{figures}<td>{escape(why)}</tr>"
    )


def _target(profile: Profile) -> str:
    column = profile.target
    if profile.schema.target.kind == "number":
        mean = column.total / max(1, column.present)
        return f"<p>From {column.low:g} to {column.high:g}, mean {mean:.4g} {escape(profile.schema.target.unit)}</p>"
    rows = "".join(
        f"<tr><td>{escape(c)}<td class=n>{n:,}<td class=n>{n / max(1, column.present):.1%}</tr>"
        for c, n in column.counts.most_common(50)
    )
    return f"<table><tr><th>Class<th>Rows<th>Share</tr>{rows}</table>"
