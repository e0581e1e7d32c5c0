"""Quantized models as ONNX with Q/DQ nodes: what other tools read, and what the compiler begins with.

Every operation stands between DequantizeLinear and QuantizeLinear, on real numbers [N, C, H, W], so that any runtime gives it the meaning
of its QLinear counterpart. Weights are int8 with a scale for each output channel, biases int32 in units of input scale x weight scale. The
zeros among the weights are the pattern; metadata say the block and the group that they were pruned for, what the outputs are called, and
how pixels are normalised.

Source: "ONNX Concepts" and "ONNX Operators", https://onnx.ai/onnx, version 20.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from crisp.data import Normalization
from crisp.golden.convolution import Window

from .activations import NO_CLAMP, RELU, Clamp
from .affine import Affine
from .errors import QuantizeError
from .nodes import (
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedMaxPool,
    QuantizedModel,
    QuantizedNode,
    QuantizedPool,
    QuantizedProduct,
    QuantizedTable,
)

__all__ = ["OPSET", "export_onnx"]

#: Version of ONNX's operators: the first with Gelu.
OPSET = 20

#: Version of the file format that goes with it.
IR_VERSION = 9

INPUT = "input"

#: ONNX's operations for a function of one value, one after the other; the last of two also takes what went in.
CURVES: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]] = {
    "gelu": (("Gelu", {}),),
    "hardsigmoid": (("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),),
    "hardswish": (("HardSwish", {}),),
    "identity": (),
    "sigmoid": (("Sigmoid", {}),),
    "silu": (("Sigmoid", {}), ("Mul", {})),
    "tanh": (("Tanh", {}),),
}


def export_onnx(
    model: QuantizedModel,
    *,
    block: int | None = None,
    group: int | None = None,
    classes: Sequence[str] = (),
    normalization: Normalization | None = None,
) -> bytes:
    """Return a quantized model as an ONNX file, for any number of images of the size that it was calibrated with.

    Linear layers at the end become Gemm, so that a classifier's output is [N, classes].

    Parameters
    ----------
    model : QuantizedModel
        Model in int8.
    block, group : int, optional
        B and M of the pattern that its weights were pruned to.
    classes : sequence of str
        Names of the output's channels, where they are known.
    normalization : Normalization, optional
        How pixels become the model's input, where that is known.

    Raises
    ------
    QuantizeError
        When it is not known for which images the model is.
    """
    if model.image is None:
        raise QuantizeError(f"{model.name}: a model must know its images to be exported; quantize it with some")
    known = {
        "crisp.block": block,
        "crisp.group": group,
        "crisp.classes": json.dumps(list(classes)) if classes else None,
        "crisp.normalization": None if normalization is None else normalization.to_json(),
    }
    return Exporter(model, model.image).model({name: str(value) for name, value in known.items() if value is not None}).SerializeToString()


class Exporter:
    """Writes node after node."""

    def __init__(self, model: QuantizedModel, image: tuple[int, int, int]) -> None:
        self.source = model
        self.channels = image[2]
        self.sizes = {INPUT: image[:2]}
        for node in model.nodes:
            self.sizes[node.name] = output_size(node, self.sizes[node.inputs[0]])
        self.linear = linear_tail(model, self.sizes)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def model(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Return the whole model."""
        self.quantize(INPUT, INPUT)
        for node in self.source.nodes:
            self.add(node)
        last = self.source.nodes[-1]
        output: list[str | int | None] = ["N", None]
        if last.name not in self.linear:
            output += self.sizes[last.name]
        graph = helper.make_graph(
            self.nodes,
            self.source.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", self.channels, *self.sizes[INPUT]])],
            [helper.make_tensor_value_info(real(last.name), TensorProto.FLOAT, output)],
            self.constants,
        )
        model = helper.make_model(graph, producer_name="crisp", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        helper.set_model_props(model, dict(metadata))
        return model

    def add(self, node: QuantizedNode) -> None:
        """Add a node with its limits, and quantize its output."""
        inputs = [real(name) for name in node.inputs]
        if isinstance(node, QuantizedProduct):
            result = self.product(node, inputs[0])
        elif isinstance(node, QuantizedAdd):
            result = self.operation("Add", node.name, inputs)
        elif isinstance(node, QuantizedPool):
            result = self.operation("GlobalAveragePool", node.name, inputs)
        elif isinstance(node, QuantizedAveragePool):
            result = self.operation("AveragePool", node.name, inputs, **geometry(node.window, dilated=False), count_include_pad=1)
        elif isinstance(node, QuantizedMaxPool):
            result = self.operation("MaxPool", node.name, inputs, **geometry(node.window))
        else:
            result = self.curve(node, inputs[0])
        if not isinstance(node, QuantizedMaxPool):
            result = self.clamp(node, result, node.clamp)
        self.quantize(node.name, result)

    def operation(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an operation; return its output."""
        output = f"{name}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant; return its name."""
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def quantize(self, name: str, result: str) -> None:
        """Quantize what was computed, and dequantize it for those that use it."""
        meaning: Affine = self.source.tensors[name]
        scale = self.constant(f"{name}/scale", np.array(meaning.scale, np.float32))
        zero = self.constant(f"{name}/zero_point", np.array(meaning.zero_point, np.int8))
        self.nodes.append(helper.make_node("QuantizeLinear", [result, scale, zero], [f"{name}/int8"], name=f"{name}/quantize"))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}/int8", scale, zero], [real(name)], name=f"{name}/dequantize"))

    def dequantized(self, name: str, levels: np.ndarray, scale: np.ndarray) -> str:
        """Add a constant of integers with a scale for each of the first axis; return its real numbers."""
        zero = self.constant(f"{name}_zero_point", np.zeros(len(levels), levels.dtype))
        inputs = [self.constant(name, levels), self.constant(f"{name}_scale", scale.astype(np.float32)), zero]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/real"], name=f"{name}/dequantize", axis=0))
        return f"{name}/real"

    def product(self, node: QuantizedProduct, source: str) -> str:
        """Add a convolution or a linear layer."""
        linear = node.name in self.linear
        levels = node.weight.reshape(len(node.weight), -1) if linear else node.weight
        weight = self.dequantized(f"{node.name}.weight", levels, node.weight_scale)
        unit = np.float32(self.source.tensors[node.inputs[0]].scale) * node.weight_scale.astype(np.float32)
        bias = self.dequantized(f"{node.name}.bias", node.bias, unit)
        if not linear:
            return self.operation("Conv", node.name, [source, weight, bias], **geometry(node.convolution), group=node.convolution.groups)
        if node.inputs[0] not in self.linear:
            self.nodes.append(helper.make_node("Flatten", [source], [f"{node.name}/Flatten"], name=f"{node.name}/flatten"))
            source = f"{node.name}/Flatten"
        return self.operation("Gemm", node.name, [source, weight, bias], transB=1)

    def curve(self, node: QuantizedTable, source: str) -> str:
        """Add a function of one value."""
        result, steps = source, CURVES[node.function]
        for number, (kind, attributes) in enumerate(steps, 1):
            inputs, output = ([source, result] if kind == "Mul" else [result]), f"{node.name}/{kind}"
            name = node.name if number == len(steps) else output
            self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
            result = output
        return result

    def clamp(self, node: QuantizedNode, source: str, limits: Clamp) -> str:
        """Add limits, when there are any; return their output. A node that is nothing else gives them its name."""
        if limits == NO_CLAMP:
            return source
        name, output = node.name, f"{node.name}/limited"
        bounds = (
            []
            if limits == RELU
            else [
                self.constant(f"{name}/{what}", np.array(bound, np.float32)) if np.isfinite(bound) else ""
                for what, bound in (("low", limits.low), ("high", limits.high))
            ]
        )
        label = name if source == real(node.inputs[0]) else f"{name}/limit"
        self.nodes.append(helper.make_node("Clip" if bounds else "Relu", [source, *bounds], [output], name=label))
        return output


def real(name: str) -> str:
    """Return the name of the dequantized output of a node."""
    return f"{name}/real"


def geometry(window: Window, *, dilated: bool = True) -> dict[str, list[int]]:
    """Return a window as ONNX's attributes."""
    (above, below), (left, right) = window.borders
    attributes = {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": [above, left, below, right]}
    return {**attributes, "dilations": list(window.dilation)} if dilated else attributes


def output_size(node: QuantizedNode, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a node's output."""
    if isinstance(node, QuantizedProduct):
        return node.convolution.output_size(*size)
    if isinstance(node, QuantizedAveragePool | QuantizedMaxPool):
        return node.window.output_size(*size)
    return (1, 1) if isinstance(node, QuantizedPool) else size


def linear_tail(model: QuantizedModel, sizes: Mapping[str, tuple[int, int]]) -> set[str]:
    """Return the linear layers at the end, which see all pixels in one window, and the tables between and behind them."""
    tail: set[str] = set()
    for node in reversed(model.nodes):
        users = [user.name for user in model.nodes if node.name in user.inputs]
        if all(user in tail for user in users) and (is_linear(node, sizes) or isinstance(node, QuantizedTable)):
            tail.add(node.name)
    for node in model.nodes:
        if isinstance(node, QuantizedTable) and node.inputs[0] not in tail:
            tail.discard(node.name)
    return tail


def is_linear(node: QuantizedNode, sizes: Mapping[str, tuple[int, int]]) -> bool:
    """Tell whether a node is a convolution with a kernel as large as its image."""
    if not isinstance(node, QuantizedProduct) or node.convolution.groups > 1:
        return False
    return node.convolution.kernel == sizes[node.inputs[0]] and not any(map(any, node.convolution.borders))
