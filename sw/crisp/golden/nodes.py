"""The operations of a network in integers: products for the array, and what stands between them.

Activations are int8 [N, H, W, C], channels last. Every node has the meaning of its ONNX counterpart (QLinearConv, QLinearMatMul,
QLinearAdd, QLinearGlobalAveragePool, QLinearAveragePool, MaxPool) with scales in fixed point.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ..arch import LayerError, ProductLayer
from .convolution import Convolution, Window
from .engine import run_layer
from .exact import exact_requantize, exact_type
from .requantize import requantize

__all__ = ["Add", "AveragePool", "Backend", "GlobalAveragePool", "GroupedProduct", "MaxPool", "Node", "Product", "Table"]

#: Computes a product layer: int8 [O, P] from int8 [K padded to whole groups, P]. `run_layer`, the RTL, or anything that equals it.
Backend = Callable[[ProductLayer, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """What every node has.

    Parameters
    ----------
    name : str
        Name of the node and of its output.
    inputs : tuple of str
        Names of its inputs, ``num_inputs`` of them.
    """

    num_inputs: ClassVar[int] = 1

    name: str
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requantized(Operation):
    """A node that ends in `requantize`.

    Parameters
    ----------
    output_zero_point : int
        int8.
    clamp_min, clamp_max : int
        int8 range: ``clamp_min`` is the zero point for ReLU, ``clamp_max`` the level of 6 for ReLU6 where that is in the range.
    """

    output_zero_point: int = 0
    clamp_min: int = -128
    clamp_max: int = 127

    def __post_init__(self) -> None:
        if not -128 <= self.clamp_min <= self.clamp_max <= 127 or not -128 <= self.output_zero_point <= 127:
            raise LayerError(
                f"{self.name}: clamp_min <= clamp_max and the zero point must be int8, not {self.clamp_min}, "
                f"{self.clamp_max}, {self.output_zero_point}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product(Operation):
    """Convolution or linear layer.

    Parameters
    ----------
    layer : ProductLayer
        Weights, bias and scales; the input's zero point is folded into the bias.
    convolution : Convolution
        Geometry, of one group; a linear layer is a 1x1 convolution of one pixel.
    input_zero_point : int
        Value of pixels outside the image.
    """

    layer: ProductLayer
    convolution: Convolution
    input_zero_point: int

    def __post_init__(self) -> None:
        wanted = self.convolution.num_inputs(self.layer.packed.group)
        if self.convolution.groups != 1:
            raise LayerError(f"{self.name}: a product must have 1 group, not {self.convolution.groups}; more are a GroupedProduct")
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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class GroupedProduct(Requantized):
    """Depthwise or grouped convolution: the channels of each part see only the input channels of that part.

    Parameters
    ----------
    weights : ndarray
        int8 [O, K] with K = kh x kw x channels / groups, ordered (kh, kw, channel of the part), without padding: how they are packed
        is the scheduler's business. Output channels of a part are neighbours.
    bias : ndarray
        int32 [O], the input's zero point folded in.
    multiplier, shift : ndarray
        uint16 and uint8 [O].
    convolution : Convolution
        Geometry.
    input_zero_point : int
        Value of pixels outside the image.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    convolution: Convolution
    input_zero_point: int

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = self.convolution.num_inputs(1)
        if self.weights.dtype != np.int8 or self.weights.ndim != 2 or self.weights.shape[1] != wanted:
            raise LayerError(
                f"{self.name}: weights must be int8 [O, {wanted}] for {self.convolution}, "
                f"not {self.weights.dtype} {list(self.weights.shape)}"
            )
        if self.num_channels % self.convolution.groups:
            raise LayerError(f"{self.name}: groups must divide the {self.num_channels} outputs, not be {self.convolution.groups}")
        for name, dtype in (("bias", np.int32), ("multiplier", np.uint16), ("shift", np.uint8)):
            value = getattr(self, name)
            if value.dtype != dtype or value.shape != (self.num_channels,):
                raise LayerError(
                    f"{self.name}: {name} must be {np.dtype(dtype)} of shape ({self.num_channels},), "
                    f"not {value.dtype} of shape {value.shape}"
                )
        if self.shift.max() > 63:
            raise LayerError(f"{self.name}: shift must be at most 63, not {self.shift.max()}")

    @property
    def num_channels(self) -> int:
        """O: output channels."""
        return len(self.weights)

    def accumulate(self, x: np.ndarray) -> np.ndarray:
        """Return the sums of products, integers in floating point [N, H', W', O], for ``x``, int8 [N, H, W, C]."""
        self.convolution.check_activations(x)
        groups = self.convolution.groups
        depth, outputs = self.convolution.channels // groups, self.num_channels // groups
        exact = exact_type(self.weights.shape[1])
        weights = self.weights.reshape(groups, outputs, *self.convolution.kernel, depth).astype(exact)
        padded = self.convolution.pad(x, self.input_zero_point).astype(exact)
        size = self.convolution.output_size(*x.shape[1:3])
        sums = np.zeros((len(x), *size, groups, outputs), exact)
        for row, column, rows, columns in self.convolution.taps(*x.shape[1:3]):
            seen, tap = padded[:, rows, columns].reshape(len(x), *size, groups, depth), weights[:, :, row, column]
            if depth == 1:
                sums += seen * tap[:, :, 0]
            else:
                sums += np.einsum("nhwgc,goc->nhwgo", seen, tap, optimize=True)
        return sums.reshape(len(x), *size, -1)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, int8 [N, H', W', O], from int8 [N, H, W, C]."""
        return exact_requantize(
            self.accumulate(x), self.bias, self.multiplier, self.shift, self.output_zero_point, self.clamp_min, self.clamp_max
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add(Requantized):
    """Sum of two tensors: ``clamp(round(((a - za) * ma + (b - zb) * mb) / 2**shift) + zero point)``.

    Both factors share the shift, so that the sum is rounded once.

    Parameters
    ----------
    zero_points : tuple of int
        Of the inputs.
    multipliers : tuple of int
        Of the inputs, 0 to 65535.
    shift : int
        0 to 63.
    """

    num_inputs: ClassVar[int] = 2

    zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shift: int

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
class GlobalAveragePool(Requantized):
    """Mean of all pixels of each channel: ``clamp(round((sum(x) - pixels * zx) * multiplier / 2**shift) + zero point)``.

    Parameters
    ----------
    pixels : int
        H x W of the input; the scale holds the division by it.
    input_zero_point : int
        Zero point of the input.
    multiplier, shift : int
        Scale of input to output, divided by ``pixels``.
    """

    pixels: int
    input_zero_point: int
    multiplier: int
    shift: int

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, int8 [N, 1, 1, C], from int8 [N, H, W, C]."""
        if x.shape[1] * x.shape[2] != self.pixels:
            raise LayerError(f"{self.name}: input must have {self.pixels} pixels, as at calibration, not {x.shape[1]} x {x.shape[2]}")
        total = x.sum(axis=(1, 2), keepdims=True, dtype=np.int32)
        bias, multiplier, shift = np.array(-self.pixels * self.input_zero_point), np.array(self.multiplier), np.array(self.shift)
        return requantize(total, bias, multiplier, shift, self.output_zero_point, self.clamp_min, self.clamp_max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragePool(Requantized):
    """Mean of each window: ``clamp(round((sum(x) - taps * zx) * multiplier / 2**shift) + zero point)``.

    Pixels outside the image are 0 and count, so that every window has as many: ONNX's ``count_include_pad = 1``.

    Parameters
    ----------
    window : Window
        Geometry.
    input_zero_point : int
        Zero point of the input, and value of pixels outside the image.
    multiplier, shift : int
        Scale of input to output, divided by the taps of a window.
    """

    window: Window
    input_zero_point: int
    multiplier: int
    shift: int

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, int8 [N, H', W', C], from int8 [N, H, W, C]."""
        padded = self.window.pad(x, self.input_zero_point).astype(np.int32)
        total = sum(padded[:, rows, columns] for _, _, rows, columns in self.window.taps(*x.shape[1:3]))
        taps = self.window.kernel[0] * self.window.kernel[1]
        bias, multiplier, shift = np.array(-taps * self.input_zero_point), np.array(self.multiplier), np.array(self.shift)
        return requantize(np.asarray(total), bias, multiplier, shift, self.output_zero_point, self.clamp_min, self.clamp_max)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxPool(Operation):
    """Largest pixel of each window, channel by channel; scale and zero point stay the input's.

    Pixels outside the image are -128 and so never win against one inside, of which every window must have at least one.

    Parameters
    ----------
    window : Window
        Geometry.
    """

    window: Window

    def __post_init__(self) -> None:
        for border, extent in zip(self.window.borders, self.window.extent, strict=True):
            if max(border) >= extent:
                raise LayerError(f"{self.name}: padding must be less than a window's {extent} pixels, not {max(border)}")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, int8 [N, H', W', C], from int8 [N, H, W, C]."""
        padded = self.window.pad(x, -128)
        y = np.full((len(x), *self.window.output_size(*x.shape[1:3]), x.shape[3]), -128, np.int8)
        for _, _, rows, columns in self.window.taps(*x.shape[1:3]):
            np.maximum(y, padded[:, rows, columns], out=y)
        return y


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table(Operation):
    """Any function of one value: ``table[x + 128]``.

    Parameters
    ----------
    table : ndarray
        int8 [256], the outputs of -128 to 127.
    """

    table: np.ndarray

    def __post_init__(self) -> None:
        if self.table.dtype != np.int8 or self.table.shape != (256,):
            raise LayerError(f"{self.name}: table must be int8 [256], not {self.table.dtype} {list(self.table.shape)}")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Compute the output, int8 of the shape of ``x``."""
        return self.table[x.astype(np.int16) + 128]


Node = Product | GroupedProduct | Add | GlobalAveragePool | AveragePool | MaxPool | Table
