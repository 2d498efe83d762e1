"""What a published version says about itself, as campaigns and rollouts need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from trimtab.core.bundle import read_manifest
from trimtab.core.errors import RecordError
from trimtab.core.policies import Campaign, Rollout, Windows

if TYPE_CHECKING:
    from trimtab.core.store import Store


B = TypeVar("B", bound=BaseModel)
_KEPT = 256


@dataclass(frozen=True)
class Published:
    """A version's settings and origin, from its manifest.

    Attributes:
        version: the version.
        windows, campaign, rollout: the blocks of the project file it was made from.
        key_field: the field of kind `id`, by which labels may come; None without one.
        run_key: the pipeline run that made it.
        dataset: `<name>/<digest>` of its training data; None where the manifest names none.
        candidate: name of the candidate that won.
    """

    version: str
    windows: Windows
    campaign: Campaign
    rollout: Rollout
    key_field: str | None
    run_key: str
    dataset: str | None
    candidate: str | None


_known: dict[tuple[str, str, str], Published] = {}


def published(store: Store, model: str, version: str) -> Published:
    """Read a version's manifest (unverified: servers verify what they load).

    Raises:
        NotFound: no such version.
        RecordError: the project in it cannot be read.
    """
    # Manifests never change, so each is read once; a failure is not kept.
    key = (store.url, model, version)
    if key not in _known:
        if len(_known) >= _KEPT:
            _known.clear()
        _known[key] = _read(store, model, version)
    return _known[key]


def _read(store: Store, model: str, version: str) -> Published:
    manifest = read_manifest(store, model, version)
    project, lineage = manifest.project, manifest.lineage
    dataset = lineage.get("dataset") or {}
    ids = [str(f["name"]) for f in project.get("fields") or [] if f.get("kind") == "id"]
    key_field = str((project.get("data") or {}).get("key") or "") or (ids[0] if ids else None)
    return Published(
        version=version,
        windows=_block(Windows, project, "windows", version),
        campaign=_block(Campaign, project, "campaign", version),
        rollout=_block(Rollout, project, "rollout", version),
        key_field=key_field,
        run_key=str(lineage.get("run_key") or ""),
        dataset=f"{dataset['name']}/{dataset['digest']}" if dataset.get("digest") else None,
        candidate=lineage.get("candidate") or None,
    )


def _block(kind: type[B], project: dict[str, Any], name: str, version: str) -> B:
    try:
        return kind.model_validate(project.get(name) or {})
    except ValidationError as error:
        raise RecordError(
            f"the project of {version} has a block that cannot be read", object=name, got=str(error)
        ) from None
