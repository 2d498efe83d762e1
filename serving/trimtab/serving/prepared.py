"""What is the same in every answer of one version, encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import orjson


class Prepared:
    """Parts of a version's answers.

    Args:
        name, version: which model it is.
        classes: its labels; none for regression.

    Attributes:
        v1: the whole V1 body of one row, by label.
        v2: the beginning of every V2 body, up to its id.
        head: status line and headers of an answer in JSON, up to the prediction's UUID.
    """

    def __init__(self, name: str, version: str, classes: Sequence[str]) -> None:
        self.v1 = {label: orjson.dumps({"predictions": [label]}) for label in classes}
        self.v2 = orjson.dumps({"model_name": name, "model_version": version})[:-1] + b","
        self.version = version.encode()
        self.head = b"HTTP/1.1 200 OK\r\nx-model-version: %b\r\nx-prediction-id: " % self.version
