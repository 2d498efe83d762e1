"""`trimtab run`: train, select, export and publish on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.pipelines.local import RunOutcome


def run(
    file: Annotated[Path, typer.Argument(help="the project file")] = Path("project.yaml"),
    candidate: Annotated[list[str] | None, typer.Option(help="train this candidate alone (may be repeated)")] = None,
    reason: Annotated[str, typer.Option(help="why, in words, for the record")] = "",
    data: Annotated[str, typer.Option(help="another source than the file's, as text or JSON")] = "",
    hold: Annotated[bool, typer.Option("--hold", help="publish, and ask for no rollout")] = False,
    again: Annotated[bool, typer.Option("--again", help="run once more what has succeeded before")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """Run a project's pipeline on this machine; one that was stopped goes on where it stopped."""
    import json

    from trimtab.core import settings as environment
    from trimtab.core.project import load_project
    from trimtab.pipelines.local import run_local, step_names
    from trimtab.pipelines.show import RunView

    settings = environment.load()
    project = load_project(file)
    release: Literal["ask", "hold"] = "hold" if hold else "ask"
    names = candidate or None
    with RunView(step_names(project, names), quiet=as_json) as view:
        outcome = run_local(
            project,
            settings.store,
            data=source_of(data),
            reason=reason,
            release=release,
            again=again,
            candidates=names,
            progress=view.tell,
        )
    facts = {**_facts(project, settings.store, outcome), "release": release}
    if release == "ask" and outcome.version:
        facts["rollout"] = _promote_first(settings.store, project.name)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        from trimtab.pipelines.show import ending

        ending(facts)


def source_of(text: str) -> Any:
    """What `--data` names: JSON where it is some, else the text itself."""
    import json

    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _facts(project: Project, store_url: str, outcome: RunOutcome) -> dict[str, Any]:
    from dataclasses import asdict

    from trimtab.core.store import open_store
    from trimtab.pipelines.show import beside

    log = str(outcome.log) if outcome.log else ""
    told = beside(open_store(store_url), project.name, outcome.key, outcome.version)
    return {**asdict(outcome), "store": store_url, "log": log, **told}


def _promote_first(store_url: str, model: str) -> list[str]:
    """What the ledger took without evidence, where no hook answers: a model's first version."""
    from trimtab.core.store import open_store
    from trimtab.monitoring import controller

    return list(controller.append_without_evidence(open_store(store_url), model))
