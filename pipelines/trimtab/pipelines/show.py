"""A run on the terminal: a line for each step while it runs, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from trimtab.core import runs

if TYPE_CHECKING:
    from trimtab.core.store import Store
    from trimtab.pipelines.local import Progress
    from trimtab.pipelines.steps import Step

MOST_WARNINGS = 8
_MARKS = {"": ("·", "dim"), "done": ("✓", "green"), "cached": ("↺", "cyan"), "failed": ("✗", "red")}


class RunView:
    """Shows the steps of a run as they go; to no terminal, a line as each step ends.

    Args:
        steps: the steps to come, in order.
        quiet: show nothing.
    """

    def __init__(self, steps: Sequence[Step], *, quiet: bool = False) -> None:
        self._steps = {s.name: ("", 0.0, "") for s in steps}  # state, since or seconds, words
        self._console = Console(stderr=True, soft_wrap=True)
        self._quiet = quiet
        self._live = None if quiet or not self._console.is_terminal else Live(console=self._console, transient=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self._live.update(self._table())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()

    def tell(self, told: Progress) -> None:
        """Take in that a step changed its state."""
        name = told.step.name
        if told.state == "started":
            self._steps[name] = ("started", time.monotonic(), "")
        else:
            seconds = float((told.record.get("cost") or {}).get("wall_seconds", 0.0))
            self._steps[name] = (told.state, seconds, _words(told))
        if self._live is not None:
            self._live.update(self._table())
        elif not self._quiet and told.state != "started":
            state, seconds, words = self._steps[name]
            self._console.print(f"{_MARKS[state][0]} {name:<20}{seconds:7.1f} s  {words}", style=None, highlight=False)

    def say(self, text: str) -> None:
        """Say something beside the steps."""
        if not self._quiet:
            self._console.print(text, style="yellow", highlight=False, markup=False)

    def _table(self) -> RenderableType:
        table = Table(box=None, show_header=False, padding=(0, 1))
        for name, (state, value, words) in self._steps.items():
            if state == "started":
                table.add_row(Spinner("dots", style="yellow"), name, f"{time.monotonic() - value:.1f} s", "")
            else:
                mark, style = _MARKS[state]
                spent = f"{value:.1f} s" if state in ("done", "failed") else ""
                table.add_row(Text(mark, style=style), Text(name, style="" if state else "dim"), spent, words)
        return Group(table)


def _words(told: Progress) -> str:
    if told.state == "failed":
        return ""
    figures = told.record.get("figures") or {}
    shown = [f"{k} {_short(v)}" for k, v in figures.items() if isinstance(v, int | float | str) and _short(v)]
    if told.state == "cached":
        cached = told.record.get("cached") or told.record
        source = str(cached.get("source", "")).split("/")
        whose = f" of run {source[1]}" if len(source) > 1 else ""
        return f"from the cache{whose}: {cached.get('why', '')}"
    return ", ".join(shown[:4])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 32 else ""


def warnings_of(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a run's stages warn about in its data, in the stages' order, each once.

    Args:
        results: as `core.runs.stage_results` gives them.
    """
    told = [
        w for stage in ("ingest", "validate") for w in results.get(stage, {}).get("figures", {}).get("warnings", ())
    ]
    return list(dict.fromkeys(map(str, told)))


def beside(store: Store, model: str, key: str, version: str) -> dict[str, Any]:
    """What `ending` tells beside a run's result: `model`, `warnings`, and `report`, the report's address or nothing."""
    report = f"models/{model}/versions/{version}/report.html"
    return {
        "model": model,
        "warnings": warnings_of(runs.stage_results(store, key)),
        "report": f"{store.url.rstrip('/')}/{report}" if version and store.exists(report) else "",
    }


def _remarks(warnings: Sequence[str]) -> Iterator[Text]:
    """The first warnings, a line each."""
    for line in warnings[:MOST_WARNINGS]:
        yield Text(f"  ! {line}", style="yellow")
    if len(warnings) > MOST_WARNINGS:
        yield Text(f"  ! and {len(warnings) - MOST_WARNINGS:,} more (--json has them all)", style="yellow")


def ending(facts: dict[str, Any]) -> None:
    """Say how a run ended: version, figures, what to know about the data, where the report is, what next."""
    console = Console(soft_wrap=True, highlight=False)
    if facts["repeated"]:
        console.print(
            f"Run [bold]{facts['key']}[/] has succeeded before on the same project, data and code: nothing was done "
            "(--again runs it once more)."
        )
    if not facts["version"]:
        console.print(f"Run {facts['key']} ended without a version.")
        for line in _remarks(facts.get("warnings", ())):
            console.print(line)
        return
    console.print(
        f"[green]✓[/] [bold]{facts['model']} {facts['version']}[/] ({facts['winner']}) in {facts['seconds']:.1f} s"
    )
    figures = {k: v for k, v in facts["figures"].items() if isinstance(v, float)}
    console.print("  " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()) + " on the sealed test")
    for gate, held in (facts["figures"].get("gates") or {}).items():
        console.print(f"  [green]✓[/] {gate}" if held else f"  [red]✗[/] {gate}: it is kept, and does not serve")
    if facts["cached"]:
        console.print(f"  {len(facts['cached'])} stages came from the cache: {', '.join(facts['cached'])}")
    for line in _remarks(facts.get("warnings", ())):
        console.print(line)
    if facts["report"]:
        console.print(f"  report: {facts['report']}")
    for told in facts.get("rollout", []):
        console.print(f"  {told}")
    console.print(f"  next: trimtab serve {facts['model']}")
