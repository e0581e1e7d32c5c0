"""ReLU and clamps become limits of what they follow."""

import numpy as np

from ..graph import Graph, Node
from ..operations import REQUANTIZED, VALUE_PRESERVING

__all__ = ["fuse_activations", "set_bounds"]


def fuse_activations(graph: Graph) -> None:
    """Merge every Relu and Clip into the operation before it, when nothing else uses that, as its attribute ``bounds``.

    Max pooling and new shapes between the two do not matter: they pass values on, and limits keep their order.
    """
    for node in [node for node in graph.nodes if node.operation in ("Relu", "Clip")]:
        before = source(node, graph)
        if before is not None:
            set_bounds(before, node)
            graph.bypass(node)
    graph.remove_dead()


def set_bounds(node: Node, clamp: Node) -> None:
    """Give a node the limits of ``clamp``, behind those that it has."""
    low, high = node.attributes.get("bounds", (-np.inf, np.inf))
    least, most = clamp.attributes["bounds"]
    node.attributes["bounds"] = (min(max(low, least), most), min(max(high, least), most))


def source(node: Node, graph: Graph) -> Node | None:
    """Return the operation that can take the limits of ``node``."""
    while True:
        before = graph.producer(node.inputs[0])
        if before is None or graph.only_consumer(before.output) is not node:
            return None
        if before.operation in REQUANTIZED:
            return before
        if before.operation not in VALUE_PRESERVING:
            return None
        node = before
