"""The client: keep-alive connections, retries only of what is safe to send twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import urllib3

from trimtab.client.results import Inference, Prediction, row_ids
from trimtab.core.errors import RequestError
from trimtab.core.ids import parse_prediction_id, uuid7
from trimtab.core.records import rfc3339


class Client:
    """Talks to one model server; several threads may share one.

    A prediction is retried under one id: should the first try have been answered after all, both rows of the log
    have that id and count as one for labels. Feedback is retried too: the same label counts once. Retried are
    connections that fail and the statuses 429, 502, 503 and 504, with a growing pause; other answers are final.

    Args:
        url: the server's base URL.
        token: bearer token, needed for feedback.
        timeout: seconds for one try.
        retries: tries after the first.
        connections: keep-alive connections to hold.
    """

    def __init__(
        self, url: str, token: str = "", *, timeout: float = 10.0, retries: int = 3, connections: int = 8
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._pool = urllib3.PoolManager(maxsize=connections, timeout=urllib3.Timeout(timeout))
        self._retry = urllib3.Retry(
            total=retries,
            backoff_factor=0.1,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=None,  # every method: what we send may be sent twice
            raise_on_status=False,
        )
        self._once = urllib3.Retry(total=0, raise_on_status=False)

    def predict(
        self,
        model: str,
        instances: Sequence[Any],
        ids: str | None = None,
        *,
        key: str = "",
        probabilities: bool = False,
    ) -> Prediction:
        """Ask for predictions over V1.

        Args:
            model: the model's name.
            instances: rows: objects by field name, or arrays in schema order.
            ids: the prediction id of row 0 (`<UUIDv7>-0`); by default a fresh one.
            key: keeps a caller with one version while a canary is tried (a customer's number, say).
            probabilities: ask for them too.

        Raises:
            RequestError: the server refused (4xx), or could not be reached after the retries (status 503).
        """
        body: dict[str, Any] = {"instances": instances}
        if probabilities:
            body["parameters"] = {"probabilities": True}
        answer, headers = self._post(f"/v1/models/{quote(model)}:predict", body, self._headers(ids, key))
        predictions = answer["predictions"]
        return Prediction(
            row_ids(headers["x-prediction-id"], len(predictions)),
            predictions,
            headers["x-model-version"],
            answer.get("probabilities"),
        )

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        ids: str | None = None,
        *,
        key: str = "",
        outputs: Iterable[str] = (),
        request_id: str = "",
        version: str = "",
    ) -> Inference:
        """Ask for an inference over V2.

        Args:
            model: the model's name.
            inputs: one array (or nested list) a tensor, rows first; text becomes BYTES, everything else FP32.
            ids: the prediction id of row 0; by default a fresh one.
            key: as in `predict`.
            outputs: which outputs; by default all.
            request_id: V2's own id, returned as it is.
            version: ask this version and no other.

        Raises:
            RequestError: as `predict`.
        """
        body: dict[str, Any] = {"inputs": [tensor(name, value) for name, value in inputs.items()]}
        if outputs:
            body["outputs"] = [{"name": name} for name in outputs]
        if request_id:
            body["id"] = request_id
        path = f"/v2/models/{quote(model)}" + (f"/versions/{quote(version)}" if version else "") + "/infer"
        answer, headers = self._post(path, body, self._headers(ids, key))
        shapes = {one["name"]: one["shape"] for one in answer["outputs"]}
        rows = next(iter(shapes.values()))[0] if shapes else 0
        return Inference(
            row_ids(headers["x-prediction-id"], rows),
            {one["name"]: one["data"] for one in answer["outputs"]},
            shapes,
            answer["model_version"],
            answer["id"],
        )

    def feedback(self, model: str, items: Sequence[Mapping[str, Any]]) -> int:
        """Send labels: each has `id` or `key`, `value`, and if you like `labelled_at` and `source`.

        Any number is taken; a call carries 1,000. Returns how many are on the server's disk.

        Raises:
            RequestError: a label was refused, by index; those of earlier calls are kept and count once.
        """
        labels = [{k: rfc3339(v) if isinstance(v, datetime) else v for k, v in item.items()} for item in items]
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        taken = 0
        for start in range(0, len(labels), 1000):
            body = {"model": model, "labels": labels[start : start + 1000]}
            taken += int(self._post("/feedback", body, headers)[0]["accepted"])
        return taken

    def ready(self, model: str, version: str | None = None) -> bool:
        """Whether the model (or that version of it) serves; False too while nothing answers there."""
        path = f"/v2/models/{quote(model)}" + (f"/versions/{quote(version)}" if version else "") + "/ready"
        try:
            return self._pool.request("GET", self.url + path, retries=self._once).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _headers(self, first: str | None, key: str) -> dict[str, str]:
        if first is not None and parse_prediction_id(first) is None:
            raise RequestError(400, "the prediction id is malformed", expected="<UUIDv7>-0", got=repr(first[:60]))
        return {"x-prediction-id": first or f"{uuid7()}-0", **({"x-trimtab-key": key} if key else {})}

    def _post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[Any, Mapping[str, str]]:
        sent = json.dumps(body, default=_plain).encode()
        try:
            answer = self._pool.request(
                "POST",
                self.url + path,
                body=sent,
                headers={"content-type": "application/json", **headers},
                retries=self._retry,
            )
        except urllib3.exceptions.HTTPError as error:
            raise RequestError(
                503,
                "the server did not answer",
                object=self.url,
                got=type(error).__name__,
                hint="is it running? trimtab serve starts one",
            ) from error
        try:
            decoded = json.loads(answer.data)
        except ValueError:
            decoded = {"error": f"an answer that is no JSON: {answer.data[:100]!r}"}
        if answer.status >= 300:
            message = decoded.get("error") if isinstance(decoded, dict) else None
            raise RequestError(answer.status, str(message or f"status {answer.status}"))
        return decoded, {name.lower(): value for name, value in answer.headers.items()}


def tensor(name: str, value: Any) -> dict[str, Any]:
    """An array or nested list as a V2 tensor.

    >>> tensor("plan", [["basic"], ["plus"]])["shape"], tensor("x", [1.0, 2.0])["datatype"]
    ([2, 1], 'FP32')
    """
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        return {"name": name, "datatype": "BYTES", "shape": list(array.shape), "data": array.ravel().tolist()}
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")
