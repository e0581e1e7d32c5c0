"""Convolutions in groups become whole ones with zeros, which the machine skips."""

import numpy as np

from ..graph import Graph, Node, Quantization

__all__ = ["expand_groups"]


def expand_groups(graph: Graph) -> None:
    """Give every convolution in groups weights for all input channels, 0 for those of other groups; mark it ``zeros``.

    Such weights are blocks along a diagonal, which is a pattern like any other. Depthwise convolutions stay, for which the machine has
    something better.
    """
    for node in graph.nodes:
        if node.operation == "Conv" and node.attributes["groups"] > 1 and not is_depthwise(node, graph):
            name = node.inputs[1]
            weight, meaning = graph.constant(name), graph.meaning(name)
            whole = expand(weight, node.attributes["groups"])
            node.inputs[1] = graph.add_constant(f"{name}.whole", whole, Quantization(meaning.scale, meaning.zero_point, meaning.axis))
            node.attributes |= {"groups": 1, "zeros": True}
    graph.remove_dead()


def is_depthwise(node: Node, graph: Graph) -> bool:
    """Tell whether each channel is convolved by itself."""
    outputs, depth = graph.tensors[node.inputs[1]].shape[:2]
    return depth == 1 and outputs == node.attributes["groups"]


def expand(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return weights [O, C / groups, kh, kw] as [O, C, kh, kw]."""
    outputs, depth, *kernel = weight.shape
    whole = np.zeros((groups, outputs // groups, groups, depth, *kernel), weight.dtype)
    for number in range(groups):
        whole[number, :, number] = weight.reshape(groups, outputs // groups, depth, *kernel)[number]
    return whole.reshape(outputs, groups * depth, *kernel)
