"""Quantization moves before what passes values on."""

from ..graph import Graph, Tensor
from ..operations import VALUE_PRESERVING

__all__ = ["hoist_quantization"]


def hoist_quantization(graph: Graph) -> None:
    """Swap max pooling or a new shape with the QuantizeLinear behind it, where the tensor before is not quantized itself.

    Rounding keeps the order of values, so the largest of a window is the same before and after. A model with
    ``Conv, MaxPool, QuantizeLinear`` so becomes one whose convolution ends in integers.
    """
    for node in reversed(list(graph.nodes)):
        before = graph.producer(node.inputs[0])
        quantize = graph.only_consumer(node.output)
        alone = graph.only_consumer(node.inputs[0]) is node
        if node.operation not in VALUE_PRESERVING or quantize is None or quantize.operation != "QuantizeLinear":
            continue
        if before is None or before.operation == "DequantizeLinear" or not alone:
            continue
        source, middle, result = node.inputs[0], node.output, quantize.output
        integer = graph.tensors[result]
        graph.tensors[middle] = Tensor(middle, graph.tensors[source].shape, integer.dtype, unsigned=integer.unsigned)
        quantize.inputs, quantize.output, node.inputs, node.output = [source], middle, [middle], result
        graph.nodes.remove(quantize)
        graph.nodes.insert(graph.nodes.index(node), quantize)
