"""Post-training static quantization to int8, with the meaning of ONNX's QLinear operations.

Weights are symmetric per output channel (-127..127, zero stays zero, so every sparsity pattern survives), activations asymmetric per
tensor, biases int32 in units of input scale x weight scale.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from crisp.data import normalize
from crisp.golden.convolution import Convolution
from crisp.progress import Report, silent

from .calibrate import Affine, RangeMethod, calibrate
from .errors import QuantizeError
from .graph import FloatAdd, FloatGraph, FloatPool, FloatProduct, trace

__all__ = ["QuantizeOptions", "QuantizedAdd", "QuantizedModel", "QuantizedNode", "QuantizedPool", "QuantizedProduct", "quantize"]

WEIGHT_MAX = 127

#: Largest bias in int32 units. A channel whose weights are so small that its bias would exceed it gets a coarser weight scale.
BIAS_MAX = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """Settings of quantization.

    Parameters
    ----------
    method : RangeMethod
        How ranges of activations are found.
    percentile : float
        For `RangeMethod.PERCENTILE`, in percent: above 50, at most 100.
    batch : int
        Images of a calibration batch.
    """

    method: RangeMethod = RangeMethod.MIN_MAX
    percentile: float = 99.99
    batch: int = 100

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise QuantizeError(f"percentile must be above 50 and at most 100, not {self.percentile}")
        if self.batch < 1:
            raise QuantizeError(f"batch must be at least 1, not {self.batch}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedProduct:
    """Convolution or linear layer in int8.

    Parameters
    ----------
    name, inputs : str, tuple of str
        Name of node and output, and of the one input.
    weight : ndarray
        int8 [O, C, kh, kw].
    weight_scale : ndarray
        float64 [O].
    bias : ndarray
        int32 [O], in units of input scale x weight scale; the input's zero point is not in it.
    convolution : Convolution
        Geometry.
    relu : bool
        Whether ReLU follows.
    """

    name: str
    inputs: tuple[str, ...]
    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    convolution: Convolution
    relu: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedAdd:
    """Sum of two tensors, and whether ReLU follows."""

    name: str
    inputs: tuple[str, ...]
    relu: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedPool:
    """Mean of all pixels, of which there are ``pixels``."""

    name: str
    inputs: tuple[str, ...]
    pixels: int


QuantizedNode = QuantizedProduct | QuantizedAdd | QuantizedPool


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedModel:
    """A model in int8, still as convolutions with real scales.

    Parameters
    ----------
    name : str
        Name for reports.
    nodes : list of QuantizedNode
        In order; the last one's output is the model's.
    tensors : dict
        Scale and zero point of the input, ``"input"``, and of every node's output.
    """

    name: str
    nodes: list[QuantizedNode]
    tensors: dict[str, Affine]


def quantize(
    model: nn.Module, images: np.ndarray, options: QuantizeOptions | None = None, *, name: str = "network", progress: Report = silent
) -> QuantizedModel:
    """Quantize ``model`` to int8.

    Parameters
    ----------
    model : Module
        float32 network on normalised images; it is left as it is.
    images : ndarray
        uint8 [N, H, W]: training images of the classes that the network is for. A few hundred do.
    options : QuantizeOptions, optional
        Settings.
    name : str
        Name for reports.
    progress : callable
        Called after every calibration batch.

    Raises
    ------
    QuantizeError
        When there is no image, the model has an operation that is not supported, or a weight or activation is not finite.
    """
    options = options or QuantizeOptions()
    if not len(images):
        raise QuantizeError("calibration must have at least one image, not none")
    graph = trace(model.eval())
    total = -(-len(images) // options.batch)

    def batches() -> Iterator[torch.Tensor]:
        for number in range(total):
            yield torch.from_numpy(normalize(images[number * options.batch : (number + 1) * options.batch]))
            progress("calibrate", number + 1, total, "")

    try:
        tensors = calibrate(graph, batches(), options.method, options.percentile)
    except RuntimeError as error:  # shapes that do not fit show only when the model runs
        raise QuantizeError(f"model must run on images of {images.shape[1]} x {images.shape[2]} pixels, but does not: {error}") from error
    for tensor, meaning in tensors.items():
        if not np.isfinite(meaning.scale):
            raise QuantizeError(f"{tensor}: values must be finite, not up to {meaning.scale * 255}; train the network again")
    pixels = pooled_pixels(graph, torch.from_numpy(normalize(images[:1])))
    nodes: list[QuantizedNode] = []
    for node in graph.nodes:
        if isinstance(node, FloatProduct):
            nodes.append(quantize_product(node, tensors[node.inputs[0]].scale))
        elif isinstance(node, FloatAdd):
            nodes.append(QuantizedAdd(name=node.name, inputs=node.inputs, relu=node.relu))
        else:
            nodes.append(QuantizedPool(name=node.name, inputs=node.inputs, pixels=pixels[node.name]))
    return QuantizedModel(name=name, nodes=nodes, tensors=tensors)


def pooled_pixels(graph: FloatGraph, image: torch.Tensor) -> dict[str, int]:
    """Return how many pixels each pooling of ``graph`` takes the mean of."""
    sizes: dict[str, int] = {}
    graph.run(image, lambda name, value: sizes.update({name: value.shape[2] * value.shape[3]}))
    return {node.name: sizes[node.inputs[0]] for node in graph.nodes if isinstance(node, FloatPool)}


def quantize_product(node: FloatProduct, input_scale: float) -> QuantizedProduct:
    """Quantize the weights and the bias of a product."""
    weight = node.weight.double().numpy()
    bias = node.bias.double().numpy()
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise QuantizeError(f"{node.name}: weights and biases must be finite; train the network again")
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    least = np.abs(bias) / (input_scale * BIAS_MAX)
    scale = np.maximum(largest / WEIGHT_MAX, least)
    scale[scale == 0] = 1 / WEIGHT_MAX  # a channel without weights and bias: any scale does
    levels = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
    biases = np.rint(bias / (scale * input_scale)).astype(np.int32)
    return QuantizedProduct(
        name=node.name,
        inputs=node.inputs,
        weight=levels,
        weight_scale=scale,
        bias=biases,
        convolution=node.convolution,
        relu=node.relu,
    )
