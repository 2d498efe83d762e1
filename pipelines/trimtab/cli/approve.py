"""`trimtab approve`: a campaign that waits for a person may train."""

from __future__ import annotations

from typing import Annotated

import typer


def approve(
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    why: Annotated[str, typer.Option(help="The reason, for those who read it later.")] = "",
) -> None:
    """Let the open campaign of a model train, where its project file asks for approval."""
    from trimtab.cli.which import open_model, person
    from trimtab.core.errors import ProjectError
    from trimtab.monitoring import campaign

    _, store, name = open_model(model)
    found = campaign.state(store, name)
    see = f"see: trimtab status {name}"
    if found is None or found.closed:
        raise ProjectError("no campaign is open", object=name, hint=see)
    if not campaign.waits_for_approval(store, name, found):
        raise ProjectError(
            f"campaign {found.n} waits for no approval",
            object=name,
            expected="a campaign that waits for one (`campaign.approval: true` in the project file)",
            got=campaign.waiting(store, name, found) or f"one that is {found.phase}",
            hint=see,
        )
    campaign.control(store, name, "approve", who=person(), why=why, campaign=found.n)
    typer.echo(f"campaign {found.n} of {name} is approved")
