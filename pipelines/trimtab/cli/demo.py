"""`trimtab demo`: the main job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from trimtab.core import settings as settings_module
from trimtab.core.errors import ProjectError


def example_project() -> Path:
    """The digits example: beside the code in a clone, inside the package in an installation."""
    here = Path(__file__).resolve()
    for folder in (here.parents[3] / "examples" / "digits", here.parents[1] / "demo" / "digits"):
        if (folder / "project.yaml").exists():
            return folder / "project.yaml"
    raise ProjectError("the digits example is not where it should be", object=str(here.parents[3] / "examples"))


def demo(
    live: Annotated[bool, typer.Option("--live", help="Never wait for verdicts or retraining.")] = False,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Permute all images first: no drift.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the permutation.")] = 0,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second at most, 0 for no limit; 25 with --live.", min=0.0)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the facts as JSON here.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server up until Ctrl-C.")] = False,
    prometheus: Annotated[
        bool,
        typer.Option("--prometheus", help="Send alarms through a real Prometheus and Alertmanager (make servers)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Run the whole loop here: train, serve, replay real images, notice drift, retrain, judge, promote.

    scikit-learn's digits in file order: 13 writers follow each other, so a model trained on the first 276 images
    meets new writers. Nothing is mocked: the pipeline, the server, the watch and the retrain hook are those that
    you would use. Needs no network, no Docker, no Kubernetes.
    """
    from rich.console import Console

    from trimtab.core.project import load_project
    from trimtab.demo.loop import Demo, Options
    from trimtab.demo.processes import interrupts_as_exceptions, interrupts_deferred
    from trimtab.demo.view import summary
    from trimtab.demo.workspace import make_workspace

    if out is not None and not out.resolve().parent.is_dir():
        raise ProjectError("the folder for --out does not exist", object=str(out), hint="make it first")
    console = Console(stderr=as_json)
    path = example_project()
    workspace = make_workspace(settings_module.load())
    pace = rate if rate is not None else (25.0 if live else 0.0)
    options = Options(path, live=live, shuffle=shuffle, seed=seed, rate=pace, keep=keep, prometheus=prometheus)
    job = Demo(workspace, load_project(path), options, console)
    with interrupts_as_exceptions():
        try:
            facts = job.run()
            if out is not None:
                out.write_text(json.dumps(facts.as_json(), indent=1) + "\n")
            if as_json:
                sys.stdout.write(json.dumps(facts.as_json()) + "\n")
            summary(console, facts)
            if keep:
                job.wait_until_interrupted()
        except KeyboardInterrupt:
            console.print("Interrupted: ending the processes. Nothing is left behind but the store's history.")
            raise
        finally:
            with interrupts_deferred():
                job.close()
