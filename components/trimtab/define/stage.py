"""State the problem and the gates before any data is seen.

Writing the success criteria down first keeps the sealed test honest: select compares with what stands here, and
nobody moves the bar after seeing the scores (Google's Rules of Machine Learning, rule 2; CRISP-DM's first phase).
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.core.project import Project

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 sans-serif;margin:2rem;max-width:46rem}}td,th{{padding:.2rem .8rem;text-align:left}}
th{{border-bottom:1px solid #999}}</style></head><body>
<h1>{title}</h1><p>{statement}</p>
<h2>Good enough</h2>{gates}
<h2>Inputs</h2>{fields}
</body></html>
"""


@dataclass(frozen=True)
class Definition:
    """The problem in words and figures.

    Attributes:
        statement: what is predicted from what, in one or two sentences.
        gates: what the winner must reach on the sealed test, each in words.
        html: both as a page, the same for the same project.
    """

    statement: str
    gates: tuple[str, ...]
    html: str


def define(project: Project) -> Definition:
    """The definition of a project's problem.

    Args:
        project: the project file.

    Returns:
        Statement, gates and the page that shows them.
    """
    schema = project.schema()
    target = schema.target
    if project.task.kind == "classification":
        of = f" ({', '.join(target.classes)})" if target.classes else ""
        goal = f"the class {target.name}{of}"
    else:
        goal = f"the number {target.name}{f' ({target.unit})' if target.unit else ''}"
    features = [f.name for f in schema.features]
    shown = ", ".join(features[:8]) + (f" and {len(features) - 8} more" if len(features) > 8 else "")
    names = list(project.candidates)
    statement = project.task.statement or (
        f"{project.name} predicts {goal} from {shown}. "
        f"{len(names)} candidate{'s' if len(names) != 1 else ''} ({', '.join(names)}) "
        f"{'compete' if len(names) != 1 else 'runs'} on {project.metric}; "
        "the winner is tested once, on rows that nothing has seen before."
    )
    gates = _gates(project)
    rows: list[tuple[str, ...]] = [
        (f.name, f.kind, f.unit or "", "may be missing" if f.nullable else "", f.description or "")
        for f in schema.fields
    ]
    page = _PAGE.format(
        title=html.escape(project.name),
        statement=html.escape(statement),
        gates="<ul>" + "".join(f"<li>{html.escape(g)}</li>" for g in gates) + "</ul>"
        if gates
        else "<p>No gate is set: the best candidate is released as it is.</p>",
        fields=_table(("field", "kind", "unit", "", "meaning"), rows),
    )
    return Definition(statement, gates, page)


def _gates(project: Project) -> tuple[str, ...]:
    gates = project.gates
    words = [f"{name} at least {value:g}" for name, value in sorted(gates.at_least.items())]
    words += [f"{name} at most {value:g}" for name, value in sorted(gates.at_most.items())]
    if gates.beats_baseline:
        words.append("better than the naive baseline")
    return tuple(words)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(r, "td") for r in rows) + "</table>"
