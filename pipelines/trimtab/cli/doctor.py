"""`trimtab doctor`: what usually goes wrong, looked at from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trimtab.doctor import Finding

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "not looked at": "dim"}


def doctor(
    prometheus: Annotated[str, typer.Option(help="Base URL of a Prometheus: are we scraped, are rules loaded?")] = "",
    alertmanager: Annotated[str, typer.Option(help="Base URL of an Alertmanager: do alerts reach the hook?")] = "",
    host: Annotated[
        str, typer.Option(help="Base URL of Kubeflow Pipelines' API.", envvar="KF_PIPELINES_ENDPOINT")
    ] = "",
    kubernetes: Annotated[
        bool | None, typer.Option(help="Look at Kubernetes (KUBECONFIG, or the pod's account); by default in a pod.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of watch, hook and servers; looks at Kubernetes too.")] = "",
    runs_in: Annotated[
        str, typer.Option(help="Namespace in which pipelines' pods run.", envvar="TRIMTAB_KUBEFLOW_NAMESPACE")
    ] = "",
    kubeflow_in: Annotated[str, typer.Option(help="Namespace in which Kubeflow Pipelines is installed.")] = "kubeflow",
    kserve_in: Annotated[str, typer.Option(help="Namespace in which KServe is installed.")] = "kserve",
    as_json: Annotated[bool, typer.Option("--json", help="The same findings as JSON.")] = False,
) -> None:
    """Look at everything that usually goes wrong, and say what to do; exits with 1 where something failed."""
    import json
    from dataclasses import asdict

    from trimtab.core.settings import load
    from trimtab.doctor import examine
    from trimtab.doctor.checks import Where
    from trimtab.doctor.kube import in_pod

    for name, url in (("--prometheus", prometheus), ("--alertmanager", alertmanager), ("--host", host)):
        _check_url(name, url)
    wanted = kubernetes if kubernetes is not None else bool(namespace) or in_pod()
    where = Where(load(), prometheus, alertmanager, host, wanted, "", namespace, runs_in, kubeflow_in, kserve_in)
    findings: list[Finding] = []
    for finding in examine(where):
        findings.append(finding)
        if not as_json:
            _show(finding)
    failed = sum(finding.state == "failed" for finding in findings)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        warnings = sum(finding.state == "warning" for finding in findings)
        typer.echo(f"{failed} failed, {warnings} {'warning' if warnings == 1 else 'warnings'}")
    if failed:
        raise typer.Exit(1)


def _check_url(name: str, url: str) -> None:
    from trimtab.core.errors import ProjectError
    from trimtab.core.urls import without_secrets

    if without_secrets(url, name) and not url.startswith(("http://", "https://")):
        raise ProjectError("that is no URL", object=name, expected="http://host:port", got=repr(url))


def _show(finding: Finding) -> None:
    from rich.console import Console
    from rich.text import Text

    state, check = (f"{finding.state:<14}", COLOURS[finding.state]), (f"{finding.check:<17} ", "bold")
    line = Text.assemble(state, check, finding.says)
    console = Console(soft_wrap=True, highlight=False)
    console.print(line)
    if finding.hint:
        console.print(Text(f"{'':<14}{'':<18}{finding.hint}", "italic"))
