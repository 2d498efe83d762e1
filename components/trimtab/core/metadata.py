"""Facts that go into an artifact's metadata.

Kubeflow's backend fails a task whose metadata holds a null, or a number that JSON does not have; its local runner takes
both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that metadata can hold: without nulls, NaN and infinities, at any depth.

    >>> plain({"rows": 3, "score": None, "roc": [0.5, float("inf")], "by": {"a": float("nan"), "b": 1}})
    {'rows': 3, 'roc': [0.5], 'by': {'b': 1}}
    """
    return {str(name): _inner(value) for name, value in facts.items() if _fits(value)}


def _inner(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return [_inner(v) for v in value if _fits(v)]
    return value


def _fits(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
