"""Post-training static quantization to int8, with the meaning of ONNX's QLinear operations.

Weights are symmetric per output channel (-127..127, zero stays zero, so every sparsity pattern survives), activations asymmetric per
tensor, biases int32 in units of input scale x weight scale.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from crisp.data import normalize
from crisp.golden.convolution import Convolution, Window
from crisp.progress import Report, silent

from .activations import NO_CLAMP, Clamp
from .calibrate import Affine, RangeMethod, calibrate
from .errors import QuantizeError
from .graph import FloatAdd, FloatAveragePool, FloatMaxPool, FloatNode, FloatPool, FloatProduct
from .trace import trace

__all__ = [
    "QuantizeOptions",
    "QuantizedAdd",
    "QuantizedAveragePool",
    "QuantizedMaxPool",
    "QuantizedModel",
    "QuantizedNode",
    "QuantizedPool",
    "QuantizedProduct",
    "QuantizedTable",
    "quantize",
]

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
class QuantizedOperation:
    """What every node has: its name, which is its output's, and the names of its inputs."""

    name: str
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedProduct(QuantizedOperation):
    """Convolution or linear layer in int8.

    Parameters
    ----------
    weight : ndarray
        int8 [O, C / groups, kh, kw].
    weight_scale : ndarray
        float64 [O].
    bias : ndarray
        int32 [O], in units of input scale x weight scale; the input's zero point is not in it.
    convolution : Convolution
        Geometry.
    clamp : Clamp
        Limits of the output, as reals: ReLU, ReLU6, ...
    """

    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    convolution: Convolution
    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedAdd(QuantizedOperation):
    """Sum of two tensors, within limits."""

    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedPool(QuantizedOperation):
    """Mean of all pixels, of which there are ``pixels``, within limits."""

    pixels: int
    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedAveragePool(QuantizedOperation):
    """Mean of each window, within limits; pixels outside the image are 0 and count."""

    window: Window
    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedMaxPool(QuantizedOperation):
    """Largest pixel of each window; scale and zero point are the input's."""

    window: Window


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedTable(QuantizedOperation):
    """Function of every value by itself, named in `crisp.quantize.activations.FUNCTIONS`, within limits."""

    function: str
    clamp: Clamp = NO_CLAMP


QuantizedNode = QuantizedProduct | QuantizedAdd | QuantizedPool | QuantizedAveragePool | QuantizedMaxPool | QuantizedTable


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
    image : tuple of int, optional
        Height, width and channels of the images that it was calibrated with.
    """

    name: str
    nodes: list[QuantizedNode]
    tensors: dict[str, Affine]
    image: tuple[int, int, int] | None = None


def quantize(
    model: nn.Module, images: np.ndarray, options: QuantizeOptions | None = None, *, name: str = "network", progress: Report = silent
) -> QuantizedModel:
    """Quantize ``model`` to int8.

    Parameters
    ----------
    model : Module
        float32 network on normalised images; it is left as it is.
    images : ndarray
        Images of what the network is for: uint8 [N, H, W], which `normalize` turns into its input, or the input itself, float32
        [N, C, H, W]. A few hundred do.
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
    sample = network_input(images[:1])
    graph = trace(model.eval(), sample)
    total = -(-len(images) // options.batch)

    def batches() -> Iterator[torch.Tensor]:
        for number in range(total):
            yield network_input(images[number * options.batch : (number + 1) * options.batch])
            progress("calibrate", number + 1, total, "")

    tensors = calibrate(graph, batches(), options.method, options.percentile)
    for tensor, meaning in tensors.items():
        if not np.isfinite(meaning.scale):
            raise QuantizeError(f"{tensor}: values must be finite, not up to {meaning.scale * 255}; train the network again")
    nodes = [quantize_node(node, tensors[node.inputs[0]].scale) for node in graph.nodes]
    _, channels, height, width = sample.shape
    return QuantizedModel(name=name, nodes=nodes, tensors=tensors, image=(height, width, channels))


def network_input(images: np.ndarray) -> torch.Tensor:
    """Return the network's input, float32 [N, C, H, W], of images in either form."""
    return torch.from_numpy(normalize(images) if images.dtype == np.uint8 else images)


def quantize_node(node: FloatNode, input_scale: float) -> QuantizedNode:
    """Quantize whatever a node has besides its inputs."""
    common: dict[str, Any] = {"name": node.name, "inputs": node.inputs}
    if isinstance(node, FloatProduct):
        return quantize_product(node, input_scale)
    if isinstance(node, FloatAdd):
        return QuantizedAdd(**common, clamp=node.clamp)
    if isinstance(node, FloatPool):
        return QuantizedPool(**common, pixels=node.pixels, clamp=node.clamp)
    if isinstance(node, FloatAveragePool):
        return QuantizedAveragePool(**common, window=node.window, clamp=node.clamp)
    if isinstance(node, FloatMaxPool):
        return QuantizedMaxPool(**common, window=node.window)
    return QuantizedTable(**common, function=node.function, clamp=node.clamp)


def quantize_product(node: FloatProduct, input_scale: float) -> QuantizedProduct:
    """Quantize the weights and the bias of a product."""
    bias = node.bias.double().numpy()
    if not (torch.isfinite(node.weight).all() and np.isfinite(bias).all()):
        raise QuantizeError(f"{node.name}: weights and biases must be finite; train the network again")
    largest = node.weight.abs().amax(dim=(1, 2, 3)).double().numpy()
    least = np.abs(bias) / (input_scale * BIAS_MAX)
    scale = np.maximum(largest / WEIGHT_MAX, least).astype(np.float32).astype(np.float64)  # what ONNX can say
    scale[scale == 0] = 1 / WEIGHT_MAX  # a channel without weights and bias: any scale does
    # Channel by channel, since a linear layer of 100 million weights is large in float64.
    levels = np.stack([np.rint(row.double().numpy() / unit).astype(np.int8) for row, unit in zip(node.weight, scale, strict=True)])
    biases = np.rint(bias / (scale * input_scale)).astype(np.int32)
    return QuantizedProduct(
        name=node.name,
        inputs=node.inputs,
        weight=levels,
        weight_scale=scale,
        bias=biases,
        convolution=node.convolution,
        clamp=node.clamp,
    )
