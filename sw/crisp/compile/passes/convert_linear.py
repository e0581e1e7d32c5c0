"""Linear layers become convolutions, and every tensor an image."""

import numpy as np

from crisp.golden.convolution import Window

from ..errors import CompileError
from ..graph import Graph, Node, Quantization
from ..operations import OPERATIONS

__all__ = ["convert_linear"]


def convert_linear(graph: Graph) -> None:
    """Turn every Gemm into Conv: of one pixel, or behind a flattened image of H x W pixels with a kernel as large as that.

    Its weights for [N, C x H x W] are those of such a convolution already. Reshape then does nothing and leaves: rows of features are
    images of one pixel.

    Raises
    ------
    CompileError
        When an image is given another shape for anything but a linear layer.
    """
    source = graph.tensors[graph.input]
    source.shape = as_image(source.shape)
    for node in list(graph.nodes):
        if node.operation == "Reshape":
            remove_reshape(node, graph)
            continue
        if node.operation == "Gemm":
            convert(node, graph)
        graph.tensors[node.output].shape = OPERATIONS[node.operation].shape(node, graph)
    graph.remove_dead()


def as_image(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return [N, C] as [N, C, 1, 1]."""
    return shape if len(shape) == 4 else (*shape, 1, 1)


def remove_reshape(node: Node, graph: Graph) -> None:
    """Remove a node that makes an image a row of features, or a row an image of one pixel."""
    images, channels, height, width = graph.tensors[node.inputs[0]].shape
    shape = node.attributes["shape"]
    flat = as_image(shape) == (images, channels * height * width, 1, 1)
    users = graph.consumers(node.output)
    linear = all(user.operation == "Gemm" or user.operation == "Reshape" for user in users) and node.output != graph.output
    if shape != (images, channels, height, width) and not (flat and (height * width == 1 or linear)):
        raise CompileError(
            f"{node.name}: [{images}, {channels}, {height}, {width}] must only be flattened for a linear layer, not become {list(shape)}"
        )
    graph.bypass(node)


def convert(node: Node, graph: Graph) -> None:
    """Make a Gemm a Conv."""
    _, channels, height, width = graph.tensors[node.inputs[0]].shape
    name = node.inputs[1]
    matrix = graph.constant(name) if node.attributes.pop("transposed") else graph.constant(name).T
    kernel = np.ascontiguousarray(matrix.reshape(len(matrix), channels, height, width))
    meaning = Quantization(graph.meaning(name).scale, 0)
    node.inputs[1] = graph.add_constant(f"{name}.kernel", kernel, meaning)
    node.operation, node.attributes = "Conv", {**node.attributes, "window": Window(kernel=(height, width)), "groups": 1}
