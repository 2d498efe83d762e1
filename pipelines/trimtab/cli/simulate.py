"""`trimtab simulate`: what watching and retraining would have done on a labelled table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

FOOTNOTE = (
    "A project gets what trimtab_drift shows, its default (`campaign.opens: drift`), or what trimtab shows with "
    "`campaign.opens: gain`."
)


def simulate(
    stream: Annotated[Path, typer.Argument(help="Parquet (or CSV) table of labelled rows, in order of time.")],
    label: Annotated[str, typer.Option(help="Column to predict; else `label`, `target`, … or the last one.")] = "",
    time: Annotated[str, typer.Option(help="Column to sort by; by default the rows are in order.")] = "",
    train_rows: Annotated[int, typer.Option(help="Rows of the first training; by default by the length.")] = 0,
    window: Annotated[int, typer.Option(help="Rows of a window; by default by the length.")] = 0,
    label_delay: Annotated[int, typer.Option(help="Rows until a label is known.")] = 0,
    model: Annotated[
        str,
        typer.Option(
            help="logistic, hist_gradient_boosting, or a candidate: linear, mlp, cnn; by default the "
            "better of the first two on the training rows."
        ),
    ] = "",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="static, every, every_last, adwin, ddm, hddm, hddm_w, page_hinkley, trimtab, trimtab_drift, or a "
            "file with a `campaign` block; may be repeated."
        ),
    ] = None,
    retrain_cost: Annotated[float, typer.Option(min=0, help="Wrong answers that one retrain costs as much as.")] = 0.0,
    task: Annotated[str, typer.Option(help="classification or regression; by default seen from the label.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Replay a table through the code that watches and decides, and compare ways of retraining."""
    import json

    from rich.console import Console

    from trimtab.core.errors import ProjectError
    from trimtab.monitoring.simulate.load import load
    from trimtab.monitoring.simulate.run import POLICIES, Options
    from trimtab.monitoring.simulate.run import simulate as replay

    if task not in ("", "classification", "regression"):
        raise ProjectError("no such task", object="--task", expected="classification or regression", got=task)
    for name, value in (("--train-rows", train_rows), ("--window", window)):
        if value < 0:
            raise ProjectError("a number of rows cannot be negative", object=name, got=str(value))
    loaded = load(stream, label, time, task)  # type: ignore[arg-type]
    options = Options(train_rows, window, label_delay, model, tuple(policy or POLICIES), retrain_cost)
    console = Console(stderr=True)
    with console.status("reading") as status:
        found = replay(loaded.stream, options, lambda name: status.update(f"{name}: {len(loaded.stream):,} rows"))
    found["left_out"] = list(loaded.notes)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    """The table for people."""
    from rich.console import Console
    from rich.table import Table

    from trimtab.monitoring.simulate.run import OURS

    console = Console()
    console.print(
        f"{found['stream']}: {found['rows']:,} rows, {found['features']} features, {found['task']}; model "
        f"{found['model']}, first trained on {found['train_rows']:,} rows, windows of {found['window']:,} "
        f"(watched in {found['watch_window']:,}), labels {found['label_delay']:,} rows late."
    )
    for note in found["left_out"]:
        console.print(f"  {note}")
    classify = found["task"] == "classification"
    table = Table(box=None, pad_edge=False)
    for name in ("policy", "accuracy %" if classify else "error saved %", "retrains", "delay rows", "false campaigns"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, facts in found["policies"].items():
        delay = "" if facts["delay"] is None else f"{facts['delay']:,.0f}"
        false = "" if name == "static" else str(facts["false_campaigns"])
        table.add_row(name, f"{facts['accuracy']:.2f}", str(facts["retrains"]), delay, false)
    table.add_row("no change", f"{found['no_change_predictor']['accuracy']:.2f}", "", "", "")
    console.print(table)
    for name, keys in found["not_replayed"].items():
        console.print(f"{name}: a replay does not heed {', '.join(keys)}.", markup=False)
    if any(name in OURS for name in found["policies"]):
        console.print(FOOTNOTE)
    if not classify:
        console.print("error saved: mean absolute error less than that of the training rows' median, as a part of it")
