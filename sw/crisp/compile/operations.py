"""The operations that a graph may hold: at which levels, with which attributes, and what shape comes out."""

import dataclasses
from collections.abc import Callable, Mapping

from crisp.golden.convolution import Window

from .errors import CompileError
from .graph import Graph, Level, Node

__all__ = ["ELEMENTWISE", "OPERATIONS", "REQUANTIZED", "VALUE_PRESERVING", "Operation"]

ALL = (Level.FLOAT, Level.INTEGER, Level.FIXED)
BOTH = (Level.FLOAT, Level.INTEGER)
FLOAT = (Level.FLOAT,)
INTEGERS = (Level.INTEGER, Level.FIXED)

#: Functions of one value: ReLU and clamp may be merged into what stands before them, any of them becomes a table.
ELEMENTWISE = ("Relu", "Clip", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "Swish", "HardSwish", "Gelu", "Tanh")

#: Operations that end in scaling, rounding and clamping.
REQUANTIZED = ("Conv", "Gemm", "Add", "AveragePool", "GlobalAveragePool", "ReduceMean")

#: Operations whose outputs are some of their inputs, so that quantization goes through them.
VALUE_PRESERVING = ("MaxPool", "Reshape")

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """Rules of an operation.

    Parameters
    ----------
    levels : tuple of Level
        Where it may stand.
    shape : callable
        Returns the shape of the output from node and graph; raises `CompileError` when the inputs' shapes do not fit.
    attributes : tuple of str
        What it has from the start.
    fixed : tuple of str
        What it has besides at `Level.FIXED`.
    """

    levels: tuple[Level, ...]
    shape: Callable[[Node, Graph], Shape]
    attributes: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    def attributes_at(self, level: Level) -> tuple[str, ...]:
        """Return the attributes that a node must have at ``level``."""
        return (*self.attributes, *(self.fixed if level is Level.FIXED else ()))


def image_of(node: Node, graph: Graph) -> Shape:
    """Return the shape of the first input, which must be [N, C, H, W]."""
    shape = graph.tensors[node.inputs[0]].shape
    if len(shape) != 4:
        raise CompileError(f"{node.name}: input must be [N, C, H, W], not {list(shape)}")
    return shape


def same(node: Node, graph: Graph) -> Shape:
    """Return the input's shape."""
    return graph.tensors[node.inputs[0]].shape


def broadcast(node: Node, graph: Graph) -> Shape:
    """Return the larger of two shapes; the smaller one is a constant along some axes."""
    a, b = (graph.tensors[name].shape for name in node.inputs)
    if len(a) < len(b):
        a, b = b, a
    padded = (1,) * (len(a) - len(b)) + b
    if any(x != y and 1 not in (x, y) for x, y in zip(a, padded, strict=True)):
        raise CompileError(f"{node.name}: inputs must have one shape, not {list(a)} and {list(b)}")
    return tuple(max(x, y) for x, y in zip(a, padded, strict=True))


def window_output(node: Node, graph: Graph, channels: int) -> Shape:
    """Return the shape that the node's window leaves, with ``channels``."""
    images, _, height, width = image_of(node, graph)
    window: Window = node.attributes["window"]
    return (images, channels, *window.output_size(height, width))


def convolution(node: Node, graph: Graph) -> Shape:
    """Return [N, O, H', W']."""
    images, weight, groups = image_of(node, graph), graph.tensors[node.inputs[1]].shape, node.attributes["groups"]
    kernel = node.attributes["window"].kernel
    if len(weight) != 4 or weight[2:] != kernel:
        raise CompileError(f"{node.name}: weights must be [O, C, kh, kw] with the kernel {kernel}, not {list(weight)}")
    if groups < 1 or weight[1] * groups != images[1] or weight[0] % groups:
        raise CompileError(f"{node.name}: weights {list(weight)} in {groups} groups must fit {images[1]} input channels")
    check_bias(node, graph, weight[0])
    return window_output(node, graph, weight[0])


