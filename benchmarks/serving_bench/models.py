"""The models that every server gets: a small MLP, and a ResNet-18 of random weights, as ONNX without torch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

MLP = (64, 256, 128, 10)
IMAGE = (64, 64, 3)
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


class Graph:
    """An ONNX graph in the making: nodes in a row, weights drawn from one seeded generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int, fan_in: int = 0) -> str:
        """A weight with He's variance, or zeros where `fan_in` is 0."""
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        values = self.rng.normal(0, np.sqrt(2 / fan_in), shape) if fan_in else np.zeros(shape)
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, x: str, into: int, out: int, size: int, stride: int) -> str:
        """A convolution with its bias, as it is once batch normalisation was folded into it."""
        weight = self.weight(out, into, size, size, fan_in=into * size * size)
        pads = [size // 2] * 4
        return self.add(
            "Conv", [x, weight, self.weight(out)], kernel_shape=[size, size], strides=[stride, stride], pads=pads
        )

    def model(self, shape: tuple[int, ...], input_name: str) -> bytes:
        """The model: `input_name` float32 [n, *shape] in, `probabilities` [n, 10] out."""
        from onnx import TensorProto, checker, helper

        self.nodes.append(helper.make_node("Softmax", [self.nodes[-1].output[0]], ["probabilities"], axis=1))
        graph = helper.make_graph(
            self.nodes,
            "benchmark",
            [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        checker.check_model(made)
        body: bytes = made.SerializeToString()
        return body


def mlp(seed: int = 0) -> bytes:
    """64 → 256 → 128 → 10, ReLU between."""
    graph, x = Graph(seed), "input"
    for i, (into, out) in enumerate(pairwise(MLP)):
        x = graph.add("Gemm", [x, graph.weight(into, out, fan_in=into), graph.weight(out)])
        if i < len(MLP) - 2:
            x = graph.add("Relu", [x])
    return graph.model((MLP[0],), "input")


def resnet18(seed: int = 0) -> bytes:
    """ResNet-18 (He et al. 2015) on images [n, 64, 64, 3] of 0 to 255; 11.2 million weights.

    Each residual branch is scaled down so that random weights keep activations finite.
    """
    from onnx import numpy_helper

    graph = Graph(seed)
    graph.weights.append(numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"))
    x = graph.add("Mul", [graph.add("Transpose", ["image"], perm=[0, 3, 1, 2]), "scale"])
    x = graph.add("Relu", [graph.conv(x, 3, 64, 7, 2)])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for out, stride in STAGES:
        for first in (True, False):
            step = stride if first else 1
            y = graph.add("Relu", [graph.conv(x, width, out, 3, step)])
            y = graph.conv(y, out, out, 3, 1)
            if step != 1 or width != out:
                x = graph.conv(x, width, out, 1, step)
            x, width = graph.add("Relu", [graph.add("Add", [x, y])]), out
    x = graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    scaled = graph.add("Mul", [x, "scale"])
    graph.add("Gemm", [scaled, graph.weight(width, 10, fan_in=width), graph.weight(10)])
    return graph.model(IMAGE, "image")


def session(path: Path) -> Any:
    """An ONNX Runtime session of one thread, as every server here uses it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
