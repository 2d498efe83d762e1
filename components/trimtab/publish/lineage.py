"""Where a version comes from, as far as its run and its data say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core import datasets, runs
from trimtab.publish.stage import PublishConfig

if TYPE_CHECKING:
    from trimtab.core.store import Store


def complete(config: PublishConfig, store: Store, run_key: str, data: Path) -> PublishConfig:
    """The config with its lineage filled in; what it says itself stays.

    Args:
        config: as compiled.
        store: where runs are recorded.
        run_key: the run that publishes; empty where there is none.
        data: the folder of the training dataset, as ingest left it.

    Raises:
        NotFound: the run was never asked for.
        DataError: the folder is no dataset.
    """
    found: dict[str, Any] = {"dataset": {"name": config.model, "digest": datasets.read_manifest(data).digest}}
    if run_key:
        request = runs.read_request(store, run_key)
        found |= {
            "run_key": run_key,
            "code_version": request.code_version,
            "campaign": request.campaign,
            "retrain": request.retrain,
            "base_key": request.base_key,
            "seed": request.seed,
        }
    return config.model_copy(update={"lineage": {**found, **config.lineage}})
