"""The layer engine: a matrix product from packed weights. The hardware is ``crisp_hw/engine.py``."""

import numpy as np

from ..arch import ProductLayer
from ..arch.packing import schedule
from .requantize import requantize

__all__ = ["accumulate", "run_layer"]

#: Pixels computed at a time: bounds the memory that their operands take, and changes no result.
PIXELS = 128


def accumulate(layer: ProductLayer, x: np.ndarray) -> np.ndarray:
    """Multiply the packed weights, step by step as the array does, with activations.

    Parameters
    ----------
    layer : ProductLayer
        The weights, packed.
    x : numpy.ndarray
        Activations, ``int8`` of shape (K padded to whole groups, P).

    Returns
    -------
    numpy.ndarray
        Accumulators, ``int32`` of shape (O, P).

    Raises
    ------
    LayerError
        When ``x`` has the wrong type or shape.
    """
    layer.check_activations(x)
    packed = layer.packed
    accumulator = np.zeros((packed.row_tiles * packed.rows, x.shape[1]), np.int32)
    tiles = schedule(packed.pattern, packed.rows)
    for low in range(0, x.shape[1], PIXELS):
        pixels = x[:, low : low + PIXELS].astype(np.int32)
        start = 0
        for group, _, first in tiles:
            steps = slice(start, start + len(group))
            weight = packed.values[steps].astype(np.int32)
            operand = group[:, None] * packed.group + packed.offsets[steps]  # which activation each weight meets
            tile = np.einsum("sr,srp->rp", weight, pixels[operand])  # the sum over steps of weight x activation
            accumulator[first : first + packed.rows, low : low + PIXELS] = tile
            start += len(group)
    return accumulator[: layer.num_channels]


def run_layer(layer: ProductLayer, x: np.ndarray) -> np.ndarray:
    """Compute a layer: ``int8`` outputs of shape (O, P) from ``int8`` activations of shape (padded K, P).

    Raises
    ------
    LayerError
        When ``x`` has the wrong type or shape.
    """
    return requantize(
        accumulate(layer, x),
        layer.bias[:, None],
        layer.multiplier[:, None],
        layer.shift[:, None],
        layer.output_zero_point,
        layer.clamp_min,
        layer.clamp_max,
    )
