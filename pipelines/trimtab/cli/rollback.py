"""`trimtab rollback`: back to what served before, from any point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trimtab.core.store import Store


def rollback(
    model: Annotated[str, typer.Argument(help="The model; may be left out where the store has one.")] = "",
    to: Annotated[str, typer.Option(help="The version to return to; by default the one promoted before.")] = "",
    why: Annotated[str, typer.Option(help="The reason, for the history.")] = "by hand",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait until it is done.")] = 60.0,
    actuator: Annotated[
        str, typer.Option(help="`kserve`: where no hook answers, move the cluster from here; else it follows later.")
    ] = "server",
    namespace: Annotated[str, typer.Option(help="The cluster's namespace; by default the pod's own.")] = "",
) -> None:
    """End the canary where one runs, else return to the version promoted before; campaigns pause until `resume`."""
    from trimtab.cli.actuators import cluster_of
    from trimtab.cli.steer import Steering
    from trimtab.cli.which import open_model, person, published
    from trimtab.core import ledger, rollouts
    from trimtab.core.errors import RolloutRefused

    settings, store, name = open_model(model)
    if to:
        published(store, name, to)
    before = ledger.state(store, name)
    gone = before.canary if before.canary and to in {"", before.champion} else before.champion
    back = to or (before.champion if gone == before.canary else before.before(gone or ""))
    if gone is None or back is None or gone == back:
        raise RolloutRefused(
            "there is no version to return to",
            object=name,
            expected="a version promoted before, or a canary",
            got=f"champion {before.champion or 'none'}, no canary" if gone != back else f"{gone} serves already",
            hint=f"`trimtab history {name}` shows the versions, `trimtab promote VERSION` promotes one",
        )
    _hold_campaigns(store, name, person(), f"rolled back {gone}: {why}")
    steering = Steering(settings, store, name, timeout, typer.echo, cluster_of(actuator, namespace, store))
    if gone == before.champion and back != before.before(gone):
        # Another version than the one before it: that is promoted first, so that no third one serves in between.
        rollouts.request(store, name, back, kind="promote", who=person(), why=f"rollback of {gone}: {why}")
    n = rollouts.request(store, name, gone, kind="rollback", who=person(), why=why)
    typer.echo(f"request {n}: take back {gone}, return to {back}")
    by_hand = f"see that the hook runs and the store answers, then run `trimtab rollback {name}` again"
    steering.decide(lambda s: gone in s.rolled_back and s.champion == back and s.canary != gone, by_hand)
    typer.echo(f"{gone} is taken back, {back} is the champion of {name}")
    typer.echo(f"its campaigns are paused until `trimtab resume {name}`")
    steering.follow(back, f"read the server's log, or restart it: the ledger says {back}")


def _hold_campaigns(store: Store, model: str, who: str, why: str) -> None:
    """Pause the model's campaigns and cancel the open one, before anything is asked of the controller."""
    from trimtab.monitoring import campaign

    campaign.control(store, model, "pause", who=who, why=why)
    open_one = campaign.state(store, model)
    if open_one is not None and not open_one.closed:
        campaign.control(store, model, "cancel", who=who, why=why, campaign=open_one.n)
        typer.echo(f"campaign {open_one.n} is cancelled")
