"""The same rows as whole HTTP requests in every server's own words."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

NUMPY = orjson.OPT_SERIALIZE_NUMPY
ROWS = 64  # different requests, so that no server answers one from a cache


def rows(count: int, n: int, shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """`count` arrays float32 [n, *shape]: standard normal numbers, or whole numbers of 0 to 255 for images."""
    rng = np.random.default_rng(seed)
    if len(shape) > 1:
        return [rng.integers(0, 256, (n, *shape)).astype(np.float32) for _ in range(count)]
    return [rng.standard_normal((n, *shape)).astype(np.float32) for _ in range(count)]


def post(path: str, body: bytes, headers: dict[str, str]) -> str:
    """One request as latin-1 text."""
    fields = {"Host": "127.0.0.1", "Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n" + body.decode("latin-1")


def v1(arrays: list[np.ndarray[Any, Any]], name: str, headers: dict[str, str]) -> list[str]:
    """KServe's V1."""
    path = f"/v1/models/{name}:predict"
    return [post(path, orjson.dumps({"instances": x}, option=NUMPY), headers) for x in arrays]


def v2(arrays: list[np.ndarray[Any, Any]], name: str, headers: dict[str, str], tensor: str = "input") -> list[str]:
    """Open Inference Protocol, JSON."""
    made = []
    for x in arrays:
        one = {"name": tensor, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel()}
        made.append(post(f"/v2/models/{name}/infer", orjson.dumps({"inputs": [one]}, option=NUMPY), headers))
    return made


def v2_binary(
    arrays: list[np.ndarray[Any, Any]], name: str, headers: dict[str, str], tensor: str = "input"
) -> list[str]:
    """Open Inference Protocol with the binary tensor extension, in and out."""
    made = []
    for x in arrays:
        head = orjson.dumps(
            {
                "inputs": [
                    {
                        "name": tensor, "datatype": "FP32", "shape": list(x.shape),
                        "parameters": {"binary_data_size": x.nbytes},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        )  # fmt: skip
        binary = {
            **headers,
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        made.append(post(f"/v2/models/{name}/infer", head + x.tobytes(), binary))
    return made


def plain(arrays: list[np.ndarray[Any, Any]], path: str) -> list[str]:
    """BentoML and LitServe: `{"instances": rows}` at a path of theirs."""
    return [post(path, orjson.dumps({"instances": x}, option=NUMPY), {}) for x in arrays]
