"""What both clients do, as steps without a network: each asks for a request or a pause and is handed what came."""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from trimtab.core.errors import ProjectError, RequestError
from trimtab.core.ids import parse_prediction_id, uuid7
from trimtab.core.records import rfc3339

T = TypeVar("T")
AGAIN, LABELS, RESERVE = (0, 429, 502, 503, 504), 1000, 10.0
Step = tuple[str, bytes | None, dict[str, str]] | float  # a request (POST with a body, else GET), or seconds to wait
Steps = Generator[Step, Any, T]


class Answer(NamedTuple):
    """What came of a request; status 0: nothing, and the body says why."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Prediction:
    """By row: id (for labels), label or number, version that answered, probabilities where asked for."""

    ids: list[str]
    predictions: list[Any]
    versions: list[str]
    probabilities: list[list[float]] | None

    @property
    def version(self) -> str:
        """The first row's; a swap may come between the parts of a large call."""
        return self.versions[0]


@dataclass(frozen=True)
class Inference:
    """An id a row, flat data and shape by output, the version that answered, and V2's own id."""

    ids: list[str]
    outputs: dict[str, list[Any]]
    shapes: dict[str, list[int]]
    version: str
    id: str


class Calls:
    """What both clients do. Every call may be sent twice: its prediction id stays, and a same label counts once.

    Tried again are failed connections and 429, 502, 503, 504, after Retry-After or a growing, jittered pause, within a
    budget of retries: 10 at the start, `budget` more for each call.

    Args:
        url, token: the server's base URL; bearer token or API key, for feedback and where the server asks for one.
        timeout, retries, budget: seconds for one try, after which the server gives it up too, and the longest pause;
            tries after the first; see above.
        rows: of one request; larger calls go in parts, under one key, so that one version answers all of them.
        connections: to hold open.
    """

    def __init__(self, url: str, token: str = "", *, timeout: float = 10.0, retries: int = 3, budget: float = 0.2,
                 rows: int = 1000, connections: int = 8) -> None:  # fmt: skip
        if min(rows, connections) < 1:
            raise ProjectError("rows and connections are 1 at least", object="Client", got=f"{rows} and {connections}")
        self.url, self.retries, self.rows, self.timeout = url.rstrip("/"), retries, rows, timeout
        self._budget, self._earned, self.connections = budget, RESERVE, connections
        self._auth = {"authorization": f"Bearer {token}"} if token else {}
        self._open()

    def _open(self) -> None:
        """Make the connections' pool."""
        raise NotImplementedError

    def _predict(self, model: str, instances: Sequence[Any], ids: str | None = None, *, key: str = "",
                 probabilities: bool = False) -> Steps[Prediction]:  # fmt: skip
        """V1: any number of rows, objects by field name or arrays in schema order.

        Args:
            model: the model's name.
            instances: the rows.
            ids: the prediction id of row 0 (`<UUIDv7>-0`); by default a fresh one.
            key: keeps a caller with one version while a canary is tried (a customer's number, say).
            probabilities: ask for them too.

        Raises:
            RequestError: the server refused (4xx), or could not be reached after the retries (status 503).
        """
        headers, found = _headers(ids, key), Prediction([], [], [], [] if probabilities else None)
        if len(instances) > self.rows:
            key = key or headers["x-prediction-id"]
        for start in range(0, max(1, len(instances)), self.rows):
            body = {"instances": instances[start : start + self.rows], "parameters": {"probabilities": probabilities}}
            headers = _headers(None if start else headers["x-prediction-id"], key)
            answer, got = yield from self._post(f"/v1/models/{quote(model)}:predict", body, headers)
            found.ids.extend(_row_ids(got, len(answer["predictions"])))
            found.predictions.extend(answer["predictions"])
            found.versions.extend([got["x-model-version"]] * len(answer["predictions"]))
            if found.probabilities is not None:
                found.probabilities.extend(answer.get("probabilities", []))
        return found

    def _infer(self, model: str, inputs: Mapping[str, Any], ids: str | None = None, *, key: str = "", version: str = "",
               outputs: Iterable[str] = (), request_id: str = "") -> Steps[Inference]:  # fmt: skip
        """V2, one request: an array (or nested list) by input, rows first; text becomes BYTES, all else FP32.

        As `predict`, and: `version`: ask this one; `outputs`: which, by default all; `request_id`: V2's own.
        """
        body: dict[str, Any] = {"inputs": [_tensor(name, value) for name, value in inputs.items()]}
        body |= {"outputs": [{"name": name} for name in outputs]} if outputs else {}
        body |= {"id": request_id} if request_id else {}
        answer, got = yield from self._post(f"{_v2(model, version)}/infer", body, _headers(ids, key))
        data = {one["name"]: one["data"] for one in answer["outputs"]}
        shapes = {one["name"]: one["shape"] for one in answer["outputs"]}
        names = _row_ids(got, next(iter(shapes.values()))[0])
        return Inference(names, data, shapes, answer["model_version"], answer["id"])

    def _feedback(self, model: str, items: Sequence[Mapping[str, Any]]) -> Steps[int]:
        """Any number of labels: `id` or `key`, `value`, if you like `labelled_at` and `source`. Returns how many.

        Raises:
            RequestError: a label was refused, by index; those of earlier requests are kept and count once.
        """
        labels, kept = [{k: rfc3339(v) if isinstance(v, datetime) else v for k, v in one.items()} for one in items], 0
        for start in range(0, len(labels), LABELS):
            body = {"model": model, "labels": labels[start : start + LABELS]}
            kept += int((yield from self._post("/feedback", body, {}))[0]["accepted"])
        return kept

    def _ready(self, model: str, version: str = "") -> Steps[bool]:
        """Whether the model (or that version of it) serves; asked once, False where nothing answers."""
        return (yield f"{_v2(model, version)}/ready", None, self._auth).status == 200  # type: ignore[no-any-return]

    def _post(self, path: str, body: Any, headers: dict[str, str]) -> Steps[tuple[Any, Mapping[str, str]]]:
        sent = json.dumps(body, default=lambda value: value.tolist()).encode()
        patience = {"x-trimtab-deadline-ms": str(round(1000 * min(3600, max(0.001, self.timeout))))}
        asked = path, sent, {"content-type": "application/json", **patience, **self._auth, **headers}
        self._earned = min(RESERVE, self._earned + self._budget)
        answer: Answer = yield asked
        for tries in range(self.retries):
            if answer.status not in AGAIN or self._earned < 1:
                break
            self._earned -= 1
            told = answer.headers.get("retry-after", "")
            pause = float(told) if told.isdigit() else 0.1 * 2**tries
            yield min(self.timeout, pause * random.uniform(1, 1.5))  # noqa: S311 (spreads clients, guards nothing)
            answer = yield asked
        if answer.status == 0:
            why, hint = answer.body.decode(), "is it running? trimtab serve starts one"
            raise RequestError(503, "the server did not answer", object=self.url, got=why, hint=hint)
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = {"error": f"an answer that is no JSON: {answer.body[:80]!r}"}
        if answer.status >= 300 or "error" in found:
            raise RequestError(answer.status, str(found.get("error") or f"status {answer.status}"))
        return found, answer.headers


def _tensor(name: str, value: Any) -> dict[str, Any]:
    import numpy as np

    array = np.asarray(value)
    kind = "BYTES" if array.dtype.kind in "OSU" else "FP32"
    return {"name": name, "datatype": kind, "shape": list(array.shape), "data": array.ravel().tolist()}


def _headers(first: str | None, key: str) -> dict[str, str]:
    if first is not None and parse_prediction_id(first) is None:
        raise RequestError(400, "the prediction id is malformed", expected="<UUIDv7>-0", got=repr(first[:60]))
    return {"x-prediction-id": first or f"{uuid7()}-0", **({"x-trimtab-key": key} if key else {})}


def _row_ids(headers: Mapping[str, str], rows: int) -> list[str]:
    first = headers["x-prediction-id"].rpartition("-")[0]
    return [f"{first}-{row}" for row in range(rows)]


def _v2(model: str, version: str) -> str:
    return f"/v2/models/{quote(model)}" + (f"/versions/{quote(version)}" if version else "")
