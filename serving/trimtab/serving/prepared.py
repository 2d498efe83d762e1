"""What is the same in every answer of one version, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from trimtab.serving.v2_binary import text


class Prepared:
    """Parts of a version's answers.

    Args:
        name, version: which model it is.
        classes: its labels, k; none for regression.

    Attributes:
        v1: the whole V1 body of one row, by label.
        v2: the beginning of every V2 body, up to its id.
        labels: the classes, texts [k].
        texts: each label as V2's BYTES.
        even: the same, [k], where all take as many bytes; else None.
        v2_json: the outputs of one row by label, up to its probabilities.
        v2_binary: the same in the binary extension, whole, and the label's bytes.
        head: status line and headers of an answer, up to the prediction's UUID.
    """

    def __init__(self, name: str, version: str, classes: Sequence[str]) -> None:
        self.head = b"HTTP/1.1 200 OK\r\nx-model-version: %b\r\nx-prediction-id: " % version.encode()
        self.v1 = {label: orjson.dumps({"predictions": [label]}) for label in classes}
        self.v2 = orjson.dumps({"model_name": name, "model_version": version})[:-1] + b","
        self.labels: np.ndarray[Any, Any] = np.array(classes, dtype=object)
        self.texts = {label: text([label]) for label in classes}
        sizes = set(map(len, self.texts.values()))
        self.even = np.frombuffer(b"".join(self.texts.values()), f"V{sizes.pop()}") if len(sizes) == 1 else None
        self.v2_json: dict[str, bytes] = {}
        self.v2_binary: dict[str, tuple[bytes, bytes]] = {}
        width = len(classes)
        for label in classes:
            outputs = [_output("label", "BYTES", [1]), _output("probabilities", "FP32", [1, width])]
            encoded = self.texts[label]
            outputs[0]["data"], outputs[1]["data"] = [label], []
            self.v2_json[label] = orjson.dumps({"outputs": outputs})[1:].removesuffix(b"[]}]}")
            for output, size in zip(outputs, (len(encoded), 4 * width), strict=True):
                del output["data"]
                output["parameters"] = {"binary_data_size": size}
            self.v2_binary[label] = orjson.dumps({"outputs": outputs})[1:], encoded
        self._width, self._many = width, (0, b"")

    def v2_many(self, n: int) -> bytes:
        """The same of n rows, without their data; where all labels take as many bytes (`even`)."""
        many = self._many  # other threads may ask for another number
        if many[0] != n and self.even is not None:
            outputs = [_output("label", "BYTES", [n]), _output("probabilities", "FP32", [n, self._width])]
            for output, size in zip(outputs, (self.even.itemsize, 4 * self._width), strict=True):
                output["parameters"] = {"binary_data_size": n * size}
            many = self._many = n, orjson.dumps({"outputs": outputs})[1:]
        return many[1]


def _output(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
