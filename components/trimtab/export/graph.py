"""Preprocessing, network and calibration as one ONNX graph.

Inputs are exactly `Schema.tensors()`; outputs `probabilities` [n, k] or `value` [n, 1], and `embedding` where the
network has one. Each step mirrors `Preprocessing.apply`, operation for operation in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import ModelError
from trimtab.core.preprocessing import LIMIT, Category, Image, Preprocessing
from trimtab.core.trained import TrainedModel

if TYPE_CHECKING:
    from trimtab.core.schema import Schema

OUTPUTS = frozenset({"probabilities", "value", "embedding"})
IR_VERSION = 9
# A field's name has no slash, so nothing of ours can be called as a field is.
PRE, NETWORK, POST = "pre/", "network/", "post/"


class _Graph:
    """Nodes and constants while a graph is written."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name


def _numbers(graph: _Graph, steps: Preprocessing) -> list[str]:
    names = ["input"] if steps.single_input else [n.name for n in steps.numbers]
    block = names[0] if len(names) == 1 else graph.add("Concat", names, f"{PRE}numbers", axis=1)
    missing = graph.add("IsNaN", [block], f"{PRE}missing")
    fill, mean, scale = (graph.constant(PRE + which, steps.vector(which)) for which in ("fill", "mean", "scale"))
    at = graph.add("Where", [missing, fill, block], f"{PRE}filled")
    at = graph.add("Sub", [at, mean], f"{PRE}centred")
    at = graph.add("Div", [at, scale], f"{PRE}scaled")
    low, high = graph.constant(f"{PRE}low", -LIMIT), graph.constant(f"{PRE}high", LIMIT)
    out = [graph.add("Clip", [at, low, high], f"{PRE}clipped")]
    flags = [i for i, n in enumerate(steps.numbers) if n.flag]
    if flags:
        from onnx import TensorProto

        at = graph.add("Cast", [missing], f"{PRE}missing.float", to=TensorProto.FLOAT)
        chosen = graph.constant(f"{PRE}flagged", flags, np.int64)
        out.append(graph.add("Gather", [at, chosen], f"{PRE}flags", axis=1))
    return out


def _category(graph: _Graph, step: Category) -> str:
    here = PRE + step.name
    index = step.index
    at = graph.add(
        "LabelEncoder", [step.name], f"{here}/index", domain="ai.onnx.ml",
        keys_strings=list(index), values_int64s=list(index.values()), default_int64=0,
    )  # fmt: skip
    at = graph.add("Gather", [graph.constant(f"{here}/table", step.table()), at], f"{here}/slots", axis=0)
    return graph.add("Flatten", [at], f"{here}/flat", axis=1)


def _image(graph: _Graph, step: Image, whole: bool) -> str:
    here = PRE + step.name
    at = graph.add("Sub", [step.name, graph.constant(f"{here}/mean", step.mean)], f"{here}/centred")
    at = graph.add("Div", [at, graph.constant(f"{here}/scale", step.scale)], f"{here}/scaled")
    if not whole:
        return graph.add("Flatten", [at], f"{here}/flat", axis=1)
    if len(step.shape) == 3:
        return graph.add("Transpose", [at], f"{here}/channels", perm=[0, 3, 1, 2])
    return graph.add("Unsqueeze", [at, graph.constant(f"{here}/axis", [1], np.int64)], f"{here}/channels")


def _preprocess(graph: _Graph, steps: Preprocessing) -> str:
    """Name of the preprocessed features."""
    parts = _numbers(graph, steps) if steps.numbers else []
    parts += [_category(graph, c) for c in steps.categories if c.width]
    parts += [_image(graph, i, steps.is_image) for i in steps.images]
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, f"{PRE}features", axis=1)


def _finish(graph: _Graph, model: TrainedModel, at: str) -> str:
    if model.task == "classification":
        at = graph.add("Div", [at, graph.constant(f"{POST}temperature", model.temperature)], f"{POST}calibrated")
        return graph.add("Softmax", [at], "probabilities", axis=1)
    at = graph.add("Mul", [at, graph.constant(f"{POST}scale", model.target.scale)], f"{POST}scaled")
    return graph.add("Add", [at, graph.constant(f"{POST}mean", model.target.mean)], "value")


def compose(schema: Schema, steps: Preprocessing, model: TrainedModel, network: Path) -> bytes:
    """The whole graph, the same bytes for the same model.

    Args:
        schema: fields and target.
        steps: the preprocessing.
        model: description of the network, with temperature or scale.
        network: file of the network's graph.

    Raises:
        ModelError: a feature is called as an output is, or the network's graph cannot be read.
    """
    import onnx
    from onnx import TensorProto, compose, helper

    taken = sorted(OUTPUTS & {spec.name for spec in schema.tensors()})
    if taken:
        raise ModelError(
            f"a field is called {taken[0]!r}, as an output of the model is", object=taken[0],
            hint=f"give the field another name and say `column: {taken[0]}`",
        )  # fmt: skip
    try:
        inner = compose.add_prefix(onnx.load(str(network)), NETWORK)
    except Exception as error:  # noqa: BLE001  protobuf's errors have no base class of their own
        raise ModelError("the network's graph cannot be read", object=str(network), got=str(error)[:200]) from None
    graph = _Graph()
    features = _preprocess(graph, steps)
    graph.add("Identity", [features], f"{NETWORK}features")
    graph.nodes += list(inner.graph.node)
    graph.constants += list(inner.graph.initializer)
    outputs = [(_finish(graph, model, f"{NETWORK}output"), model.outputs)]
    if model.embedding:
        outputs.append((graph.add("Identity", [f"{NETWORK}embedding"], "embedding"), model.embedding))
    kinds = {"FP32": TensorProto.FLOAT, "BYTES": TensorProto.STRING}
    whole = helper.make_graph(
        graph.nodes,
        "trimtab",
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], ["n", *s.shape[1:]]) for s in schema.tensors()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in outputs],
        graph.constants,
    )
    opsets = {o.domain: o.version for o in inner.opset_import}
    if any(node.domain == "ai.onnx.ml" for node in graph.nodes):
        opsets.setdefault("ai.onnx.ml", 3)
    built = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid(domain, opsets[domain]) for domain in sorted(opsets)],
        ir_version=max(IR_VERSION, inner.ir_version),
        producer_name="trimtab",
    )
    onnx.checker.check_model(built)
    body: bytes = built.SerializeToString(deterministic=True)
    return body
