"""Batch normalisation goes into the scales of the weights and the bias of the convolution before it."""

import numpy as np

from ..errors import CompileError
from ..graph import Graph, Node, Quantization, Tensor

__all__ = ["fold_batch_norm"]


def fold_batch_norm(graph: Graph) -> None:
    """Fold every BatchNormalization: ``gamma * (w * x + b - mean) / sqrt(var + eps) + beta``.

    Weights are integers already and stay so: the size of the factor goes into their scale, and its sign into them.
    Source: B. Jacob et al., arXiv 1712.05877, section 3.2.

    Raises
    ------
    CompileError
        When one does not follow a convolution with quantized weights that nothing else uses.
    """
    for node in [node for node in graph.nodes if node.operation == "BatchNormalization"]:
        before = graph.producer(node.inputs[0])
        if before is None or before.operation != "Conv" or graph.only_consumer(before.output) is not node:
            raise CompileError(f"{node.name}: BatchNormalization must follow a convolution that nothing else uses")
        fold(node, before, graph)
    graph.remove_dead()


def fold(node: Node, convolution: Node, graph: Graph) -> None:
    """Fold one batch normalisation."""
    weights = graph.producer(convolution.inputs[1])
    levels = graph.value(weights.inputs[0]) if weights is not None and weights.operation == "DequantizeLinear" else None
    if weights is None or levels is None:
        raise CompileError(f"{convolution.name}: weights must be a constant behind a DequantizeLinear")
    quantization = weights.attributes["quantization"]
    if quantization.scale.size > 1 and quantization.axis != 0:
        raise CompileError(f"{convolution.name}: weights must have a scale for each output channel, not along axis {quantization.axis}")

    gamma, beta, mean, variance = (reals(name, graph) for name in node.inputs[1:])
    factor = gamma / np.sqrt(variance + node.attributes["epsilon"])
    signed = (levels.astype(np.int64) - quantization.zero_point) * np.sign(factor).astype(np.int64)[:, None, None, None]
    if signed.max(initial=0) > 127 or signed.min(initial=0) < -128:
        raise CompileError(f"{node.name}: weights must be -127 to 127 where a factor is negative; quantize them symmetrically")
    scale = quantization.scale * np.where(factor == 0, 1, np.abs(factor))
    bias = reals(convolution.inputs[2], graph) if len(convolution.inputs) > 2 and convolution.inputs[2] else np.zeros_like(mean)

    constant = graph.add_constant(f"{node.name}.weight", signed.astype(np.int8))
    output = graph.free_name(f"{node.name}.dequantized")
    graph.tensors[output] = Tensor(output, signed.shape, np.dtype(np.float32))
    dequantize = Node(f"{node.name}.dequantize", "DequantizeLinear", [constant], output, {"quantization": Quantization(scale, 0)})
    graph.nodes.insert(graph.nodes.index(convolution), dequantize)
    convolution.inputs = [convolution.inputs[0], output, graph.add_constant(f"{node.name}.bias", (bias - mean) * factor + beta)]
    graph.bypass(node)


def reals(name: str, graph: Graph) -> np.ndarray:
    """Return the numbers of a tensor that must be constant."""
    value = graph.reals(name)
    if value is None:
        raise CompileError(f"{name}: must be constant")
    return value
