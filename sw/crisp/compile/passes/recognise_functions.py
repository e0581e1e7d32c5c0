"""Products of a tensor with a function of itself become one function."""

import math

from ..graph import Graph, Node

__all__ = ["recognise_functions"]


def recognise_functions(graph: Graph) -> None:
    """Turn ``x * sigmoid(x)`` into Swish and ``x * hard_sigmoid(x)`` into HardSwish, where it is that."""
    for node in [node for node in graph.nodes if node.operation == "Mul"]:
        for source, factor in (node.inputs, node.inputs[::-1]):
            before = graph.producer(factor)
            if before is not None and before.inputs[0] == source and combine(node, before):
                node.inputs = [source]
                break
    graph.remove_dead()


def combine(node: Node, factor: Node) -> bool:
    """Make a product the function that it is; tell whether it is one."""
    if factor.operation == "Sigmoid":
        node.operation, node.attributes = "Swish", {"alpha": 1.0}
        return True
    slope, offset = (factor.attributes.get(name, 0.0) for name in ("alpha", "beta"))
    if factor.operation == "HardSigmoid" and math.isclose(slope, 1 / 6, rel_tol=1e-6) and offset == 0.5:
        node.operation, node.attributes = "HardSwish", {}
        return True
    return False
