"""Ask for a rollout of a version. It decides nothing: the rollout controller does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from trimtab.core import ledger, rollouts
from trimtab.core.bundle import read_manifest

if TYPE_CHECKING:
    from trimtab.core.store import Store


class DeployConfig(BaseModel):
    """What is to be asked for.

    Attributes:
        model: the model's name.
        release: `ask` requests a rollout of a version that passed its gates, `hold` leaves that to the asker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    release: Literal["ask", "hold"] = "ask"


@dataclass(frozen=True)
class DeployResult:
    """The request's number, or None with the reason why nothing was asked."""

    requested: int | None
    why: str


def deploy(config: DeployConfig, version: str, passed: bool, store: Store, who: str, run_key: str = "") -> DeployResult:
    """Ask that a version serve; asking twice changes nothing.

    Args:
        config: model and release.
        version: the published version.
        passed: whether it passed its gates on the sealed test.
        store: where requests lie.
        who: the process or person that asks.
        run_key: the run that made the version; one run asks at most once for it.

    Raises:
        NotFound: no such version is published.
        StoreError: the store did not take the request.
    """
    manifest = read_manifest(store, config.model, version)
    if not passed:
        return DeployResult(None, f"{version} did not pass its gates, so it is kept and does not serve")
    if config.release == "hold":
        return DeployResult(None, f"{version} is held: whoever asked for the run decides")
    asked = [r.n for r in rollouts.requests(store, config.model) if r.version == version and r.run_key == run_key]
    if run_key and asked:
        return DeployResult(asked[-1], f"this run has asked for {version} before")
    if ledger.state(store, config.model).champion == version:
        return DeployResult(None, f"{version} serves already")
    campaign = manifest.lineage.get("campaign")
    n = rollouts.request(
        store,
        config.model,
        version,
        kind="serve",
        who=who,
        why=f"{version} passed its gates",
        campaign=campaign if isinstance(campaign, int) else None,
        run_key=run_key,
    )
    return DeployResult(n, f"asked for a rollout of {version}")
