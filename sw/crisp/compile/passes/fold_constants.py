"""Constants are computed, and nodes that do nothing leave."""

import numpy as np

from ..graph import Graph, Node, Quantization

__all__ = ["fold_constants"]


def fold_constants(graph: Graph) -> None:
    """Remove Identity; quantize, transpose and reshape constants; remove what quantizes a tensor as it already was.

    A transposition or a new shape behind the dequantization of a constant, as of the weights of a linear layer, goes before it.
    """
    for node in list(graph.nodes):
        if node.operation == "Identity":
            graph.bypass(node)
        elif node.operation == "QuantizeLinear":
            fold_quantization(node, graph)
        elif node.operation in ("Transpose", "Reshape"):
            fold_layout(node, graph)
    graph.remove_dead()


def fold_quantization(node: Node, graph: Graph) -> None:
    """Quantize a constant; or take the integers from before the dequantization when they are the same."""
    source, quantization = graph.tensors[node.inputs[0]], node.attributes["quantization"]
    before = graph.producer(source.name)
    if source.value is not None:
        become_constant(node, graph, quantization.to_levels(source.value))
    elif before is not None and before.operation == "DequantizeLinear" and before.attributes["quantization"].same(quantization):
        node.inputs = list(before.inputs)
        graph.bypass(node)


def fold_layout(node: Node, graph: Graph) -> None:
    """Transpose or reshape a constant, or the one that a dequantization gives."""
    value = graph.value(node.inputs[0])
    if value is not None:
        become_constant(node, graph, lay_out(node, value))
        return
    before = graph.producer(node.inputs[0])
    levels = graph.value(before.inputs[0]) if before is not None and before.operation == "DequantizeLinear" else None
    if before is None or levels is None:
        return
    quantization, axis = before.attributes["quantization"], 0
    if quantization.scale.size > 1:
        if node.operation == "Reshape":
            return
        axis = node.attributes["perm"].index(quantization.axis)
    constant = graph.add_constant(before.inputs[0], lay_out(node, levels))
    attributes = {"quantization": Quantization(quantization.scale, quantization.zero_point, axis)}
    graph.nodes[graph.nodes.index(node)] = Node(node.name, "DequantizeLinear", [constant], node.output, attributes)


def lay_out(node: Node, value: np.ndarray) -> np.ndarray:
    """Return ``value`` as the node makes it."""
    if node.operation == "Transpose":
        return np.ascontiguousarray(value.transpose(node.attributes["perm"]))
    return value.reshape(node.attributes["shape"])


def become_constant(node: Node, graph: Graph, value: np.ndarray) -> None:
    """Replace a node by what it computes."""
    tensor = graph.tensors[node.output]
    tensor.value, tensor.dtype = value, value.dtype
    graph.nodes.remove(node)
