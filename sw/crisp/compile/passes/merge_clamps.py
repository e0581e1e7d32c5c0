"""A table that only clamps, in the scale that comes in, goes into the limits of the operation before it."""

import numpy as np

from ..graph import Graph
from ..operations import REQUANTIZED
from .fuse_activations import set_bounds

__all__ = ["merge_clamps"]


def merge_clamps(graph: Graph) -> None:
    """Merge the table of a Relu or Clip into what it follows, and remove tables that change nothing.

    Models that quantize every single operation have ``Conv, QuantizeLinear, DequantizeLinear, Relu, QuantizeLinear``: where both scales are
    the same, limits on the integers of the convolution are the same.
    """
    for node in [node for node in graph.nodes if node.operation == "Table"]:
        source = node.inputs[0]
        if not graph.meaning(source).same(graph.meaning(node.output)):
            continue
        before = graph.producer(source)
        if np.array_equal(node.attributes["table"], np.arange(-128, 128)):
            graph.bypass(node)
        elif "bounds" in node.attributes and before is not None and before.operation in REQUANTIZED and graph.only_consumer(source) is node:
            set_bounds(before, node)
            before.output = node.output
            graph.nodes.remove(node)
    graph.remove_dead()
