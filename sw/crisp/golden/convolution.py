"""Convolution as a matrix product: where each weight stands in W[O, K], and which activation meets it in X[K, P].

K is ordered (kh, kw, cin) with cin padded to whole groups of M, so that a group is M neighbouring channels of one pixel: one word of
memory. A layer with fewer channels than M would mostly multiply padding; it is packed row-wise instead, (kh, kw x cin), and only each row
of the kernel is padded. A linear layer is a 1x1 convolution of one pixel, or, behind a flattened image, a convolution as large as that.
Source: implicit im2col, e.g. S. Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", arXiv 1410.0759.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from ..arch import LayerError

__all__ = ["Convolution", "Window", "from_matrix", "to_matrix"]


def row_inputs(channels: int, kernel_width: int, group: int) -> int:
    """Return how many entries of K a row of the kernel takes, padding included."""
    if channels < group:
        return math.ceil(kernel_width * channels / group) * group
    return kernel_width * math.ceil(channels / group) * group


def to_matrix(weight: np.ndarray, group: int) -> np.ndarray:
    """Lay out convolution weights as a matrix.

    Parameters
    ----------
    weight : ndarray
        [O, C, kh, kw] of any type, or [O, C] of a linear layer.
    group : int
        M.

    Returns
    -------
    ndarray
        [O, K] of the same type, K a multiple of M, zeros where K is padded.
    """
    weight = weight.reshape(*weight.shape, *[1] * (4 - weight.ndim))
    outputs, channels, height, width = weight.shape
    taps = weight.transpose(0, 2, 3, 1)
    if channels >= group:
        taps = np.pad(taps, ((0, 0), (0, 0), (0, 0), (0, -channels % group)))
    rows = taps.reshape(outputs, height, -1)
    padding = row_inputs(channels, width, group) - rows.shape[2]
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, 0), (0, padding))).reshape(outputs, -1))


def from_matrix(matrix: np.ndarray, shape: tuple[int, ...], group: int) -> np.ndarray:
    """Return the weights of ``shape`` that `to_matrix` laid out as ``matrix``; what stands in the padding is dropped.

    Raises
    ------
    LayerError
        When the matrix does not have the shape that such weights give.
    """
    outputs, channels, height, width = (*shape, *[1] * (4 - len(shape)))
    row = row_inputs(channels, width, group)
    if matrix.shape != (outputs, height * row):
        raise LayerError(f"matrix of weights {tuple(shape)} must have shape {(outputs, height * row)}, not {matrix.shape}")
    rows = matrix.reshape(outputs, height, row)
    if channels < group:
        taps = rows[:, :, : width * channels].reshape(outputs, height, width, channels)
    else:
        taps = rows.reshape(outputs, height, width, -1)[..., :channels]
    return np.ascontiguousarray(taps.transpose(0, 3, 1, 2)).reshape(shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Which pixels each output pixel of a convolution or a pooling sees; heights come before widths.

    Parameters
    ----------
    kernel, stride, dilation : tuple of int
        Height and width each: taps, pixels from one window to the next, pixels from one tap to the next.
    padding : tuple of int
        Pixels above and to the left of the image.
    padding_end : tuple of int, optional
        Pixels below and to the right; as many as ``padding`` by default.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    padding_end: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.padding_end is None:
            object.__setattr__(self, "padding_end", self.padding)
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1), ("padding_end", 0)):
            pair = getattr(self, name)
            if len(pair) != 2 or min(pair) < least:
                raise LayerError(f"{name} must be two numbers of at least {least}, not {pair}")

    @property
    def borders(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Padding as (above, below), (left, right)."""
        below, right = self.padding_end or self.padding
        return (self.padding[0], below), (self.padding[1], right)

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width of the area that the taps of a window span."""
        height, width = (dilation * (kernel - 1) + 1 for kernel, dilation in zip(self.kernel, self.dilation, strict=True))
        return height, width

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the output.

        Raises
        ------
        LayerError
            When the padded input is smaller than a window.
        """
        sizes = []
        for size, extent, stride, border in zip((height, width), self.extent, self.stride, self.borders, strict=True):
            if size + sum(border) < extent:
                raise LayerError(f"kernel {self.kernel} must fit the padded input, which is {size + sum(border)} pixels")
            sizes.append((size + sum(border) - extent) // stride + 1)
        return sizes[0], sizes[1]

    def pad(self, x: np.ndarray, value: int) -> np.ndarray:
        """Surround ``x``, [N, H, W, C], with ``value``."""
        return np.pad(x, ((0, 0), *self.borders, (0, 0)), constant_values=value)

    def taps(self, height: int, width: int) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield every tap of the kernel for an image of ``height`` x ``width`` without padding.

        Yields
        ------
        row, column : int
            Place in the kernel.
        rows, columns : slice
            Pixels of the padded image that the tap meets, one for each output pixel.
        """
        sizes = self.output_size(height, width)
        for row, column in np.ndindex(*self.kernel):
            starts = (row * self.dilation[0], column * self.dilation[1])
            rows, columns = (
                slice(start, start + (size - 1) * stride + 1, stride)
                for start, size, stride in zip(starts, sizes, self.stride, strict=True)
            )
            yield row, column, rows, columns


@dataclasses.dataclass(frozen=True)
class Convolution(Window):
    """Geometry of a convolution.

    Parameters
    ----------
    channels : int
        Input channels.
    groups : int
        Parts into which input and output channels are cut, each seeing only its own; ``channels`` for a depthwise convolution.
    """

    channels: int
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < 1:
            raise LayerError(f"channels must be at least 1, not {self.channels}")
        if self.groups < 1 or self.channels % self.groups:
            raise LayerError(f"groups must divide the {self.channels} channels, not be {self.groups}")

    def num_inputs(self, group: int) -> int:
        """Return K, padded for groups of M; of one part where there are several."""
        return self.kernel[0] * row_inputs(self.channels // self.groups, self.kernel[1], group)

    def check_activations(self, x: np.ndarray) -> None:
        """Raise `LayerError` unless ``x`` is int8 [N, H, W, C] with the right number of channels."""
        if x.dtype != np.int8 or x.ndim != 4 or x.shape[3] != self.channels:
            raise LayerError(f"activations must be int8 [N, H, W, {self.channels}], not {x.dtype} {list(x.shape)}")

    def columns(self, x: np.ndarray, zero_point: int, group: int) -> np.ndarray:
        """Gather the activations that each output pixel sees.

        Parameters
        ----------
        x : ndarray
            int8 [N, H, W, C].
        zero_point : int
            Value of the pixels outside the image.
        group : int
            M.

        Returns
        -------
        ndarray
            int8 [K, P], K as in `to_matrix`, P = N x output height x output width with images outermost. The padding of K is 0.

        Raises
        ------
        LayerError
            When the activations are not int8 [N, H, W, C], or the convolution has several parts and so is not one matrix product.
        """
        self.check_activations(x)
        if self.groups != 1:
            raise LayerError(f"a convolution that is one matrix product must have 1 group, not {self.groups}")
        images, height, width, channels = x.shape
        padded, depth = self.pad(x, zero_point), channels
        if channels >= group:
            depth = math.ceil(channels / group) * group
            padded = np.pad(padded, ((0, 0), (0, 0), (0, 0), (0, depth - channels)))
        rows_of_k = (self.kernel[0], row_inputs(channels, self.kernel[1], group))
        gathered = np.zeros((*rows_of_k, images, *self.output_size(height, width)), dtype=np.int8)
        source = np.ascontiguousarray(padded.transpose(3, 0, 1, 2))
        for row, column, rows, columns in self.taps(height, width):
            gathered[row, column * depth : (column + 1) * depth] = source[:, :, rows, columns]
        return gathered.reshape(self.num_inputs(group), -1)
