"""Tensors in memory: where the bytes of an input or output lie in its window, and what numbers they stand for."""

import dataclasses
import enum

import numpy as np

from .errors import ProgramError

__all__ = ["Layout", "TensorDescriptor"]

#: Highest number of elements of a tensor.
MAX_ELEMENTS = 1 << 30


class Layout(enum.Enum):
    """How an int8 tensor of N x H x W x C lies in memory."""

    PLANES = "planes"
    """For each image and each M channels a plane of H x W words of M bytes, ``stride`` bytes apart; channels beyond C are 0.
    So an activation buffer's planes are loaded and stored. Where ``interleave`` images lie together, they share their planes, and a pixel
    has a word of each of them, one after the other."""
    ROWS = "rows"
    """For each image and each of its rows W x C bytes, ``stride`` bytes apart. So a LOAD of PATCHES wants it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorDescriptor:
    """An input or output of a program.

    Parameters
    ----------
    name : str
        Name, unique among inputs and outputs.
    shape : tuple of int
        N, H, W, C. What has no height and width, such as logits, has 1 there.
    scale : float
        Of the quantization: a value stands for ``scale * (value - zero_point)``.
    zero_point : int
        Of the quantization.
    layout : Layout
        How the bytes lie.
    group_size : int
        M: channels of a plane.
    stride : int
        Bytes from one plane, or row, to the next.
    offset : int
        First byte in the window.
    interleave : int
        Images that share their planes, as many as divide N; 1 where each has its own.

    Raises
    ------
    ProgramError
        With the rule and the value, when one is broken.
    """

    name: str
    shape: tuple[int, int, int, int]
    scale: float
    zero_point: int
    layout: Layout
    group_size: int
    stride: int
    offset: int = 0
    interleave: int = 1

    def __post_init__(self) -> None:
        sizes = (*self.shape,)
        if len(sizes) != 4 or any(type(size) is not int or size < 1 for size in sizes) or np.prod(sizes, dtype=object) > MAX_ELEMENTS:
            raise ProgramError(f"{self.name}: shape must be four positive integers N, H, W, C of product up to 2^30, not {self.shape}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ProgramError(f"{self.name}: scale must be finite and above 0, not {self.scale}")
        if not -128 <= self.zero_point <= 127:
            raise ProgramError(f"{self.name}: zero_point must be in -128..127, not {self.zero_point}")
        if self.group_size < 1:
            raise ProgramError(f"{self.name}: group_size must be at least 1, not {self.group_size}")
        if self.interleave < 1 or self.shape[0] % self.interleave:
            raise ProgramError(f"{self.name}: interleave must divide the {self.shape[0]} images, not {self.interleave}")
        if self.interleave > 1 and self.layout is Layout.ROWS:
            raise ProgramError(f"{self.name}: interleave must be 1 where the layout is rows, not {self.interleave}")
        if self.stride < self.row_bytes:
            raise ProgramError(f"{self.name}: stride must be at least the {self.row_bytes} bytes that it spans, not {self.stride}")
        if self.offset < 0:
            raise ProgramError(f"{self.name}: offset must not be negative, not {self.offset}")

    @property
    def planes(self) -> int:
        """Planes of an image: channels / M, rounded up."""
        return -(-self.shape[3] // self.group_size)

    @property
    def row_bytes(self) -> int:
        """Bytes that are used of each ``stride``."""
        _, height, width, channels = self.shape
        return height * width * self.interleave * self.group_size if self.layout is Layout.PLANES else width * channels

    @property
    def rows(self) -> int:
        """How many times ``stride``: planes, or rows, of all images."""
        return self.shape[0] // self.interleave * (self.planes if self.layout is Layout.PLANES else self.shape[1])

    @property
    def num_bytes(self) -> int:
        """Bytes of the window that the tensor takes."""
        return self.rows * self.stride

    @property
    def end(self) -> int:
        """First byte of the window behind the tensor."""
        return self.offset + self.num_bytes

    def write(self, array: np.ndarray, window: np.ndarray) -> None:
        """Lay a tensor out in its window.

        Parameters
        ----------
        array : numpy.ndarray
            ``int8`` of `shape`.
        window : numpy.ndarray
            ``uint8``, bytes of the whole window. Bytes between rows and channels beyond C become 0.

        Raises
        ------
        ProgramError
            When ``array`` has another shape or type, or the window is too small.
        """
        if array.dtype == np.int8 and array.shape[1:] == self.shape[1:] and 0 < len(array) != self.shape[0]:
            raise ProgramError(
                f"{self.name}: must be {self.shape[0]} images, the batch that the program is compiled for, not {len(array)}; "
                f"give as many, or compile with --batch {len(array)}"
            )
        if array.dtype != np.int8 or array.shape != self.shape:
            raise ProgramError(f"{self.name}: must be int8 of shape {self.shape}, not {array.dtype} of shape {array.shape}")
        batch, height, width, channels = self.shape
        lines = self._lines(window)
        lines[:] = 0
        if self.layout is Layout.ROWS:
            lines[:, : self.row_bytes] = array.reshape(self.rows, self.row_bytes).view(np.uint8)
            return
        padded = np.zeros((batch, height * width, self.planes * self.group_size), np.int8)
        padded[:, :, :channels] = array.reshape(batch, height * width, channels)
        parted = padded.reshape(-1, self.interleave, height * width, self.planes, self.group_size)
        words = parted.transpose(0, 3, 2, 1, 4)  # images together, plane, pixel, image, channel
        lines[:, : self.row_bytes] = words.reshape(self.rows, self.row_bytes).view(np.uint8)

    def read(self, window: np.ndarray) -> np.ndarray:
        """Return the tensor that lies in a window: ``int8`` of `shape`.

        Raises
        ------
        ProgramError
            When the window is too small.
        """
        batch, height, width, channels = self.shape
        lines = self._lines(window)[:, : self.row_bytes].view(np.int8)
        if self.layout is Layout.ROWS:
            return lines.reshape(self.shape).copy()
        words = lines.reshape(-1, self.planes, height * width, self.interleave, self.group_size).transpose(0, 3, 2, 1, 4)
        whole = words.reshape(batch, height, width, self.planes * self.group_size)
        return np.ascontiguousarray(whole[:, :, :, :channels])

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Return the int8 that stand for real ``values``: halves to even, saturated.

        Raises
        ------
        ProgramError
            When a value is no number.
        """
        if not np.isfinite(values).all():
            raise ProgramError(f"{self.name}: values must be finite, not {values[~np.isfinite(values)][0]}")
        steps = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        return np.clip(steps, -128, 127).astype(np.int8)

    def dequantize(self, array: np.ndarray) -> np.ndarray:
        """Return the real values, ``float32``, that int8 stand for."""
        return (self.scale * (array.astype(np.float64) - self.zero_point)).astype(np.float32)

    def _lines(self, window: np.ndarray) -> np.ndarray:
        """Return a view of the tensor's bytes, one row a ``stride``."""
        if window.dtype != np.uint8 or window.ndim != 1 or len(window) < self.end:
            raise ProgramError(f"{self.name}: window must be at least {self.end} bytes, not {window.dtype} of shape {window.shape}")
        return window[self.offset : self.end].reshape(self.rows, self.stride)
