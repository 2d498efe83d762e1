"""Whether a run may ask for a rollout: as its pipeline's parameter says, and as the run was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from trimtab.core import runs
from trimtab.core.errors import ProjectError
from trimtab.deploy.stage import DeployConfig

if TYPE_CHECKING:
    from trimtab.core.store import Store


def effective(config: DeployConfig, store: Store, run_key: str, release: str) -> DeployConfig:
    """The config with the release that counts: `hold` wherever one of them says so.

    Args:
        config: as compiled.
        store: where runs are recorded.
        run_key: the run; empty where there is none.
        release: the pipeline's parameter.

    Raises:
        ProjectError: the parameter is neither `ask` nor `hold`.
        NotFound: the run was never asked for.
    """
    said = {config.release, release}
    if run_key:
        said.add(runs.read_request(store, run_key).release)
    try:
        return DeployConfig.model_validate({"model": config.model, "release": "hold" if "hold" in said else release})
    except ValidationError:
        raise ProjectError("parameter release", expected="ask or hold", got=repr(release)) from None
