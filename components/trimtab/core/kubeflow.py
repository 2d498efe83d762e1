"""The only kfp import below `pipelines/`: how a stage becomes a component.

Compiled components install nothing at run time; their image is set when a pipeline is compiled
(`trimtab.pipelines.compile`), so the name here only says that nobody has done so yet. It holds the word `python`
because KFP's local runner warns about images that do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp import dsl

UNSET_IMAGE = "trimtab-stage-python:unset"


def stage_component(function: Callable[..., Any]) -> Any:
    """Make a KFP component of a thin function whose body imports its stage.

    The function's source travels in the compiled pipeline, so its body imports what it needs and its annotations
    are KFP's own (`str`, `dsl.Input[...]`, `dsl.Output[...]`).

    Returns:
        A KFP Python component (kfp has no types for it).
    """
    return dsl.component(function, base_image=UNSET_IMAGE, install_kfp_package=False, packages_to_install=[])
