"""KServe's V1 protocol: `{"instances": […]}` in, `{"predictions": […]}` out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving.explain import check_texts, clearer
from trimtab.serving.http import parse_object

if TYPE_CHECKING:
    from trimtab.serving.model import LoadedModel

NUMPY = orjson.OPT_SERIALIZE_NUMPY
EXAMPLE = '{"instances": [{"<field>": <value>, …}, …]}'


class Result(NamedTuple):
    """What a request became.

    Attributes:
        records: n rows as received and typed.
        outputs: n labels, or n numbers.
        probabilities: float32 [n, k], or None for regression.
        body: the answer.
    """

    records: list[dict[str, Any]]
    outputs: list[Any]
    probabilities: np.ndarray[Any, Any] | None
    body: bytes


def predict(model: LoadedModel, body: bytes, _uuid: str) -> Result:
    """Answer one V1 request.

    Raises:
        RequestError: 4xx, naming field, expected and got.
    """
    payload = parse_object(body, EXAMPLE)
    if "instances" not in payload:
        raise RequestError(
            400,
            "the request has no `instances`",
            object="instances",
            expected=EXAMPLE,
            got="an object with " + (", ".join(list(payload)[:5]) or "nothing"),
        )
    wanted = _wants_probabilities(payload.get("parameters"))
    instances = payload["instances"]
    if type(instances) is list:
        model.limits.check_rows(len(instances), "instances")
        if model.texts:
            check_texts(instances, model.texts, len(model.names))
    try:
        records = model.schema.parse_instances(instances)
    except RequestError as error:
        raise clearer(error, instances, model.names) from None
    outputs, probabilities = compute(model, records)
    answer: dict[str, Any] = {"predictions": outputs}
    if wanted and probabilities is not None:
        answer["probabilities"] = probabilities
    return Result(records, outputs, probabilities, orjson.dumps(answer, option=NUMPY))


def compute(model: LoadedModel, records: list[dict[str, Any]]) -> tuple[list[Any], np.ndarray[Any, Any] | None]:
    """Labels and probabilities [n, k], or numbers and None, for n records.

    Raises:
        RequestError: 400, there are no rows; 422, the model has no finite answer for a row.
    """
    if not records:
        raise RequestError(400, "the request has no rows", expected="at least one", got="none")
    result = model.run(model.schema.encode(records))
    # One sum tells of a batch without bad values, for a fraction of what looking at each costs.
    if not math.isfinite(result.sum(dtype=np.float64)):
        _refuse_row(result)
    if model.classifies:
        return model.labels(result), result
    return result[:, 0].tolist(), None


def _refuse_row(result: np.ndarray[Any, Any]) -> None:
    """Refuse the first row without a finite answer."""
    finite = np.isfinite(result).reshape(len(result), -1).all(axis=1)
    if not finite.all():
        raise RequestError(
            422,
            "the model has no finite answer for this row",
            rows=[int(np.flatnonzero(~finite)[0])],
            hint="its values may lie far outside of what the model was trained on",
        )


def _wants_probabilities(parameters: object) -> bool:
    if parameters is None:
        return False
    if not isinstance(parameters, dict):
        raise RequestError(
            400,
            "`parameters` is no object",
            object="parameters",
            expected='{"probabilities": true}',
            got=describe(parameters),
        )
    wanted = parameters.get("probabilities", False)
    if not isinstance(wanted, bool):
        raise RequestError(
            400,
            "the parameter `probabilities` is neither true nor false",
            object="parameters.probabilities",
            expected="true or false",
            got=describe(wanted),
        )
    return wanted
