"""The commands put together, in panels of the help page."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

# Panel of the help page → its commands, in the order that a user meets them. A command `x` is the function `x`
# of the module `trimtab.cli.x`; those modules import nothing heavy.
PANELS: dict[str, tuple[str, ...]] = {
    "Start": ("demo", "doctor", "init", "check", "setup", "copy"),
    "Train": ("run", "compile", "submit", "runs", "logs", "cancel", "prune"),
    "Serve and watch": ("serve", "keys", "watch", "hook", "label"),
    "See": ("status", "explain", "drift", "history"),
    "Compare": ("simulate",),
    "Steer": ("rollback", "promote", "pause", "resume", "approve"),
}


def make_app(only: str = "") -> typer.Typer:
    """The command line.

    Args:
        only: the one command that is asked for: the others then cost no start-up time. By default all.
    """
    app = typer.Typer(
        name="trimtab",
        help="Trains a model, serves it, notices when the world drifts away from it, and brings it back.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for panel, names in PANELS.items():
        for name in names:
            if only in {"", name}:
                module = importlib.import_module(f"trimtab.cli.{name}")
                vars(module).setdefault("typer", typer)  # where a command is read without Typer; see `quick`
                app.command(name=name, rich_help_panel=panel, no_args_is_help=False)(getattr(module, name))
    return app


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"trimtab {version('trimtab')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""
