"""`trimtab promote`: a version serves at once, by hand."""

from __future__ import annotations

from typing import Annotated

import typer


def promote(
    version: Annotated[str, typer.Argument(help="The version, e.g. v3-0a1b2c3d.")],
    model: Annotated[str, typer.Option(help="The model; may be left out where the store has one.")] = "",
    why: Annotated[str, typer.Option(help="The reason, for the history.")] = "by hand",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait until it serves.")] = 60.0,
    actuator: Annotated[
        str, typer.Option(help="`kserve`: where no hook answers, move the cluster from here; else it follows later.")
    ] = "server",
    namespace: Annotated[str, typer.Option(help="The cluster's namespace; by default the pod's own.")] = "",
) -> None:
    """Promote a version at once, without canary; also what brings back a version that was taken back."""
    from trimtab.cli.actuators import cluster_of
    from trimtab.cli.steer import Steering
    from trimtab.cli.which import open_model, person, published
    from trimtab.core import ledger, rollouts

    settings, store, name = open_model(model)
    published(store, name, version)
    if ledger.state(store, name).champion == version:
        typer.echo(f"{version} serves already")
        return
    steering = Steering(settings, store, name, timeout, typer.echo, cluster_of(actuator, namespace, store))
    n = rollouts.request(store, name, version, kind="promote", who=person(), why=why)
    typer.echo(f"request {n}: promote {version}")
    by_hand = f"see that the hook runs and the store answers, then run `trimtab promote {version}` again"
    steering.decide(lambda state: state.champion == version, by_hand)
    typer.echo(f"{version} is the champion of {name}")
    steering.follow(version, f"read the server's log: does it refuse {version}? `trimtab history {name}` tells")
