"""A whole network in integers: products for the array, and what stands between them.

Activations are int8 [N, H, W, C], channels last. Every node ends in `requantize`, so that each has the meaning of its ONNX counterpart
(QLinearConv, QLinearMatMul, QLinearAdd, QLinearGlobalAveragePool) with scales in fixed point.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from ..arch import LayerError, ProductLayer, unpack
from .convolution import Convolution
from .engine import run_layer
from .requantize import requantize

__all__ = ["Add", "Backend", "GlobalAveragePool", "Network", "Node", "Observer", "Product", "exact_product"]

#: Computes a product layer: int8 [O, P] from int8 [K padded to whole groups, P]. `run_layer`, the RTL, or anything that equals it.
Backend = Callable[[ProductLayer, np.ndarray], np.ndarray]


def exact_product(layer: ProductLayer, x: np.ndarray) -> np.ndarray:
    """Compute a product layer as `run_layer` does, to the bit, but in floating point, which is much faster.

    It is exact since every number is one that floating point holds: sums are integers below 2^24 in float32 (or, where K is long, below
    2^53 in float64), a sum with bias times a multiplier is an integer below 2^49, and a shift changes only the exponent. ``rint`` rounds
    half to even, as `requantize` does.

    Parameters
    ----------
    layer : ProductLayer
        The layer.
    x : ndarray
        int8 [K padded to whole groups, P].

    Returns
    -------
    ndarray
        int8 [O, P].

    Raises
    ------
    LayerError
        When ``x`` has the wrong type or shape.
    """
    layer.check_activations(x)
    weights = unpack(layer.packed)
    exact = np.float32 if weights.shape[1] * 2**14 <= 2**24 else np.float64
    y = (weights.astype(exact) @ x[: weights.shape[1]].astype(exact)).astype(np.float64)
    y += layer.bias[:, None]
    y *= np.ldexp(layer.multiplier.astype(np.float64), -layer.shift.astype(np.int64))[:, None]
    np.rint(y, out=y)
    y += layer.output_zero_point
    return np.clip(y, layer.clamp_min, layer.clamp_max, out=y).astype(np.int8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """Convolution or linear layer.

    Parameters
    ----------
    name : str
        Name of the node and of its output.
    inputs : tuple of str
        Name of the one input.
    layer : ProductLayer
        Weights, bias and scales; the input's zero point is folded into the bias.
    convolution : Convolution
        Geometry; a linear layer is a 1x1 convolution of one pixel.
    input_zero_point : int
        Value of pixels outside the image.
    """

    num_inputs: ClassVar[int] = 1

    name: str
    inputs: tuple[str, ...]
    layer: ProductLayer
    convolution: Convolution
    input_zero_point: int

    def __post_init__(self) -> None:
        wanted = self.convolution.num_inputs(self.layer.packed.group)
        if self.layer.num_inputs != wanted:
            raise LayerError(f"{self.name}: weights must have K = {wanted} for {self.convolution}, not {self.layer.num_inputs}")

    def columns(self, x: np.ndarray) -> np.ndarray:
        """Return the activation matrix, int8 [K, P], for the input ``x``, int8 [N, H, W, C]."""
        return self.convolution.columns(x, self.input_zero_point, self.layer.packed.group)

    def evaluate(self, x: np.ndarray, *, product: Backend = run_layer) -> np.ndarray:
        """Compute the output, int8 [N, H', W', O], with ``product`` for the matrix."""
        height, width = self.convolution.output_size(*x.shape[1:3])
        y = product(self.layer, self.columns(x))
        if y.dtype != np.int8 or y.shape != (self.layer.num_channels, len(x) * height * width):
            wanted = (self.layer.num_channels, len(x) * height * width)
            raise LayerError(f"{self.name}: a product must give int8 of shape {wanted}, not {y.dtype} of {y.shape}")
        return np.ascontiguousarray(y.T).reshape(len(x), height, width, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add:
    """Sum of two tensors: ``clamp(round(((a - za) * ma + (b - zb) * mb) / 2**shift) + zero point)``.

    Both factors share the shift, so that the sum is rounded once.

    Parameters
    ----------
    name : str
        Name of the node and of its output.
    inputs : tuple of str
        Names of the two inputs.
    zero_points : tuple of int
        Of the inputs.
    multipliers : tuple of int
        Of the inputs, 0 to 65535.
    shift : int
        0 to 63.
    output_zero_point, clamp_min, clamp_max : int
        int8 range; ``clamp_min`` is the zero point for ReLU.
    """

    num_inputs: ClassVar[int] = 2

    name: str
    inputs: tuple[str, ...]
    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shift: int
    output_zero_point: int = 0
    clamp_min: int = -128
    clamp_max: int = 127

    def evaluate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute the output from two int8 tensors of one shape."""
        if a.shape != b.shape:
            raise LayerError(f"{self.name}: inputs must have one shape, not {a.shape} and {b.shape}")
        total = np.zeros(a.shape, dtype=np.int32)
        for x, zero_point, multiplier in zip((a, b), self.zero_points, self.multipliers, strict=True):
            total += (x.astype(np.int32) - zero_point) * np.int32(multiplier)
        zero, one, shift = np.array(0), np.array(1), np.array(self.shift)
        return requantize(total, zero, one, shift, self.output_zero_point, self.clamp_min, self.clamp_max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalAveragePool:
    """Mean of all pixels of each channel: ``clamp(round((sum(x) - pixels * zx) * multiplier / 2**shift) + zero point)``.

    Parameters
    ----------
    name : str
        Name of the node and of its output.
    inputs : tuple of str
        Name of the one input.
    pixels : int
        H x W of the input; the scale holds the division by it.
    input_zero_point : int
        Zero point of the input.
    multiplier, shift : int
        Scale of input to output, divided by ``pixels``.
    output_zero_point, clamp_min, clamp_max : int
        int8 range.
    """

    num_inputs: ClassVar[int] = 1

    name: str
    inputs: tuple[str, ...]
    pixels: int
    input_zero_point: int
    multiplier: int
    shift: int
    output_zero_point: int = 0
    clamp_min: int = -128
    clamp_max: int = 127

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, int8 [N, 1, 1, C], from int8 [N, H, W, C]."""
        if x.shape[1] * x.shape[2] != self.pixels:
            raise LayerError(f"{self.name}: input must have {self.pixels} pixels, as at calibration, not {x.shape[1]} x {x.shape[2]}")
        total = x.sum(axis=(1, 2), keepdims=True, dtype=np.int32)
        bias, multiplier, shift = np.array(-self.pixels * self.input_zero_point), np.array(self.multiplier), np.array(self.shift)
        return requantize(total, bias, multiplier, shift, self.output_zero_point, self.clamp_min, self.clamp_max)


Node = Product | Add | GlobalAveragePool

#: Called after every node with the node, its inputs and its output.
Observer = Callable[[Node, tuple[np.ndarray, ...], np.ndarray], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """Nodes in an order in which each has its inputs.

    Parameters
    ----------
    name : str
        Name for reports.
    nodes : sequence of Node
        The last one's output is the network's.
    input_scale, input_zero_point : float, int
        What the int8 input means: ``real = scale * (integer - zero point)``.
    output_scale, output_zero_point : float, int
        What the int8 output means.
    input_name : str
        Name of the input.

    Raises
    ------
    LayerError
        When there is no node, a name is used twice, or an input is not computed before its use.
    """

    name: str
    nodes: Sequence[Node]
    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    input_name: str = "input"

    def __post_init__(self) -> None:
        if not self.nodes:
            raise LayerError(f"{self.name}: a network must have at least one node, not none")
        known = {self.input_name}
        for node in self.nodes:
            if len(node.inputs) != node.num_inputs:
                raise LayerError(f"{node.name}: must have {node.num_inputs} inputs, not {len(node.inputs)}")
            for name in node.inputs:
                if name not in known:
                    raise LayerError(f"{node.name}: input must be computed before its use, not {name!r}")
            if node.name in known:
                raise LayerError(f"{self.name}: each name must be used once, not again {node.name!r}")
            known.add(node.name)

    @property
    def products(self) -> list[Product]:
        """The nodes that the array computes, in order."""
        return [node for node in self.nodes if isinstance(node, Product)]

    def quantize_input(self, x: np.ndarray) -> np.ndarray:
        """Turn a float input [N, C, H, W] into int8 [N, H, W, C], rounding half to even."""
        levels = np.rint(x.transpose(0, 2, 3, 1).astype(np.float64) / self.input_scale) + self.input_zero_point
        return np.ascontiguousarray(np.clip(levels, -128, 127).astype(np.int8))

    def run(self, images: np.ndarray, *, product: Backend = run_layer, observe: Observer | None = None) -> np.ndarray:
        """Compute the network.

        Parameters
        ----------
        images : ndarray
            int8 [N, H, W, C], as `quantize_input` gives.
        product : callable
            What computes the products: the golden engine by default.
        observe : callable, optional
            Called after every node with node, inputs and output.

        Returns
        -------
        ndarray
            int8 [N, H, W, C] of the last node; of a classifier [N, 1, 1, classes].

        Raises
        ------
        LayerError
            When a shape does not fit a node.
        """
        left = {name: sum(name in node.inputs for node in self.nodes) for name in [self.input_name, *(node.name for node in self.nodes)]}
        values = {self.input_name: images}
        for node in self.nodes:
            inputs = tuple(values[name] for name in node.inputs)
            output = node.evaluate(*inputs, product=product) if isinstance(node, Product) else node.evaluate(*inputs)
            if observe is not None:
                observe(node, inputs, output)
            values[node.name] = output
            for name in set(node.inputs):  # what nobody needs any more leaves memory
                left[name] -= 1
                if not left[name]:
                    del values[name]
        return values[self.nodes[-1].name]

    def classify(self, images: np.ndarray, *, product: Backend = exact_product, batch: int = 100) -> np.ndarray:
        """Return the class of each image, int64 [N]: the channel with the largest output, the first among equals."""
        parts = [self.run(images[start : start + batch], product=product) for start in range(0, len(images), batch)]
        return np.concatenate([part.reshape(len(part), -1).argmax(axis=1) for part in parts])
