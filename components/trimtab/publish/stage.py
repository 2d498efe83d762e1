"""Sign a bundle and put it into the store as a version.

The version's number comes from the store, its name from the files: publishing the same files again changes nothing
and gives the same version, after a kill as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from trimtab.core import ledger
from trimtab.core.bundle import list_versions, publish_bundle
from trimtab.core.errors import ModelError
from trimtab.core.schema import Schema

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from trimtab.core.store import Store

NEEDED = ("expected.json", "model.onnx", "reference.parquet", "report.html", "schema.json")


class PublishConfig(BaseModel):
    """What a version is published as.

    Attributes:
        model: the model's name.
        lineage: where it comes from; `run_key`, `code_version`, `dataset`, `candidate`, `campaign` as far as known.
        project: the whole canonical project; those who follow the version read their settings from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    lineage: dict[str, Any] = {}
    project: dict[str, Any] = {}


@dataclass(frozen=True)
class PublishResult:
    """The version, and whether this call made it."""

    version: str
    created: bool


def publish(
    config: PublishConfig,
    bundle: Path,
    selection: Path,
    store: Store,
    key: Ed25519PrivateKey,
) -> PublishResult:
    """Publish a bundle.

    Args:
        config: model, lineage, project.
        bundle: folder with the files of `NEEDED`, and exports.
        selection: select's JSON: `winner`, `metrics` (of the sealed test, each with its interval), and `threshold`
            where the model has one.
        store: where to.
        key: what to sign with.

    Raises:
        ModelError: the bundle lacks a file, its schema is none, or the selection does not say what won.
        StoreError: the store did not do it; running the stage again goes on.
    """
    missing = [name for name in NEEDED if not (bundle / name).is_file()]
    if missing:
        raise ModelError(
            "the bundle is not whole",
            object=str(bundle),
            expected=", ".join(NEEDED),
            got=f"no {', '.join(missing)}",
            hint="export makes all of them; see its README",
        )
    _check_schema(bundle / "schema.json")
    chosen = _read_selection(selection)
    before = set(list_versions(store, config.model))
    lineage = {
        "parent": ledger.state(store, config.model).champion,
        "candidate": str(chosen["winner"]),
        **config.lineage,
    }
    version = publish_bundle(
        store,
        config.model,
        bundle,
        key,
        metrics=chosen["metrics"],
        threshold=chosen.get("threshold"),
        lineage=lineage,
        project=config.project,
    )
    return PublishResult(version=version, created=version not in before)


def _check_schema(path: Path) -> None:
    try:
        Schema.from_json(path.read_bytes())
    except ValueError as error:
        raise ModelError(
            "the bundle's schema is none",
            object=str(path),
            got=str(error)[:300],
            hint="export writes it from the training data's resolved schema",
        ) from None


def _read_selection(path: Path) -> dict[str, Any]:
    try:
        chosen = json.loads(path.read_bytes())
        if not isinstance(chosen, dict) or not chosen["winner"] or not isinstance(chosen["metrics"], dict):
            raise ValueError("winner or metrics")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "the selection does not say what won",
            object=str(path),
            expected="JSON with winner and metrics, as select writes it",
            got=f"{type(error).__name__}: {error}",
        ) from None
    return chosen
