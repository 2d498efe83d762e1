"""The demo on the terminal: live while it runs, a table at the end."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from trimtab.demo.facts import Facts, Window

COLOURS = {"none": "green", "watch": "yellow", "drift": "bold red"}


class View(AbstractContextManager["View"]):
    """Progress, current version, last windows and drift state; plain lines where there is no terminal.

    Args:
        console: where to draw; stderr when stdout carries JSON.
        total: rows that will be replayed.
    """

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self.task = self.progress.add_task("replay", total=total)
        self.windows: list[Window] = []
        self.status = ""
        self._since = time.monotonic()
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> View:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def advance(self, rows: int) -> None:
        """So many further rows were answered."""
        self.progress.advance(self.task, rows)

    def say(self, status: str) -> None:
        """What is going on now; a line of its own where there is no terminal."""
        if status == self.status:
            return
        self.status, self._since = status, time.monotonic()
        if status and not self.console.is_terminal:
            self.console.print(f"  {status}", highlight=False)

    def window(self, window: Window) -> None:
        """A window is over."""
        self.windows.append(window)
        if not self.console.is_terminal:
            self.console.print(
                f"window {window.window:2d}: served {window.served_accuracy:6.1%}, "
                f"first version alone {window.static_accuracy:6.1%}, {window.version}, {window.verdict or '-'}",
                highlight=False,
            )

    def _draw(self) -> RenderableType:
        line = Text()
        if self.windows:
            last = self.windows[-1]
            line.append(f"serving {last.version}  ")
            line.append(f"last window {last.served_accuracy:.1%}  ")
            line.append(f"verdict {last.verdict or '-'}", style=COLOURS.get(last.verdict, ""))
        waiting = Text(f"{self.status} ({time.monotonic() - self._since:.0f} s)" if self.status else "", style="cyan")
        return Group(self.progress, table(self.windows[-8:]), line, waiting)


def table(rows: list[Window]) -> Table:
    """Windows as a table: both accuracies, version, verdict, campaign and the alert that opened it."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("window", "right"), ("rows", "right"), ("first alone", "right"), ("served", "right"),
                          ("version", "left"), ("verdict", "left"), ("campaign", "left"),
                          ("trigger", "left")):  # fmt: skip
        grid.add_column(name, justify=justify)  # type: ignore[arg-type]
    for w in rows:
        better = w.served_accuracy > w.static_accuracy
        grid.add_row(
            str(w.window),
            str(w.rows),
            f"{w.static_accuracy:.1%}",
            Text(f"{w.served_accuracy:.1%}", style="green" if better else ""),
            w.version + (f" +{len(w.versions) - 1}" if len(w.versions) > 1 else ""),
            Text(w.verdict or "-", style=COLOURS.get(w.verdict, "")),
            "" if w.campaign is None else f"#{w.campaign} opens",
            # Who raised the alert; which one it was stands below the table.
            w.trigger.partition("(")[2].removesuffix(")") or w.trigger,
        )
    return grid


def summary(console: Console, facts: Facts) -> None:
    """The final table and totals."""
    console.print(table(facts.windows))
    console.print()
    grid = Table.grid(padding=(0, 2))
    grid.add_row("first version alone", f"{facts.static_accuracy:.1%} right")
    grid.add_row("served", f"[bold]{facts.served_accuracy:.1%} right[/], {facts.fewer_errors:.0%} fewer errors")
    grid.add_row(
        "campaigns",
        f"{len(facts.campaigns)} with {facts.retrains} retrains: {facts.promotions} promoted, "
        f"{facts.rejections} rejected",
    )
    grid.add_row("requests", f"{facts.requests}, {facts.failed_requests} failed")
    if facts.alarm_to_serving_seconds:
        shown = ", ".join(f"{s:.0f} s" for s in facts.alarm_to_serving_seconds)
        grid.add_row("alarm to new version serving", shown)
    if triggers := dict.fromkeys(c["trigger"] for c in facts.campaigns if c.get("trigger")):
        grid.add_row("opened by", ", ".join(triggers))
    if facts.alerts:
        fired = dict.fromkeys(f"{a['alert']} ({a['severity']})" for a in facts.alerts)
        grid.add_row("alerts that fired", ", ".join(fired))
    grid.add_row("time", f"{facts.wall_seconds:.0f} s, of it {facts.pipeline_seconds:.0f} s the first pipeline run")
    console.print(grid)
    console.print()
    console.print(f"Picture:  {facts.picture}", soft_wrap=True, highlight=False)
    for report in facts.reports:
        console.print(f"Report:   {report}", soft_wrap=True, highlight=False)
    console.print(f"Store:    {facts.store}", soft_wrap=True, highlight=False)
