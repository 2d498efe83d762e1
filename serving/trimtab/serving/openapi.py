"""The OpenAPI document of what serves now, made from the project's schema: its fields, ranges, classes, examples.

It says what the server does and no more: what a request may hold here is answered, what it may not is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from trimtab.core.ids import UUID7
from trimtab.serving.forms import example_inputs, example_row, instance_form, label_form, tensor_forms

if TYPE_CHECKING:
    from trimtab.core.schema import Schema
    from trimtab.serving.limits import Limits
    from trimtab.serving.traffic import Traffic

Doc = dict[str, Any]
TEXT: Doc = {"type": "string"}
_WHY = {
    400: "The request is not understood; `error` says which field, what was expected and what came.",
    401: "No key, or none that counts.",
    403: "The key is for something else.",
    404: "This model or version does not serve here.",
    405: "The method is not allowed here.",
    408: "The request came too slowly.",
    413: "The body is longer, or has more rows, than is taken in one request.",
    415: "The body is no JSON by its headers.",
    422: "The model has no finite answer for a row.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "No version serves yet, or the disk takes no more.",
    504: "The deadline passed before there was an answer.",
}
_ID = f"^{UUID7}-0$"
_HEADERS: list[tuple[str, str, Doc]] = [
    (
        "X-Prediction-Id",
        "The id that row 0 shall have: `<UUIDv7>-0`.",
        {"pattern": _ID, "examples": ["0193a6a0-0000-7000-8000-000000000000-0"]},
    ),
    ("X-Trimtab-Key", "A caller's key: while a canary runs, the same key meets the same version.", {}),
    ("X-Request-Id", "An id of the request; logged with its rows and given back.", {"pattern": "^[!-~]{1,128}$"}),
    ("traceparent", "W3C trace context; logged with the rows, continued in the answer.", {}),
]


def document(model: str, traffic: Traffic, key_required: bool) -> Doc:
    """The OpenAPI 3.1 document.

    Args:
        model: the model's name.
        traffic: what serves now; while nothing does, the document has health and feedback alone.
        key_required: whether predictions need a key; the document, which needs none, then tells what a field may hold
            but not what the data holds.
    """
    champion = traffic.champion
    paths = _health_paths(model)
    schemas: Doc = {"Error": _error_form()}
    schema = champion.schema if champion is not None else None
    if champion is not None:
        schemas |= _schemas(champion.schema, champion.limits, not key_required)
        paths |= _inference_paths(model, traffic, key_required, champion.schema)
    schemas["Feedback"] = _feedback_form(model, schema)
    paths["/feedback"] = {"post": _feedback_operation()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": model,
            "version": champion.version if champion is not None else "none",
            "summary": f"Predictions of {schema.target.name}" if schema is not None else "No version serves yet",
            "description": f"Served by Trimtab {installed('trimtab')} under KServe's V1 and V2 protocols.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


def _inference_paths(model: str, traffic: Traffic, key_required: bool, schema: Schema) -> Doc:
    row, inputs = example_row(schema, not key_required), example_inputs(schema, not key_required)
    v1 = {"instances": [row]} if row is not None else None
    v2 = {"inputs": inputs} if inputs is not None else None
    predict = _post("predict", "Predict (V1)", ("PredictRequest", "PredictResponse"), v1, key_required)
    forms = ("InferRequest", "InferResponse")
    infer = _post("infer", "Predict (V2, the Open Inference Protocol)", forms, v2, key_required)
    pinned = _post("inferVersion", "Predict with one version (V2)", forms, v2, key_required)
    versions = {"type": "string", "enum": traffic.versions}
    pinned["parameters"] = [
        {"name": "version", "in": "path", "required": True, "schema": versions},
        *pinned["parameters"],
    ]
    return {
        f"/v1/models/{model}:predict": {"post": predict},
        f"/v2/models/{model}/infer": {"post": infer},
        f"/v2/models/{model}/versions/{{version}}/infer": {"post": pinned},
    }


def _post(name: str, summary: str, forms: tuple[str, str], example: Doc | None, key_required: bool) -> Doc:
    """A POST that predicts; `forms` name the schemas of request and answer."""
    request, response = forms
    content: Doc = {"schema": _ref(request)}
    if example is not None:
        content["example"] = example
    answer: Doc = {
        "description": "Answered.",
        "headers": {
            "X-Prediction-Id": {
                "required": True,
                "schema": TEXT,
                "description": "Id of row 0, for its label.",
            },
            "X-Model-Version": {"required": True, "schema": TEXT, "description": "The version that answered."},
        },
        "content": {"application/json": {"schema": _ref(response)}},
    }
    codes = (400, 404, 405, 408, 413, 415, 422, 429, 503, 504)
    keyed = (401, 403) if key_required else ()
    operation: Doc = {
        "operationId": name,
        "summary": summary,
        "tags": ["inference"],
        "parameters": [
            {"name": header, "in": "header", "description": text, "schema": {"type": "string", **form}}
            for header, text, form in _HEADERS
        ],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {"200": answer, **_errors(*codes, *keyed)},
    }
    if key_required:
        operation["security"] = [{"key": []}]
    return operation


def _feedback_operation() -> Doc:
    taken = {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer", "minimum": 1}}}
    return {
        "operationId": "feedback",
        "summary": "Say what turned out to be true",
        "description": "Labels by prediction id or by the rows' own key. Answered once they are on disk.",
        "tags": ["feedback"],
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Feedback")}}},
        "responses": {
            "202": {"description": "Kept.", "content": {"application/json": {"schema": taken}}},
            **_errors(400, 401, 404, 405, 408, 413, 415, 429, 503),
        },
    }


def _health_paths(model: str) -> Doc:
    flag = {"type": "boolean"}
    names = {"type": "array", "items": TEXT}
    found: list[tuple[str, str, str, Doc, tuple[int, ...]]] = [
        ("/v2/health/live", "live", "Whether the process lives", {"live": flag}, ()),
        ("/v2/health/ready", "ready", "Whether a version serves", {"ready": flag}, (503,)),
        ("/v2", "server", "Name, version and extensions", {"name": TEXT, "version": TEXT, "extensions": names}, ()),
        ("/v2/models", "models", "The model's name", {"models": names}, ()),
        ("/v1/models", "modelsV1", "The model's name", {"models": names}, ()),
        (f"/v1/models/{model}", "modelV1", "Whether the model serves", {"name": TEXT, "ready": flag}, (404, 503)),
        (f"/v2/models/{model}/ready", "modelReady", "The same (V2)", {"name": TEXT, "ready": flag}, (404, 503)),
        (
            f"/v2/models/{model}",
            "metadata",
            "Inputs and outputs as tensors",
            {
                "name": TEXT,
                "versions": names,
                "platform": TEXT,
                "inputs": {"type": "array", "items": {"type": "object"}},
                "outputs": {"type": "array", "items": {"type": "object"}},
            },
            (404, 503),
        ),
    ]
    return {path: {"get": _get(name, text, facts, codes)} for path, name, text, facts, codes in found}


def _get(name: str, summary: str, facts: Doc, codes: Sequence[int]) -> Doc:
    form = {"type": "object", "required": list(facts), "properties": facts}
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["health and metadata"],
        "responses": {
            "200": {"description": "Yes.", "content": {"application/json": {"schema": form}}},
            **_errors(405, *codes),
        },
    }


def _schemas(schema: Schema, limits: Limits, tell: bool) -> Doc:
    """What requests and answers of both protocols hold."""
    target = schema.target
    label: Doc = {"type": "string", "enum": list(target.classes)} if target.classes else {"type": "number"}
    probabilities = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}
    predictions: Doc = {"type": "array", "items": {**label, **({"description": target.unit} if target.unit else {})}}
    predicted: Doc = {"predictions": predictions}
    outputs = ["value"]
    if target.kind == "category":
        predicted["probabilities"] = {"type": "array", "items": probabilities}
        outputs = ["label", "probabilities"]
    names, tensor = tensor_forms(schema)
    wanted = {"type": "boolean", "description": "answer with the probabilities of all classes too"}
    return {
        "Row": instance_form(schema, tell),
        "PredictRequest": {
            "type": "object",
            "required": ["instances"],
            "properties": {
                "instances": {"type": "array", "minItems": 1, "maxItems": limits.max_rows, "items": _ref("Row")},
                "parameters": {"type": ["object", "null"], "properties": {"probabilities": wanted}},
            },
        },
        "PredictResponse": {"type": "object", "required": ["predictions"], "properties": predicted},
        "Tensor": tensor,
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "description": f"One tensor each of {', '.join(names)}; the first number of a shape is that of the rows.",
            "properties": {
                "id": TEXT,
                "inputs": {"type": "array", "minItems": 1, "items": _ref("Tensor")},
                "outputs": {
                    "type": ["array", "null"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string", "enum": outputs}},
                    },
                },
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "model_version", "id", "outputs"],
            "properties": {
                "model_name": TEXT,
                "model_version": TEXT,
                "id": TEXT,
                "outputs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "datatype", "shape", "data"],
                        "properties": {
                            "name": {"type": "string", "enum": outputs},
                            "datatype": {"type": "string", "enum": ["BYTES", "FP32"]},
                            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                            "data": {"type": "array"},
                        },
                    },
                },
            },
        },
    }


def _feedback_form(model: str, schema: Schema | None) -> Doc:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["labels"],
        "properties": {
            "model": {"enum": [model, None], "description": "checked where it is given"},
            "labels": {"type": "array", "minItems": 1, "maxItems": 1000, "items": label_form(schema)},
        },
    }


def _error_form() -> Doc:
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "the whole story as a sentence"},
            "object": {"type": "string", "description": "the field, header or place that it is about"},
            "expected": TEXT,
            "got": TEXT,
        },
    }


def _errors(*codes: int) -> Mapping[str, Doc]:
    return {
        str(code): {
            "description": _WHY[code],
            "content": {"application/json": {"schema": _ref("Error")}},
            **({"headers": {"Retry-After": {"schema": {"type": "string"}}}} if code in {429, 503} else {}),
        }
        for code in sorted(codes)
    }


def _ref(name: str) -> Doc:
    return {"$ref": f"#/components/schemas/{name}"}
