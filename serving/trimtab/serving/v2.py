"""The Open Inference Protocol (KServe's V2): named tensors in, `label` and `probabilities` (or `value`) out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving import v2_binary
from trimtab.serving.calls import Answer, Body, Call, Codec, Decoded, Prediction, decoded
from trimtab.serving.explain import check_text_tensors, clearer_tensor
from trimtab.serving.http import parse_object
from trimtab.serving.matrix import INPUT
from trimtab.serving.v2_inputs import EXAMPLE, read_matrix, read_numbers, read_tensors
from trimtab.serving.v2_outputs import Known, Wanted, read_wanted, write_output

if TYPE_CHECKING:
    from trimtab.serving.model import LoadedModel

NUMPY = orjson.OPT_SERIALIZE_NUMPY
_BOTH = [("label", False), ("probabilities", False)]
_BOTH_BINARY = [("label", True), ("probabilities", True)]
# The JSON before binary data is some hundred bytes; a longer one takes its time.
_HEAD_BYTES = 4096
# JSON before binary data that is kept with what it means: so many of a model's, none longer than so many bytes.
_KNOWN, _KNOWN_BYTES = 64, 1024


def decode(model: LoadedModel, body: bytes, call: Call) -> Decoded:
    """Read one V2 request, JSON or with binary data; `wanted` is a `Wanted`.

    Raises:
        RequestError: 4xx, naming input or field, expected and got.
    """
    head, tail = v2_binary.split(body, call.headers)
    payload = parse_object(head, EXAMPLE)
    wanted = _wanted(payload, model, call)
    found = _matrix(payload, model, head, tail, wanted)
    if found is not None:
        return found
    if tail is not None:
        tail = v2_binary.Tail(body, len(head))
    tensors = read_tensors(payload.get("inputs"), model.limits, tail)
    check_text_tensors(tensors, model.texts)
    try:
        records = model.schema.from_tensors(tensors)
    except RequestError as error:
        raise clearer_tensor(error, tensors, model.names) from None
    return decoded(model, records, wanted)


def decode_bulk(model: LoadedModel, body: Body, call: Call) -> Decoded | None:
    """Read one matrix of numbers that came as bytes and shall be answered so; None for all else.

    Raises:
        RequestError: 4xx, as `decode`.
    """
    head, tail = v2_binary.split(body, call.headers)
    if tail is None or len(head) > _HEAD_BYTES:
        return None
    known = model.known.get(head)
    if known is not None and model.matrix is not None:
        # A client that sends so many rows again and again puts the same words before them.
        read = read_numbers(tail.rest(), known.n, model.matrix, len(head))
        wanted = Wanted(call.uuid if known.id is None else known.id, known.outputs)
        return None if read is None else Decoded({INPUT: read.values}, known.n, read.columns, wanted)
    payload = parse_object(head, EXAMPLE)
    wanted = _wanted(payload, model, call)
    if not all(binary for _, binary in wanted.outputs):
        return None
    found = _matrix(payload, model, head, tail, wanted)
    if found is not None and len(head) <= _KNOWN_BYTES:
        if len(model.known) >= _KNOWN:
            model.known.clear()
        model.known[head] = Known(found.n, wanted.outputs, wanted.id if "id" in payload else None)
    return found


def _wanted(payload: dict[str, Any], model: LoadedModel, call: Call) -> Wanted:
    name = payload.get("id", call.uuid)
    if not isinstance(name, str):
        raise RequestError(400, "`id` is no text", object="id", expected="a string", got=describe(name))
    return Wanted(name, read_wanted(payload, model))


def _matrix(
    payload: dict[str, Any], model: LoadedModel, head: bytes, tail: v2_binary.Tail | None, wanted: Wanted
) -> Decoded | None:
    """The request read at once, where it is one right matrix of numbers."""
    if model.matrix is None:
        return None
    read = read_matrix(payload.get("inputs"), model.matrix, model.limits, head, tail)
    return None if read is None else Decoded({INPUT: read.values}, len(read.values), read.columns, wanted)


def encode(model: LoadedModel, call: Call, asked: Decoded, said: Prediction) -> Answer:
    """The answer to a V2 request."""
    wanted: Wanted = asked.wanted
    # Names and versions are plain words; an id of the client's is whatever it likes.
    name = b'"%b"' % call.uuid.encode() if wanted.id is call.uuid else orjson.dumps(wanted.id)
    prepared = model.prepared
    if asked.n == 1 and said.probabilities is not None:
        if wanted.outputs == _BOTH:
            numbers = orjson.dumps(said.probabilities[0], option=NUMPY)
            return Answer(b'%b"id":%b,%b%b}]}' % (prepared.v2, name, prepared.v2_json[said.outputs[0]], numbers))
        if wanted.outputs == _BOTH_BINARY:
            outputs, text = prepared.v2_binary[said.outputs[0]]
            head = b'%b"id":%b,%b' % (prepared.v2, name, outputs)
            return Answer(b"%b%b%b" % (head, text, v2_binary.numbers(said.probabilities)), len(head))
    if wanted.outputs == _BOTH_BINARY and said.places is not None and prepared.even is not None:
        head = b'%b"id":%b,%b' % (prepared.v2, name, prepared.v2_many(asked.n))
        texts = prepared.even[said.places].tobytes()
        return Answer(b"".join((head, texts, np.ascontiguousarray(said.probabilities, "<f4").data)), len(head))
    parts: list[bytes] = []
    answered = [write_output(output, binary, said, prepared, parts) for output, binary in wanted.outputs]
    body = b'%b"id":%b,"outputs":%b}' % (prepared.v2, name, orjson.dumps(answered, option=NUMPY))
    if not parts:
        return Answer(body)
    return Answer(b"".join([body, *parts]), len(body))


def metadata(model: LoadedModel, versions: list[str]) -> dict[str, Any]:
    """The model's V2 metadata: graph inputs, rows as -1, and outputs."""
    outputs: list[dict[str, Any]] = (
        [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(model.classes)]},
        ]
        if model.classifies
        else [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]
    )
    inputs = [{"name": s.name, "datatype": s.dtype, "shape": list(s.shape)} for s in model.schema.tensors()]
    return {
        "name": model.name,
        "versions": versions,
        "platform": "onnx_onnxruntime",
        "inputs": inputs,
        "outputs": outputs,
    }


CODEC = Codec("v2", decode, encode, binary=True, decode_bulk=decode_bulk)
