"""Health and metadata, as KServe's server answers them, for both protocols."""

from __future__ import annotations

import re
from typing import Any

from trimtab.core.errors import RequestError
from trimtab.serving import v2
from trimtab.serving.traffic import Traffic

_FIXED = {"/v1/models", "/v2/models", "/v2", "/v2/health/live", "/v2/health/ready", "/healthz"}
_V1_MODEL = re.compile(r"/v1/models/([^/:]+)")
_V2_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready)?")


def answer(path: str, method: str, model: str, traffic: Traffic) -> tuple[int, Any]:
    """The answer to a path that is neither predict nor infer.

    Raises:
        RequestError: 404, no such path or model; 405; 503, not ready.
    """
    if path in _FIXED:
        check_method(method, "GET", "HEAD")
        return 200, _fixed(path, model, traffic)
    if match := _V1_MODEL.fullmatch(path):
        check_method(method, "GET", "HEAD")
        check_model(match[1], model)
        return 200, {"name": model, "ready": bool(_ready(traffic)), "versions": traffic.versions}
    if match := _V2_MODEL.fullmatch(path):
        check_method(method, "GET", "HEAD")
        check_model(match[1], model)
        _ready(traffic)
        chosen = traffic.named(match[2])[0] if match[2] else traffic.champion
        assert chosen is not None
        if match[3]:
            return 200, {"name": model, "ready": True}
        return 200, v2.metadata(chosen, [match[2]] if match[2] else traffic.versions)
    raise RequestError(
        404,
        "there is nothing at this path",
        object=path[:200],
        expected=f"/v1/models/{model}:predict, /v2/models/{model}/infer, /feedback or /",
        got="another path",
    )


def _fixed(path: str, model: str, traffic: Traffic) -> dict[str, Any]:
    if path in {"/v1/models", "/v2/models"}:
        return {"models": [model]}
    if path == "/v2":
        from importlib.metadata import version as installed

        return {"name": "trimtab", "version": installed("trimtab"), "extensions": ["binary_tensor_data"]}
    if path == "/v2/health/live":
        return {"live": True}
    if path == "/v2/health/ready":
        return {"ready": bool(_ready(traffic))}
    return {"status": "alive"}


def check_model(name: str, model: str) -> None:
    """Refuse a model that is not served here.

    Raises:
        RequestError: 404.
    """
    if name != model:
        raise RequestError(
            404, f"model {name[:80]!r} is not served here", object="model", expected=model, got=repr(name[:80])
        )


def check_method(method: str, *allowed: str) -> None:
    """Refuse a method that a path does not take.

    Raises:
        RequestError: 405.
    """
    if method not in allowed:
        raise refused_method(method, ", ".join(allowed))


def refused_method(method: str, allowed: str) -> RequestError:
    """The refusal of a method; its `expected` is what the header `Allow` says."""
    return RequestError(405, "the method is not allowed here", object="method", expected=allowed, got=method[:20])


def _ready(traffic: Traffic) -> list[str]:
    if traffic.champion is None:
        raise traffic.not_ready()
    return traffic.versions
