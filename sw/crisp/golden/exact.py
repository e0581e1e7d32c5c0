"""The engine's results from floating point, to the bit and much faster: for whole networks, where the specification is too slow.

Every number on the way is one that floating point holds: sums of products are integers below 2^24 in float32 (or, where K is long, below
2^53 in float64), a sum with bias times a multiplier is an integer below 2^49, and a shift changes only the exponent. ``rint`` rounds half
to even, as `requantize` does.
"""

import numpy as np

from ..arch import ProductLayer, unpack

__all__ = ["exact_product", "exact_requantize", "exact_type"]


def exact_type(num_inputs: int) -> type[np.floating]:
    """Return the floating-point type that holds every sum of ``num_inputs`` products of int8 exactly."""
    return np.float32 if num_inputs * 2**14 <= 2**24 else np.float64


def exact_requantize(
    accumulator: np.ndarray,
    bias: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    output_zero_point: int,
    clamp_min: int,
    clamp_max: int,
) -> np.ndarray:
    """Compute `requantize` in floating point; ``accumulator`` is any floating-point array of integers, the others are as there."""
    y = accumulator + bias.astype(np.float64)
    y *= np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))
    np.rint(y, out=y)
    y += output_zero_point
    return np.clip(y, clamp_min, clamp_max, out=y).astype(np.int8)


def exact_product(layer: ProductLayer, x: np.ndarray) -> np.ndarray:
    """Compute a product layer as `run_layer` does.

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
    exact = exact_type(weights.shape[1])
    return exact_requantize(
        weights.astype(exact) @ x[: weights.shape[1]].astype(exact),
        layer.bias[:, None],
        layer.multiplier[:, None],
        layer.shift[:, None],
        layer.output_zero_point,
        layer.clamp_min,
        layer.clamp_max,
    )
