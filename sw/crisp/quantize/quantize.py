"""Post-training static quantization to int8, with the meaning of ONNX's QLinear operations.

Weights are symmetric per output channel (-127..127, zero stays zero, so every sparsity pattern survives), activations asymmetric per
tensor, biases int32 in units of input scale x weight scale.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from crisp.data import normalize
from crisp.progress import Report, silent

from .affine import Affine
from .bias import correct_biases
from .calibrate import RangeMethod, calibrate
from .errors import QuantizeError
from .graph import FloatAdd, FloatAveragePool, FloatGraph, FloatMaxPool, FloatNode, FloatPool, FloatProduct
from .nodes import (
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedMaxPool,
    QuantizedModel,
    QuantizedNode,
    QuantizedPool,
    QuantizedProduct,
    QuantizedTable,
)
from .trace import trace
from .weights import WeightRange, weight_levels, weight_scales

__all__ = ["QuantizeOptions", "network_input", "quantize"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """Settings of quantization.

    Parameters
    ----------
    method : RangeMethod
        How ranges of activations are found.
    percentile : float
        For `RangeMethod.PERCENTILE`, in percent: above 50, at most 100.
    weight_range : WeightRange
        How scales of weights are found.
    bias_correction : bool
        Whether what quantization moves each channel by on average goes into its bias.
    correction_images : int
        Calibration images that it is measured on, at most.
    batch : int
        Images of a calibration batch.
    """

    method: RangeMethod = RangeMethod.MIN_MAX
    percentile: float = 99.99
    weight_range: WeightRange = WeightRange.LARGEST
    bias_correction: bool = False
    correction_images: int = 256
    batch: int = 100

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise QuantizeError(f"percentile must be above 50 and at most 100, not {self.percentile}")
        for name in ("batch", "correction_images"):
            if getattr(self, name) < 1:
                raise QuantizeError(f"{name} must be at least 1, not {getattr(self, name)}")


def quantize(
    model: nn.Module,
    images: np.ndarray,
    options: QuantizeOptions | None = None,
    *,
    ranges: Mapping[str, Affine] | None = None,
    name: str = "network",
    progress: Report = silent,
) -> QuantizedModel:
    """Quantize ``model`` to int8.

    Parameters
    ----------
    model : Module
        float32 network on normalised images; it is left as it is.
    images : ndarray
        Images of what the network is for: uint8 [N, H, W], which `normalize` turns into its input as Fashion-MNIST is, or the input itself,
        float32 [N, C, H, W], as `crisp.data.Images.inputs` gives it. A few hundred do.
    options : QuantizeOptions, optional
        Settings.
    ranges : mapping, optional
        Scale and zero point of the input and of every node's output, where they are known. Nothing is
        calibrated then, and ``method`` is not used.
    name : str
        Name for reports.
    progress : callable
        Called after every calibration batch, and after every node whose bias is corrected.

    Raises
    ------
    QuantizeError
        When there is no image, images are of another form, the model has an operation that is not supported, a weight or activation is not
        finite, or ``ranges`` are those of another model.
    """
    options = options or QuantizeOptions()
    if not len(images):
        raise QuantizeError("calibration must have at least one image, not none")
    sample = network_input(images[:1])
    graph = trace(model, sample)
    if ranges is None:
        tensors = find_ranges(graph, images, options, progress)
    else:
        tensors = check_ranges(graph, ranges)
    nodes = [quantize_node(node, tensors[node.inputs[0]].scale, options.weight_range) for node in graph.nodes]
    if options.bias_correction:
        some = images[: options.correction_images]
        nodes = correct_biases(graph, nodes, tensors, lambda: batches(some, options.batch), progress)
    _, channels, height, width = sample.shape
    return QuantizedModel(name=name, nodes=nodes, tensors=tensors, image=(height, width, channels))


def find_ranges(graph: FloatGraph, images: np.ndarray, options: QuantizeOptions, progress: Report = silent) -> dict[str, Affine]:
    """Return scale and zero point of every tensor, from images in either form.

    Raises
    ------
    QuantizeError
        When a value is not finite.
    """
    total = -(-len(images) // options.batch)

    def told() -> Iterator[torch.Tensor]:
        for number, batch in enumerate(batches(images, options.batch), 1):
            yield batch
            progress("calibrate", number, total, "")

    return calibrate(graph, told(), options.method, options.percentile)


def check_ranges(graph: FloatGraph, ranges: Mapping[str, Affine]) -> dict[str, Affine]:
    """Return ``ranges``, which must be those of the graph's tensors and keep a maximum's scale."""
    names = {graph.input_name, *(node.name for node in graph.nodes)}
    if names != set(ranges):
        differing = ", ".join(sorted(names ^ set(ranges)))
        raise QuantizeError(f"ranges must be given for the input and every node of the model and for nothing else; look at {differing}")
    for node in graph.nodes:
        if isinstance(node, FloatMaxPool) and ranges[node.name] != ranges[node.inputs[0]]:
            raise QuantizeError(f"{node.name}: the range of a maximum must be its input's, {ranges[node.inputs[0]]}")
    return dict(ranges)


def batches(images: np.ndarray, size: int) -> Iterator[torch.Tensor]:
    """Yield the network's input, batch after batch."""
    for start in range(0, len(images), size):
        yield network_input(images[start : start + size])


def network_input(images: np.ndarray) -> torch.Tensor:
    """Return the network's input, float32 [N, C, H, W], of images in either form.

    Raises
    ------
    QuantizeError
        When they are of another one. How colours are normalised only their data set knows.
    """
    if images.ndim != {np.dtype(np.uint8): 3, np.dtype(np.float32): 4}.get(images.dtype):
        raise QuantizeError(
            f"images must be float32 [N, C, H, W], normalised as the network was trained, or uint8 [N, H, W], grey, "
            f"not {images.dtype} {list(images.shape)}; `crisp.data.Images.inputs` gives the former"
        )
    return torch.from_numpy(normalize(images) if images.dtype == np.uint8 else images)


def quantize_node(node: FloatNode, input_scale: float, weight_range: WeightRange) -> QuantizedNode:
    """Quantize whatever a node has besides its inputs."""
    common: dict[str, Any] = {"name": node.name, "inputs": node.inputs}
    if isinstance(node, FloatProduct):
        return quantize_product(node, input_scale, weight_range)
    if isinstance(node, FloatAdd):
        return QuantizedAdd(**common, clamp=node.clamp)
    if isinstance(node, FloatPool):
        return QuantizedPool(**common, pixels=node.pixels, clamp=node.clamp)
    if isinstance(node, FloatAveragePool):
        return QuantizedAveragePool(**common, window=node.window, clamp=node.clamp)
    if isinstance(node, FloatMaxPool):
        return QuantizedMaxPool(**common, window=node.window)
    return QuantizedTable(**common, function=node.function, clamp=node.clamp)


def quantize_product(node: FloatProduct, input_scale: float, weight_range: WeightRange) -> QuantizedProduct:
    """Quantize the weights and the bias of a product."""
    bias = node.bias.double().numpy()
    if not (torch.isfinite(node.weight).all() and np.isfinite(bias).all()):
        raise QuantizeError(f"{node.name}: weights and biases must be finite; train the network again")
    scale = weight_scales(node.weight, bias, input_scale, weight_range)
    return QuantizedProduct(
        name=node.name,
        inputs=node.inputs,
        weight=weight_levels(node.weight, scale),
        weight_scale=scale,
        bias=np.rint(bias / (scale * input_scale)).astype(np.int32),
        convolution=node.convolution,
        clamp=node.clamp,
    )
