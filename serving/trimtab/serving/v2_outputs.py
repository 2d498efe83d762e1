"""What a V2 request asks for, and its answer's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trimtab.core.errors import RequestError
from trimtab.core.values import describe
from trimtab.serving import v2_binary
from trimtab.serving.v2_inputs import SIZE

if TYPE_CHECKING:
    from trimtab.serving.calls import Prediction
    from trimtab.serving.model import LoadedModel
    from trimtab.serving.prepared import Prepared


class Wanted(NamedTuple):
    """What an answer shall hold.

    Attributes:
        id: the request's own, else its UUID.
        outputs: names in order, each with whether its data is sent as bytes.
    """

    id: str
    outputs: list[tuple[str, bool]]


class Known(NamedTuple):
    """What the JSON before a matrix's bytes was read as.

    Attributes:
        n: rows of the matrix.
        outputs: as of `Wanted`.
        id: the request's own, if it gave one.
    """

    n: int
    outputs: list[tuple[str, bool]]
    id: str | None


def output_names(model: LoadedModel) -> list[str]:
    """What a version answers with, in order."""
    return ["label", "probabilities"] if model.classifies else ["value"]


def read_wanted(payload: dict[str, Any], model: LoadedModel) -> list[tuple[str, bool]]:
    """The outputs that a request asks for, by default all, each with whether its data is sent as bytes.

    Raises:
        RequestError: 400, the model has no such output.
    """
    names = output_names(model)
    binary = _binary(payload, "binary_data_output", "parameters", False)
    requested = payload.get("outputs")
    if requested is None or requested == []:
        return [(name, binary) for name in names]
    if not isinstance(requested, list):
        raise RequestError(
            400, "`outputs` is no list", object="outputs", expected='[{"name": …}]', got=describe(requested)
        )
    wanted: dict[str, bool] = {}
    for i, one in enumerate(requested):
        name = one.get("name") if isinstance(one, dict) else None
        if name not in names:
            raise RequestError(
                400,
                "the model has no such output",
                object=f"outputs[{i}]",
                expected=" or ".join(names),
                got=describe(one if name is None else name),
            )
        if name not in wanted:
            wanted[name] = _binary(one, "binary_data", f"outputs[{i}].parameters", binary)
    return list(wanted.items())


def write_output(name: str, binary: bool, said: Prediction, prepared: Prepared, parts: list[bytes]) -> dict[str, Any]:
    """One output's entry; binary data goes to `parts`.

    Args:
        name: of the output.
        binary: whether its data is sent as bytes.
        said: what is answered.
        prepared: has each label as BYTES.
        parts: takes the data of binary outputs, in order.
    """
    n = len(said.outputs)
    if name == "label":
        if binary:
            if prepared.even is not None and said.places is not None:
                parts.append(prepared.even[said.places].tobytes())
            else:
                parts.append(b"".join(map(prepared.texts.__getitem__, said.outputs)))
            return {"name": name, "datatype": "BYTES", "shape": [n], "parameters": {SIZE: len(parts[-1])}}
        return {"name": name, "datatype": "BYTES", "shape": [n], "data": said.outputs}
    values: Any = said.outputs if said.probabilities is None or name != "probabilities" else said.probabilities
    shape = [n, 1] if values is said.outputs else list(values.shape)
    if binary:
        parts.append(v2_binary.numbers(values))
        return {"name": name, "datatype": "FP32", "shape": shape, "parameters": {SIZE: len(parts[-1])}}
    return {"name": name, "datatype": "FP32", "shape": shape, "data": values if len(shape) == 1 else _flat(values)}


def _flat(values: Any) -> Any:
    return values.ravel() if isinstance(values, np.ndarray) else values


def _binary(of: dict[str, Any], name: str, place: str, default: bool) -> bool:
    """A parameter that says whether data is sent as bytes."""
    parameters = of.get("parameters")
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise RequestError(
            400, "`parameters` is no object", object=place, expected=f'{{"{name}": true}}', got=describe(parameters)
        )
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(
            400,
            f"the parameter `{name}` is neither true nor false",
            object=f"{place}.{name}",
            expected="true or false",
            got=describe(value),
        )
    if parameters.get("classification"):
        raise RequestError(
            400,
            "classification is no parameter here",
            object=f"{place}.classification",
            expected="the outputs `label` and `probabilities`",
            got=describe(parameters["classification"]),
        )
    return value
