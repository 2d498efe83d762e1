"""The runbooks as pages: on-call reads them where the alert's link leads, with nothing else at hand."""

from __future__ import annotations

from pathlib import Path

from trimtab.monitoring.markup import document, link, table

# In an installed package beside this file, in a checkout two folders up.
PLACES = (Path(__file__).parent / "runbooks", Path(__file__).resolve().parents[2] / "runbooks")


def folder() -> Path | None:
    """Where the runbooks are; None where this installation has none."""
    return next((p for p in PLACES if p.is_dir()), None)


def names() -> list[str]:
    """The alerts that have a runbook, sorted."""
    place = folder()
    return sorted(p.stem for p in place.glob("*.md")) if place else []


def page(name: str) -> str | None:
    """A runbook as HTML; None where there is none of that name."""
    place = folder()
    if place is None or name not in names():
        return None
    from markdown_it import MarkdownIt

    # `js-default` takes no HTML from the text and no link that is a script.
    rendered = MarkdownIt("js-default").enable("table").render((place / f"{name}.md").read_text(encoding="utf-8"))
    return document(f"Runbook: {name}", f'<p><a href="/runbooks/">All runbooks</a></p>{rendered}')


def index() -> str:
    """The list of runbooks."""
    return document("Runbooks", table(["Alert"], ([link(f"/runbooks/{name}", name)] for name in names())))
