"""Convolution as a matrix product: where each weight stands in W[O, K], and which activation meets it in X[K, P].

K is ordered (kh, kw, cin) with cin padded to whole groups of M, so that a group is M neighbouring channels of one pixel: one word of
memory. A layer with fewer channels than M would mostly multiply padding; it is packed row-wise instead, (kh, kw x cin), and only each row
of the kernel is padded. A linear layer is a 1x1 convolution of one pixel. Source: implicit im2col, e.g. S. Chetlur et al., "cuDNN:
Efficient Primitives for Deep Learning", arXiv 1410.0759.
"""

import dataclasses
import math

import numpy as np

from ..arch import LayerError

__all__ = ["Convolution", "from_matrix", "to_matrix"]


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


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Geometry of a convolution.

    Parameters
    ----------
    channels : int
        Input channels.
    kernel, stride, padding : tuple of int
        Height and width each, in pixels; padding on both sides.
    """

    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            pair = getattr(self, name)
            if len(pair) != 2 or min(pair) < least:
                raise LayerError(f"{name} must be two numbers of at least {least}, not {pair}")
        if self.channels < 1:
            raise LayerError(f"channels must be at least 1, not {self.channels}")

    def num_inputs(self, group: int) -> int:
        """Return K, padded for groups of M."""
        return self.kernel[0] * row_inputs(self.channels, self.kernel[1], group)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the output.

        Raises
        ------
        LayerError
            When the padded input is smaller than the kernel.
        """
        sizes = []
        for size, kernel, stride, padding in zip((height, width), self.kernel, self.stride, self.padding, strict=True):
            if size + 2 * padding < kernel:
                raise LayerError(f"kernel {self.kernel} must fit the padded input, which is {size + 2 * padding} pixels")
            sizes.append((size + 2 * padding - kernel) // stride + 1)
        return sizes[0], sizes[1]

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
            When the activations are not int8 [N, H, W, C].
        """
        if x.dtype != np.int8 or x.ndim != 4 or x.shape[3] != self.channels:
            raise LayerError(f"activations must be int8 [N, H, W, {self.channels}], not {x.dtype} {list(x.shape)}")
        images, height, width, channels = x.shape
        (kernel_height, kernel_width), (down, right) = self.kernel, self.stride
        out_height, out_width = self.output_size(height, width)
        (top, left), depth = self.padding, channels
        padded = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)), constant_values=zero_point)
        if channels >= group:
            depth = math.ceil(channels / group) * group
            padded = np.pad(padded, ((0, 0), (0, 0), (0, 0), (0, depth - channels)))
        gathered = np.zeros((kernel_height, row_inputs(channels, kernel_width, group), images, out_height, out_width), dtype=np.int8)
        source = np.ascontiguousarray(padded.transpose(3, 0, 1, 2))
        for row in range(kernel_height):
            rows = slice(row, row + (out_height - 1) * down + 1, down)
            for tap in range(kernel_width):
                taps = slice(tap, tap + (out_width - 1) * right + 1, right)
                gathered[row, tap * depth : (tap + 1) * depth] = source[:, :, rows, taps]
        return gathered.reshape(self.num_inputs(group), -1)
