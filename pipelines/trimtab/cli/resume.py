"""`trimtab resume`: a paused model's campaigns go on."""

from __future__ import annotations

from typing import Annotated

import typer


def resume(
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    why: Annotated[str, typer.Option(help="The reason, for those who read it later.")] = "",
) -> None:
    """Let a paused model's campaigns go on."""
    from trimtab.cli.which import open_model, person
    from trimtab.monitoring import campaign

    _, store, name = open_model(model)
    campaign.control(store, name, "resume", who=person(), why=why)
    typer.echo(f"campaigns of {name} go on")
