"""A constant that is added to each channel of a product becomes its bias."""

from ..graph import Graph, Node

__all__ = ["merge_bias"]


def merge_bias(graph: Graph) -> None:
    """Turn Add of a Gemm or a Conv without bias, which nothing else uses, and a constant along its channels into a bias."""
    for node in [node for node in graph.nodes if node.operation == "Add"]:
        for product, constant in (node.inputs, node.inputs[::-1]):
            before = graph.producer(product)
            if before is not None and can_take(before, constant, graph) and graph.only_consumer(product) is node:
                value = graph.reals(constant)
                before.inputs = [*before.inputs[:2], graph.add_constant(f"{node.name}.bias", value.reshape(-1))]  # type: ignore[union-attr]
                node.inputs = [product]
                graph.bypass(node)
                break
    graph.remove_dead()


def can_take(product: Node, constant: str, graph: Graph) -> bool:
    """Tell whether a product has no bias yet, and a constant has one number for each of its channels."""
    if product.operation not in ("Gemm", "Conv") or any(product.inputs[2:]) or graph.reals(constant) is None:
        return False
    shape = graph.tensors[product.output].shape
    channels = (shape[1],) + (1,) * (len(shape) - 2)
    wanted = (1,) * (len(shape) - len(channels)) + channels
    found = graph.tensors[constant].shape
    return found == wanted[len(wanted) - len(found) :] and len(found) >= len(channels)
