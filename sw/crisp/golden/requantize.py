"""Requantization: accumulators to int8, in integers only. The hardware is ``crisp_hw/requantize.py``."""

import numpy as np

__all__ = ["quantize_scale", "requantize"]


def requantize(
    accumulator: np.ndarray,
    bias: np.ndarray,
    multiplier: np.ndarray,
    shift: np.ndarray,
    output_zero_point: int,
    clamp_min: int,
    clamp_max: int,
) -> np.ndarray:
    """Scale accumulators to int8: ``clamp(round((acc + bias) * multiplier / 2**shift) + zero_point)``.

    Rounds half to even, as ONNX does. Exact: no intermediate overflows.

    Parameters
    ----------
    accumulator : numpy.ndarray
        ``int32`` sums of products, any shape.
    bias : numpy.ndarray
        ``int32``, broadcast against ``accumulator``.
    multiplier : numpy.ndarray
        0 to 65535, broadcast likewise.
    shift : numpy.ndarray
        0 to 63, broadcast likewise.
    output_zero_point, clamp_min, clamp_max : int
        int8 range.

    Returns
    -------
    numpy.ndarray
        ``int8``, shape of the broadcast.
    """
    total = np.asarray(accumulator, np.int64) + np.asarray(bias, np.int64)
    product = total * np.asarray(multiplier, np.int64)  # 33 + 16 bits
    shift = np.asarray(shift, np.int64)
    floor = product >> shift
    remainder = product - (floor << shift)
    half = np.int64(1) << np.maximum(shift - 1, 0)
    # At shift 0 the remainder is 0 and half is 1: nothing rounds up.
    up = (remainder > half) | ((remainder == half) & (floor & 1 == 1))
    value = floor + up + output_zero_point
    # As the hardware does, also where the limits are in the wrong order.
    return np.where(value < clamp_min, clamp_min, np.minimum(value, clamp_max)).astype(np.int8)


def quantize_scale(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Express positive real scales as ``multiplier * 2**-shift``.

    Parameters
    ----------
    scale : numpy.ndarray
        Positive, less than 2**16; any shape.

    Returns
    -------
    multiplier : numpy.ndarray
        ``uint16``, 2^15 to 2^16 - 1, so that the relative error is at most 2^-16; smaller scales than 2^-48 lose bits.
    shift : numpy.ndarray
        ``uint8``, 0 to 63.

    Raises
    ------
    ValueError
        When a scale is not positive, not finite or too large.
    """
    scale = np.asarray(scale, np.float64)
    if not (np.isfinite(scale) & (scale > 0) & (scale < 2**16 - 0.5)).all():
        raise ValueError(f"scales must be positive and less than 65535.5, not {scale.min()} to {scale.max()}")
    _, exponent = np.frexp(scale)  # scale = mantissa * 2**exponent, mantissa in [0.5, 1)
    shift = np.minimum(16 - exponent, 63)
    multiplier = np.rint(np.ldexp(scale, shift)).astype(np.int64)
    # Rounding may carry to 2^16: halve it, which is exact.
    carried = multiplier == 2**16
    return np.where(carried, 2**15, multiplier).astype(np.uint16), np.where(carried, shift - 1, shift).astype(np.uint8)
