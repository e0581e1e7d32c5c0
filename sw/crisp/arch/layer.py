"""One matrix product as the engine sees it, its limits, and the command that starts it."""

import dataclasses

import numpy as np

from .commands import EXECUTE, ExecuteKind, Opcode, Sharing
from .config import Config
from .errors import CapacityError, FieldError, LayerError
from .fields import CHANNEL
from .packing import PackedWeights, unpack

__all__ = ["ProductLayer", "check_capacity", "layer_command"]


@dataclasses.dataclass(frozen=True, eq=False)
class ProductLayer:
    """``Y[O, P] = requantize(W[O, K] @ X[K, P] + bias)`` with packed weights.

    Parameters
    ----------
    name : str
        Name for messages and reports.
    packed : PackedWeights
        The weights.
    bias : numpy.ndarray
        ``int32`` of shape (O,), the input's zero point folded in.
    multiplier : numpy.ndarray
        ``uint16`` of shape (O,).
    shift : numpy.ndarray
        ``uint8`` of shape (O,), each at most 63.
    output_zero_point, clamp_min, clamp_max : int
        int8 range; ``clamp_min`` is the zero point for ReLU.

    Raises
    ------
    LayerError
        When a parameter has the wrong shape, type or range, or an accumulator could leave int32.
    """

    name: str
    packed: PackedWeights
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    output_zero_point: int = 0
    clamp_min: int = -128
    clamp_max: int = 127

    def __post_init__(self) -> None:
        for name, dtype in (("bias", np.int32), ("multiplier", np.uint16), ("shift", np.uint8)):
            value = getattr(self, name)
            if value.dtype != dtype or value.shape != (self.num_channels,):
                raise LayerError(
                    f"{self.name}: {name} must be {np.dtype(dtype)} of shape ({self.num_channels},), "
                    f"not {value.dtype} of shape {value.shape}"
                )
        if self.shift.max() > 63:
            raise LayerError(f"{self.name}: shift must be at most 63, not {self.shift.max()}")
        if not -128 <= self.clamp_min <= self.clamp_max <= 127 or not -128 <= self.output_zero_point <= 127:
            raise LayerError(
                f"{self.name}: clamp_min <= clamp_max and the zero point must be int8, not {self.clamp_min}, "
                f"{self.clamp_max}, {self.output_zero_point}"
            )
        bound = 128 * np.abs(self.packed.values.astype(np.int64)).sum(axis=0).max()  # quick: rows of all tiles together
        if bound > 2**31 - 1 and self._largest_accumulator() > 2**31 - 1:
            raise LayerError(f"{self.name}: an accumulator may reach {self._largest_accumulator()}, beyond int32; split K")

    def _largest_accumulator(self) -> int:
        """Largest magnitude that any row's accumulator can reach with int8 activations."""
        return int(128 * np.abs(unpack(self.packed).astype(np.int64)).sum(axis=1).max())

    @property
    def num_channels(self) -> int:
        """O: output channels."""
        return self.packed.shape[0]

    @property
    def num_inputs(self) -> int:
        """K, padded to whole groups: rows of the activation matrix."""
        return self.packed.pattern.groups * self.packed.group

    @property
    def steps(self) -> int:
        """Steps of one pixel tile: the fewest cycles in which the array can compute it."""
        return len(self.packed.values)

    def check_activations(self, x: np.ndarray) -> None:
        """Check that ``x`` is what the layer multiplies: ``int8`` of shape (K padded to whole groups, P).

        Raises
        ------
        LayerError
            With what it is instead.
        """
        if x.dtype != np.int8 or x.ndim != 2 or x.shape[0] != self.num_inputs:
            raise LayerError(f"{self.name}: activations must be int8 of shape ({self.num_inputs}, P), not {x.dtype} of {x.shape}")

    def channel_words(self) -> np.ndarray:
        """Return the words `CHANNEL` of all output channels, padded with zeros to whole row tiles: ``uint64``."""
        words = np.zeros(self.packed.row_tiles * self.packed.rows, "<u8")
        words[: self.num_channels] = CHANNEL.pack_array(bias=self.bias, multiplier=self.multiplier, shift=self.shift)
        return words


def check_capacity(layer: ProductLayer, config: Config) -> None:
    """Check that a layer was packed for a configuration and fits its buffers.

    Raises
    ------
    LayerError
        When rows or group size differ from the configuration's.
    CapacityError
        When a buffer is too small: names layer, buffer, what is needed and what there is.
    """
    packed = layer.packed
    for name, have, want in (("rows", packed.rows, config.rows), ("group_size", packed.group, config.group_size)):
        if have != want:
            raise LayerError(f"{layer.name}: packed for {name} = {have}, but the configuration has {want}; pack again")
    needs = {
        "column_buffer_depth": packed.pattern.groups,
        "weight_buffer_depth": layer.steps,
        "entry_buffer_depth": len(packed.entries),
        "block_row_buffer_depth": len(packed.counts),
        "channel_buffer_depth": packed.row_tiles * packed.rows,
    }
    for name, need in needs.items():
        depth = getattr(config, name)
        if need > depth:
            raise CapacityError(
                f"{layer.name}: needs {name} of {need}, but the configuration has {depth}; choose a larger configuration or split the layer"
            )


def layer_command(layer: ProductLayer, config: Config, num_pixels: int) -> dict[str, int]:
    """Return the fields of an `EXECUTE` that multiplies a whole layer with ``num_pixels`` output pixels.

    All row tiles share a window of all groups of K, and everything lies at the beginning of its buffer. What is said about where
    pixels come from and where results go is 0: that is for the compiler.

    Raises
    ------
    LayerError, CapacityError
        As `check_capacity`; also when there is no pixel, or when a number does not fit its field.
    """
    check_capacity(layer, config)
    if num_pixels < 1:
        raise LayerError(f"{layer.name}: needs at least 1 output pixel, not {num_pixels}")
    pattern = layer.packed.pattern
    fields = dict.fromkeys((field.name for field in EXECUTE.fields), 0) | {
        "opcode": Opcode.EXECUTE,
        "kind": ExecuteKind.PRODUCT,
        "sharing": Sharing.SHARED,
        "row_tiles": layer.packed.row_tiles,
        "pixels": num_pixels,
        "block_tiles": layer.packed.block_tiles,
        "block_groups_log2": pattern.block_groups.bit_length() - 1,
        "block_columns": pattern.block_columns,
        "tail_groups": int(pattern.column_groups[-1]),
        "window_words": pattern.groups,
        "zero_point": layer.output_zero_point,
        "clamp_min": layer.clamp_min,
        "clamp_max": layer.clamp_max,
    }
    try:
        EXECUTE.pack(**fields)
    except FieldError as error:
        raise LayerError(f"{layer.name}: {error}; split the layer") from error
    return fields
