"""The arguments in our manifests are ones that the commands take: what a typing mistake would cost a pod."""

from __future__ import annotations

from tests.manifests.kustomize import build, named


def test_their_arguments_are_ones_that_the_commands_take() -> None:
    import typer.main

    from trimtab.cli.commands import PANELS  # noqa: F401 - the command line is whole

    for name in ("trimtab-watch", "trimtab-hook"):
        (container,) = named(build("manifests/base"), "Deployment", name)["spec"]["template"]["spec"]["containers"]
        command = container["args"][0]
        module = __import__(f"trimtab.cli.{command}", fromlist=[command])
        app = typer.Typer()
        app.command()(getattr(module, command))
        known = {o for p in typer.main.get_command(app).params for o in p.opts}
        asked = {a.split("=")[0] for a in container["args"][1:] if a.startswith("--")}
        assert asked <= known, command
