"""A network of the right shapes whose integers are drawn: for what depends on shapes and patterns only, such as cycles."""

import math

import numpy as np

from .calibrate import Affine
from .graph import FloatGraph, FloatMaxPool, FloatProduct
from .quantize import QuantizedModel, QuantizedNode, QuantizedProduct, quantize_node
from .weights import WEIGHT_MAX, WeightRange

__all__ = ["draw_model"]


def draw_model(graph: FloatGraph, image: tuple[int, int, int], *, name: str = "network", seed: int = 0) -> QuantizedModel:
    """Give a graph int8 weights without a zero, biases, and scales. Neither its weights nor images are looked at.

    Every tensor has a scale of its own, but for a maximum's, which is its input's, as after calibration; so that nothing can be merged that
    could not be in a calibrated network.

    Parameters
    ----------
    graph : FloatGraph
        Traced model.
    image : tuple of int
        Height, width and channels of its input.
    name : str
        Name for reports.
    seed : int
        Source of the numbers.
    """
    random = np.random.default_rng(seed)
    tensors = {graph.input_name: Affine(1 / 64, 0)}
    nodes: list[QuantizedNode] = []
    for number, node in enumerate(graph.nodes, 1):
        alike = isinstance(node, FloatMaxPool)
        tensors[node.name] = tensors[node.inputs[0]] if alike else Affine(float(np.float32((1 + number / 65536) / 32)), 0)
        if not isinstance(node, FloatProduct):
            nodes.append(quantize_node(node, 1.0, WeightRange.LARGEST))
            continue
        channels, shape = len(node.weight), tuple(node.weight.shape)
        nodes.append(
            QuantizedProduct(
                name=node.name,
                inputs=node.inputs,
                weight=random.integers(1, WEIGHT_MAX, shape, np.int8, endpoint=True),
                weight_scale=np.full(channels, 1 / (64 * math.prod(shape[1:]))),
                bias=random.integers(-1000, 1000, channels, np.int32),
                convolution=node.convolution,
                clamp=node.clamp,
            )
        )
    return QuantizedModel(name=name, nodes=nodes, tensors=tensors, image=image)
