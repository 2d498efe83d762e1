"""The network alone as an ONNX graph: preprocessed features to logits or scaled values.

Built-in networks are written node by node (torch's exporter takes 5 to 12 seconds of CPU), others by
`torch.onnx.export`. Input `features`; outputs `output` and, where the network has one, `embedding`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimtab.core.errors import ModelError
from trimtab.train.nets import Net

OPSET = 18
IR_VERSION = 9


class _Writer:
    """Collects the nodes and weights of a graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, tensor: torch.Tensor) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(tensor.detach().cpu().float().contiguous().numpy(), name))
        return name

    def layer(self, layer: nn.Module, at: str, name: str, output: str) -> str:
        """One layer; gives the name of what it computes."""
        if isinstance(layer, nn.Dropout):
            return at
        if isinstance(layer, nn.Flatten):
            return self.add("Flatten", [at], output, axis=1)
        if isinstance(layer, nn.ReLU):
            return self.add("Relu", [at], output)
        if isinstance(layer, nn.Linear):
            inputs = [at, self.weight(f"{name}.weight", layer.weight), self.weight(f"{name}.bias", layer.bias)]
            return self.add("Gemm", inputs, output, transB=1)
        if isinstance(layer, nn.Conv2d):
            pads = [int(p) for p in layer.padding] * 2
            kernel = list(layer.kernel_size)
            return self.add(
                "Conv", [at, self.weight(f"{name}.weight", layer.weight)], output, kernel_shape=kernel, pads=pads
            )
        if isinstance(layer, nn.BatchNorm2d):
            parts = ("weight", "bias", "running_mean", "running_var")
            inputs = [at, *(self.weight(f"{name}.{part}", getattr(layer, part)) for part in parts)]
            return self.add("BatchNormalization", inputs, output, epsilon=layer.eps)
        if isinstance(layer, nn.MaxPool2d):
            size = int(layer.kernel_size)  # type: ignore[arg-type]  # ours are square
            return self.add("MaxPool", [at], output, kernel_shape=[size, size], strides=[size, size])
        raise ModelError(f"no ONNX node is known for the layer {type(layer).__name__}", object=name)


def write_network(module: nn.Module, shape: tuple[int, ...], outputs: int, path: Path, name: str) -> None:
    """Write the network's graph, the same bytes for the same weights.

    Args:
        module: trained, in eval mode, on the CPU.
        shape: of one preprocessed row.
        outputs: width of the output.
        path: file to write.
        name: the candidate's, for errors.

    Raises:
        ModelError: the module has something that ONNX has not.
    """
    model = _from_net(module, shape, outputs) if isinstance(module, Net) else _exported(module, shape, path, name)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _from_net(net: Net, shape: tuple[int, ...], outputs: int) -> Any:
    from onnx import TensorProto, helper

    writer, at = _Writer(), "features"
    layers = list(net.body.named_children())
    last = next(i for i, (_, layer) in reversed(list(enumerate(layers))) if not isinstance(layer, nn.Dropout))
    for i, (number, layer) in enumerate(layers):
        named = "embedding" if net.embedding and i == last else f"body.{number}.out"
        at = writer.layer(layer, at, f"body.{number}", named)
    writer.layer(net.head, at, "head", "output")
    info = helper.make_tensor_value_info
    shown = [info("output", TensorProto.FLOAT, ["n", outputs])]
    if net.embedding:
        shown.append(info("embedding", TensorProto.FLOAT, ["n", net.embedding]))
    graph = helper.make_graph(
        writer.nodes, "network", [info("features", TensorProto.FLOAT, ["n", *shape])], shown, writer.weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _exported(module: nn.Module, shape: tuple[int, ...], path: Path, name: str) -> Any:
    """Any module by torch's own exporter, without what differs from machine to machine."""
    import onnx

    example = torch.zeros(2, *shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own parts
        try:
            program = torch.onnx.export(
                module, (example,), None, dynamo=True, verbose=False, input_names=["features"],
                output_names=["output"], opset_version=OPSET, dynamic_shapes=({0: torch.export.Dim("n")},),
                external_data=False,
            )  # fmt: skip
            assert program is not None
            program.save(str(path))
        except Exception as error:
            raise ModelError(
                f"candidate {name!r} cannot be written as ONNX: {str(error)[:300]}", object=f"candidates.{name}",
                hint="forward must take one tensor of any number of rows and use operations that ONNX has",
            ) from error  # fmt: skip
    model = onnx.load(str(path))
    _strip(model)
    return model


def _strip(model: Any) -> None:
    """Take out stack traces and paths, which are no part of the network."""
    model.producer_name, model.producer_version, model.doc_string = "", "", ""
    model.ClearField("metadata_props")
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        part.ClearField("metadata_props")
    model.ClearField("functions") if not len(model.functions) else None