def linear(node: Node, graph: Graph) -> Shape:
    """Return [N, O]."""
    source, weight = graph.tensors[node.inputs[0]].shape, graph.tensors[node.inputs[1]].shape
    outputs, inputs = weight if node.attributes["transposed"] else weight[::-1] if len(weight) == 2 else (0, 0)
    if len(source) != 2 or source[1] != inputs:
        raise CompileError(f"{node.name}: input {list(source)} and weights {list(weight)} must be matrices that fit")
    check_bias(node, graph, outputs)
    return (source[0], outputs)


def check_bias(node: Node, graph: Graph, channels: int) -> None:
    """Raise unless the node has no bias or one number a channel."""
    if len(node.inputs) > 2 and node.inputs[2] and graph.tensors[node.inputs[2]].shape != (channels,):
        raise CompileError(f"{node.name}: bias must be [{channels}], not {list(graph.tensors[node.inputs[2]].shape)}")


def pooling(node: Node, graph: Graph) -> Shape:
    """Return [N, C, H', W']."""
    return window_output(node, graph, image_of(node, graph)[1])


def global_pooling(node: Node, graph: Graph) -> Shape:
    """Return [N, C, 1, 1]."""
    return (*image_of(node, graph)[:2], 1, 1)


def reduction(node: Node, graph: Graph) -> Shape:
    """Return [N, C, 1, 1] or [N, C]."""
    return (*image_of(node, graph)[:2], *((1, 1) if node.attributes["keepdims"] else ()))


def reshaped(node: Node, graph: Graph) -> Shape:
    """Return the shape that is asked for."""
    shape: Shape = node.attributes["shape"]
    size = 1
    for length in shape:
        size *= length
    if size != graph.tensors[node.inputs[0]].size:
        raise CompileError(f"{node.name}: {list(same(node, graph))} must have as many elements as {list(shape)}")
    return shape


def transposed(node: Node, graph: Graph) -> Shape:
    """Return the shape with its axes in another order."""
    source = same(node, graph)
    if sorted(node.attributes["perm"]) != list(range(len(source))):
        raise CompileError(f"{node.name}: perm must order {len(source)} axes, not be {list(node.attributes['perm'])}")
    return tuple(source[axis] for axis in node.attributes["perm"])


OPERATIONS: Mapping[str, Operation] = {
    # Only in the model.
    "QuantizeLinear": Operation(levels=FLOAT, shape=same, attributes=("quantization",)),
    "DequantizeLinear": Operation(levels=FLOAT, shape=same, attributes=("quantization",)),
    "Identity": Operation(levels=FLOAT, shape=same),
    "Transpose": Operation(levels=FLOAT, shape=transposed, attributes=("perm",)),
    "BatchNormalization": Operation(levels=FLOAT, shape=same, attributes=("epsilon",)),
    "Mul": Operation(levels=FLOAT, shape=broadcast),
    **{name: Operation(levels=FLOAT, shape=same) for name in ELEMENTWISE},
    # Until they are recognised as one of those below.
    "Gemm": Operation(levels=BOTH, shape=linear, attributes=("transposed",)),
    "ReduceMean": Operation(levels=BOTH, shape=reduction, attributes=("keepdims",)),
    "Reshape": Operation(levels=BOTH, shape=reshaped, attributes=("shape",)),
    # What the machine has.
    "Conv": Operation(levels=ALL, shape=convolution, attributes=("window", "groups"), fixed=("multiplier", "shift", "clamp")),
    "Add": Operation(levels=ALL, shape=broadcast, fixed=("multipliers", "shift", "clamp")),
    "MaxPool": Operation(levels=ALL, shape=pooling, attributes=("window",)),
    "AveragePool": Operation(levels=ALL, shape=pooling, attributes=("window",), fixed=("multiplier", "shift", "clamp")),
    "GlobalAveragePool": Operation(levels=ALL, shape=global_pooling, fixed=("multiplier", "shift", "clamp")),
    "Table": Operation(levels=INTEGERS, shape=same, attributes=("table",)),
}
