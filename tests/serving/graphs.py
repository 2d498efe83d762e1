"""Tiny real models as ONNX graphs, one a kind: the tests' bundles hold them."""

from __future__ import annotations

from typing import Any

import numpy as np


def _digits(rng: np.random.Generator) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array((rng.normal(size=(64, 10)) / 16).astype(np.float32), "w")
    return _model(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        [weights],
    )


def _numbers(rng: np.random.Generator) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(rng.normal(size=(4, 1)).astype(np.float32), "w")
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    return _model(
        [
            helper.make_node("IsNaN", ["input"], ["nan"]),
            helper.make_node("Where", ["nan", "zero", "input"], ["filled"]),
            helper.make_node("MatMul", ["filled", "w"], ["value"]),
        ],
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n", 1])],
        [weights, zero],
    )


def _heavy(rng: np.random.Generator) -> Any:
    """The same task, some milliseconds a row on any machine: one matrix of a million weights, sixty times."""
    from onnx import TensorProto, helper, numpy_helper

    wide = 1024
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, wide)).astype(np.float32), "first"),
        numpy_helper.from_array((rng.normal(size=(wide, wide)) / wide**0.5).astype(np.float32), "w"),
        numpy_helper.from_array((rng.normal(size=(wide, 1)) / wide).astype(np.float32), "last"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    nodes = [
        helper.make_node("IsNaN", ["input"], ["nan"]),
        helper.make_node("Where", ["nan", "zero", "input"], ["filled"]),
        helper.make_node("MatMul", ["filled", "first"], ["h0"]),
    ]
    for i in range(60):
        nodes += [
            helper.make_node("MatMul", [f"h{i}", "w"], [f"m{i}"]),
            helper.make_node("Tanh", [f"m{i}"], [f"h{i + 1}"]),
        ]
    return _model(
        [*nodes, helper.make_node("MatMul", ["h60", "last"], ["value"])],
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n", 1])],
        weights,
    )


def _photo(rng: np.random.Generator) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array((rng.normal(size=(73, 3)) / 1000).astype(np.float32), "w")
    return _model(
        [
            helper.make_node("Flatten", ["photo"], ["flat"]),
            helper.make_node("Concat", ["flat", "weight"], ["x"], axis=1),
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        [
            helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["n", 6, 4, 3]),
            helper.make_tensor_value_info("weight", TensorProto.FLOAT, ["n", 1]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])],
        [weights],
    )


def _mixed(rng: np.random.Generator) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array((rng.normal(size=(3, 2)) / 30).astype(np.float32), "w")
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    encode = helper.make_node(
        "LabelEncoder",
        ["plan"],
        ["code"],
        domain="ai.onnx.ml",
        keys_strings=["basic", "plus"],
        values_floats=[1.0, 2.0],
        default_float=0.0,
    )
    return _model(
        [
            encode,
            helper.make_node("IsNaN", ["income"], ["nan"]),
            helper.make_node("Where", ["nan", "zero", "income"], ["filled"]),
            helper.make_node("Concat", ["age", "filled", "code"], ["x"], axis=1),
            helper.make_node("MatMul", ["x", "w"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        [
            helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("income", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("plan", TensorProto.STRING, ["n", 1]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [weights, zero],
    )


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> Any:
    from onnx import helper

    graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


GRAPHS = {
    "digits": _digits,
    "numbers": _numbers,
    "narrow": _numbers,
    "mixed": _mixed,
    "hidden": _numbers,
    "heavy": _heavy,
    "photo": _photo,
}
