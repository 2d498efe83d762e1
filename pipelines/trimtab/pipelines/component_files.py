"""Each stage as a component file of its own, for pipelines that are not ours."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

from trimtab.core.errors import ProjectError
from trimtab.core.resources import STAGES


def write_components(folder: Path, image: str) -> list[Path]:
    """Write `<stage>.yaml` for each stage, as `kfp.components.load_component_from_file` takes it.

    Args:
        folder: where to; made where it is not there.
        image: the stages' image, pinned.

    Returns:
        The files.

    Raises:
        ProjectError: the image is not pinned, or the folder cannot be written.
    """
    from trimtab.pipelines.compile import pinned

    pinned(image)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write(stage, folder, image) for stage in STAGES]
    except OSError as error:
        raise ProjectError("the folder cannot be written", object=str(folder), got=error.strerror or "") from None


def _write(stage: str, folder: Path, image: str) -> Path:
    component: Any = getattr(importlib.import_module(f"trimtab.{stage}.component"), stage)
    spec = copy.deepcopy(component.component_spec)
    spec.implementation.container.image = image
    out = folder / f"{stage}.yaml"
    spec.save_to_component_yaml(str(out))
    return out
