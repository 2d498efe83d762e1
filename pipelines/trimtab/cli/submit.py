"""`trimtab submit`: run a project on a Kubeflow cluster, once or again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.kubeflow import Header, Host, Namespace, TokenFile

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.settings import Settings
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_submit import Submitted


def submit(
    file: Annotated[Path, typer.Argument(help="the project file")] = Path("project.yaml"),
    wait: Annotated[bool, typer.Option("--wait", help="follow the run to its end; the exit code tells how")] = False,
    image: Annotated[str, typer.Option(help="the stages' image by digest [default: TRIMTAB_STAGE_IMAGE]")] = "",
    data: Annotated[str, typer.Option(help="another source than the file's, as text or JSON")] = "",
    reason: Annotated[str, typer.Option(help="why, in words, for the record")] = "",
    release: Annotated[str, typer.Option(help="ask for a rollout of what passes, or hold it")] = "ask",
    again: Annotated[bool, typer.Option("--again", help="run once more what has succeeded before")] = False,
    timeout: Annotated[float, typer.Option(min=0.0, help="minutes to wait at most; 0 waits for ever")] = 0.0,
    every: Annotated[str, typer.Option(help="again and again, e.g. 6h, 30m or 1d")] = "",
    cron: Annotated[str, typer.Option(help="again and again, by six fields (seconds first)")] = "",
    name: Annotated[str, typer.Option(help="the schedule's name [default: the project's]")] = "",
    host: Host = "",
    namespace: Namespace = "",
    experiment: Annotated[str, typer.Option(help="Kubeflow's experiment [default: trimtab]")] = "",
    service_account: Annotated[str, typer.Option(help="of the run's pods [default: the installation's]")] = "",
    token_file: TokenFile = "",
    header: Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """Run a project on a Kubeflow cluster; one that runs already is followed, one that has succeeded is told."""
    from trimtab.cli.kubeflow import connect, shared_store
    from trimtab.cli.run import source_of
    from trimtab.core import settings as environment
    from trimtab.core.errors import ProjectError, RunRefused
    from trimtab.core.project import load_project
    from trimtab.pipelines import kubeflow_submit
    from trimtab.pipelines.compile import pinned
    from trimtab.pipelines.kubeflow_schedule import cron_of, schedule, seconds_of
    from trimtab.pipelines.kubeflow_upload import IMAGE_HINT

    settings = environment.load()
    project = load_project(file)
    if release not in ("ask", "hold"):
        raise ProjectError("option --release", expected="ask or hold", got=release)
    kind: Literal["ask", "hold"] = "hold" if release == "hold" else "ask"
    image = image or settings.stage_image
    if not image:
        raise RunRefused("there is no image for the stages", object=project.name, hint=IMAGE_HINT)
    if every and cron:
        raise ProjectError("a schedule is --every or --cron, not both")
    of_one_run = {"--wait": wait, "--again": again, "--timeout": timeout}
    for option in (o for o, given in of_one_run.items() if given and (every or cron)):
        raise ProjectError(f"option {option} is of one run, and a schedule starts many", hint="leave one of them out")
    if name and not (every or cron):
        raise ProjectError("option --name is a schedule's, and there is none", hint="give --every or --cron, too")
    # What is wrong with the command is told first, whether or not anything answers.
    pinned(image)
    seconds = seconds_of(every) if every else 0
    cron = cron_of(cron) if cron else ""
    source = source_of(data)
    kubeflow = connect(settings, host, namespace, token_file, header)
    kubeflow.access.current()
    store = shared_store(settings)
    common: dict[str, Any] = {
        "image": image,
        "data": source,
        "reason": reason,
        "release": kind,
        "experiment": experiment or settings.kubeflow.experiment,
        "service_account": service_account,
        "s3_ca": settings.s3.ca_config_map,
    }
    if every or cron:
        made = schedule(kubeflow, store, project, cron=cron, every_seconds=seconds, name=name, **common)
        _say({"schedule": made.name, "id": made.id, "when": made.when}, as_json,
             f"schedule {made.name} starts {project.name} {made.when}; trimtab runs --schedules lists it")  # fmt: skip
        return
    told = (lambda _: None) if as_json else (lambda text: typer.echo(text, err=True))
    found = kubeflow_submit.submit(kubeflow, store, project, again=again, told=told, **common)
    facts = {"key": found.key, "run": found.run_id, "url": found.url, "version": found.version, "found": found.found}
    words = {"new": "started", "running": "is at work already", "done": "has succeeded before (--again repeats it)"}
    if found.found == "done":
        _ended(settings, store, project, found, facts, as_json)
        return
    line = f"run {found.key} {words[found.found]}: {found.url}"
    if not wait:
        _say(facts, as_json, f"{line}\n`trimtab runs {found.key}` shows it, `trimtab cancel {found.key}` ends it")
        return
    if not as_json:
        typer.echo(line, err=True)
    _wait(settings, store, kubeflow, project, found, timeout * 60 or None, as_json)
    _ended(settings, store, project, found, facts, as_json)


def _wait(
    settings: Settings, store: Store, kubeflow: Kubeflow, project: Project, found: Submitted, timeout: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    from trimtab.cli.kubeflow import pods
    from trimtab.pipelines.kubeflow_follow import Follower
    from trimtab.pipelines.local import step_names
    from trimtab.pipelines.show import RunView

    with RunView(step_names(project), quiet=as_json) as view:
        follower = Follower(kubeflow, store, settings, found.key, pods(kubeflow), view.tell, view.say,
                            run_seconds=found.run_seconds)  # fmt: skip
        try:
            follower.follow(found.run_id, timeout)
        except KeyboardInterrupt:
            view.say(f"the run goes on at {found.url}; `trimtab cancel {found.key}` ends it")
            raise


def _ended(
    settings: Settings, store: Store, project: Project, found: Submitted, facts: dict[str, Any], as_json: bool
) -> None:
    """Tell what came out, as `trimtab run` does."""
    from trimtab.core import runs
    from trimtab.pipelines.show import beside, ending

    done = runs.result(store, found.key) or {}
    version = str(done.get("version", ""))
    whole = {
        **facts,
        **beside(store, project.name, found.key, version),
        "store": settings.store,
        "state": done.get("state", "succeeded"),
        "version_of_model": version,
        "winner": done.get("winner", ""),
        "figures": done.get("figures", {}),
        "cached": done.get("cached", []),
        "seconds": done.get("seconds"),
    }
    if as_json:
        _say(whole, True, "")
        return
    ending({**whole, "version": version, "repeated": found.found == "done", "seconds": done.get("seconds") or 0.0})


def _say(facts: dict[str, Any], as_json: bool, line: str) -> None:
    import json

    typer.echo(json.dumps(facts, ensure_ascii=False) if as_json else line)
