"""Requests held to KFP's own API models: unknown fields, wrong types and values are refused as the backend does."""

from __future__ import annotations

import re
from typing import Any

import kfp_server_api as api

# 64-bit integers, which the models call text; protobuf's JSON takes both.
INT64 = ("max_concurrency", "interval_second")


class Misfit(Exception):
    """A body that KFP's models do not take."""


def check(body: Any, model: str, where: str = "") -> None:
    """Hold a JSON value to a model.

    Args:
        body: the value.
        model: name of a class of kfp_server_api, `list[X]`, `dict(str, X)` or a plain type.
        where: path to the value, for the message.

    Raises:
        Misfit: it does not fit.
    """
    if body is None or model == "object":
        return
    if inner := re.fullmatch(r"list\[(.*)\]", model):
        _expect(isinstance(body, list), where, "a list", body)
        for n, item in enumerate(body):
            check(item, inner[1], f"{where}[{n}]")
        return
    if inner := re.fullmatch(r"dict\((?:[^,]*), (.*)\)", model):
        _expect(isinstance(body, dict), where, "an object", body)
        for key, item in body.items():
            check(item, inner[1], f"{where}.{key}")
        return
    plain: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
    if model == "str" and where.rpartition(".")[2] in INT64 and isinstance(body, int):
        return
    if model in plain:
        _expect(isinstance(body, plain[model]), where, model, body)
        return
    if model == "datetime":
        _expect(isinstance(body, str), where, "a time", body)
        return
    kind = getattr(api, model)
    if hasattr(kind, "allowable_values"):
        _expect(body in kind.allowable_values, where, f"one of {', '.join(kind.allowable_values)}", body)
        return
    _expect(isinstance(body, dict), where, "an object", body)
    names = {wire: name for name, wire in kind.attribute_map.items()}
    for key, item in body.items():
        _expect(key in names, f"{where}.{key}", f"a field of {model}", key)
        check(item, kind.openapi_types[names[key]], f"{where}.{key}")


def _expect(held: bool, where: str, expected: str, got: Any) -> None:
    if not held:
        raise Misfit(f"invalid value for {where.lstrip('.') or 'the body'}: expected {expected}, got {str(got)[:60]!r}")
