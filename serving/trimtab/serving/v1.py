"""KServe's V1 protocol: `{"instances": […]}` in, `{"predictions": […]}` out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving.calls import Answer, Call, Codec, Decoded, Prediction, decoded
from trimtab.serving.explain import check_images, check_texts, clearer
from trimtab.serving.http import parse_object
from trimtab.serving.matrix import INPUT

if TYPE_CHECKING:
    from trimtab.serving.model import LoadedModel

NUMPY = orjson.OPT_SERIALIZE_NUMPY
EXAMPLE = '{"instances": [{"<field>": <value>, …}, …]}'


def decode(model: LoadedModel, body: bytes, _call: Call) -> Decoded:
    """Read one V1 request; `wanted` is whether the answer holds probabilities.

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
        if model.matrix is not None and instances:
            read = model.matrix.instances(instances, body)
            if read is not None:
                return Decoded({INPUT: read.values}, len(instances), read.columns, wanted)
        if b"true" in body or b"false" in body:
            check_images(instances, model.schema)
        if model.texts:
            check_texts(instances, model.texts, len(model.names))
    try:
        records = model.schema.parse_instances(instances)
    except RequestError as error:
        raise clearer(error, instances, model.names) from None
    return decoded(model, records, wanted)


def encode(model: LoadedModel, _call: Call, asked: Decoded, said: Prediction) -> Answer:
    """The answer to a V1 request."""
    if asked.n == 1 and not asked.wanted and model.classifies:
        return Answer(model.prepared.v1[said.outputs[0]])
    answer: dict[str, Any] = {"predictions": said.outputs}
    if asked.wanted and said.probabilities is not None:
        answer["probabilities"] = said.probabilities
    return Answer(orjson.dumps(answer, option=NUMPY))


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


CODEC = Codec("v1", decode, encode)
