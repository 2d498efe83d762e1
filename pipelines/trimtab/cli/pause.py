"""`trimtab pause`: nothing is retrained for a model until it is resumed."""

from __future__ import annotations

from typing import Annotated

import typer


def pause(
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    why: Annotated[str, typer.Option(help="The reason, for those who read it later.")] = "",
) -> None:
    """Open no campaign for a model, and hold the open one, until `trimtab resume`."""
    from trimtab.cli.which import open_model, person
    from trimtab.monitoring import campaign

    _, store, name = open_model(model)
    campaign.control(store, name, "pause", who=person(), why=why)
    typer.echo(f"campaigns of {name} are paused; `trimtab resume {name}` goes on")
