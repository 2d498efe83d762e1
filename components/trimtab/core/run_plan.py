"""What one run of a compiled pipeline does otherwise than another: seed, and which of the candidates it trains.

Retrains of a campaign are runs of the champion's own pipeline version. What differs between them beside the data
stands in the run's request; its first task hands it to the stages as a parameter, so that Kubeflow's cache sees it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.core.records import canonical

if TYPE_CHECKING:
    from trimtab.core.store import Store

_MARK = "not-asked-for.json"


def as_parameter(store: Store, key: str, seed: int | None, candidates: Sequence[str] | None) -> str:
    """The text that the first task hands on; empty where the run does what the pipeline was compiled for.

    Args:
        store: where runs are recorded.
        key: the run; empty (a stage on its own) has no plan.
        seed: the seed that was compiled in; None is the project's.
        candidates: names of the candidates that were compiled in; None means all.
    """
    from trimtab.core.runs import read_request

    if not key:
        return ""
    request = read_request(store, key)
    plan: dict[str, Any] = {}
    if request.seed is not None and request.seed != seed:
        plan["seed"] = request.seed
    if request.candidates is not None and request.candidates != (None if candidates is None else list(candidates)):
        plan["candidates"] = request.candidates
    return canonical(plan).decode() if plan else ""


def seeded(config: Any, plan: str) -> Any:
    """A stage's settings with the plan's seed, where it has one.

    Args:
        config: a pydantic model with a field `seed`.
        plan: a text of `as_parameter`.
    """
    seed = _read(plan).get("seed")
    return config if seed is None else config.model_copy(update={"seed": int(seed)})


def asked_for(plan: str, candidate: str) -> bool:
    """Whether a run trains a candidate.

    >>> asked_for("", "mlp"), asked_for('{"candidates":["linear"]}', "mlp")
    (True, False)
    """
    names = _read(plan).get("candidates")
    return names is None or candidate in names


def mark_left_out(folder: Path) -> None:
    """Leave word in a candidate's output folder that this run does not train it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_bytes(b"{}")


def left_out(folder: Path) -> bool:
    """Whether a candidate's folder says that this run does not train it."""
    return (folder / _MARK).is_file()


def _read(plan: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan) if plan else {}
    return found
