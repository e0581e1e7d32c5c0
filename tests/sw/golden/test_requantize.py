import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY

from crisp.golden.requantize import quantize_scale, requantize

INT32 = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1]))
INT8 = st.integers(-128, 127)


def exact(accumulator: int, bias: int, multiplier: int, shift: int, zero_point: int, low: int, high: int) -> int:
    """Compute the formula in rational numbers; Python's ``round`` takes halves to even."""
    return min(max(round(Fraction((accumulator + bias) * multiplier, 2**shift)) + zero_point, low), high)


@settings(PROPERTY, max_examples=400)
@given(INT32, INT32, st.integers(0, 2**16 - 1), st.integers(0, 63), INT8, st.tuples(INT8, INT8).map(sorted))
@example(-(2**31), -(2**31), 2**16 - 1, 0, -128, [-128, 127])
@example(2**31 - 1, 2**31 - 1, 2**16 - 1, 0, 127, [-128, 127])
@example(-(2**31), -(2**31), 2**16 - 1, 63, 0, [-128, 127])
@example(-1, 0, 1, 63, 0, [-128, 127])
@example(-(2**31), -(2**31), 2**15, 47, 0, [-128, 127])  # -2: nothing to round
@example(-(2**31), -(2**31), 2**15, 49, 0, [-128, 127])  # -1/2: to 0
def test_equals_rational_arithmetic(accumulator, bias, multiplier, shift, zero_point, clamp) -> None:
    arguments = (accumulator, bias, multiplier, shift, zero_point, *clamp)
    result = requantize(*(np.array(value) for value in arguments[:4]), *arguments[4:])
    assert result.dtype == np.int8
    assert result == exact(*arguments)


@settings(PROPERTY, max_examples=400)
@given(st.integers(0, 62), st.integers(-260, 260), st.sampled_from([-1, 0, 1]))
def test_around_halves(shift: int, halves: int, beside: int) -> None:
    """Sums that lie on halves of the result, or one beside."""
    total = (halves << shift) + beside
    total = min(max(total, -(2**32)), 2**32 - 2)
    accumulator = min(max(total, -(2**31)), 2**31 - 1)
    arguments = (accumulator, total - accumulator, 1, shift + 1, 0, -128, 127)
    assert requantize(*(np.array(value) for value in arguments[:4]), *arguments[4:]) == exact(*arguments)


def test_halves_go_to_even() -> None:
    halves = np.arange(-9, 10, 2)  # -4.5, -3.5, ... 4.5
    rounded = requantize(halves, np.array(0), np.array(1), np.array(1), 0, -128, 127)
    assert rounded.tolist() == [-4, -4, -2, -2, 0, 0, 2, 2, 4, 4]


def test_channels_are_broadcast() -> None:
    rng = np.random.default_rng(4)
    accumulator = rng.integers(-(2**20), 2**20, (5, 7)).astype(np.int32)
    bias = rng.integers(-(2**10), 2**10, 5).astype(np.int32)
    multiplier, shift = quantize_scale(rng.uniform(2**-16, 2**-12, 5))
    result = requantize(accumulator, bias[:, None], multiplier[:, None], shift[:, None], 3, -100, 100)
    for channel, row in enumerate(accumulator.tolist()):
        parameters = (int(bias[channel]), int(multiplier[channel]), int(shift[channel]), 3, -100, 100)
        assert result[channel].tolist() == [exact(value, *parameters) for value in row]


def test_nothing_overflows_at_the_narrowest_types() -> None:
    """Accumulators come as int32, multipliers as uint16, shifts as uint8: none of them may wrap inside."""
    low, high = np.array([-(2**31)], np.int32), np.array([2**31 - 1], np.int32)
    for sign, extreme in ((-1, low), (1, high)):
        result = requantize(extreme, extreme, np.array([2**16 - 1], np.uint16), np.array([48], np.uint8), 0, -128, 127)
        assert result.tolist() == [exact(int(extreme[0]), int(extreme[0]), 2**16 - 1, 48, 0, -128, 127)] == [sign]


@PROPERTY
@given(st.floats(2**-48, 65535.499))
@example(65535.499)
@example(2**-48)
@example(np.nextafter(1.0, 0.0))  # rounding carries to the next power of two
@example(np.nextafter(2.0**-47, 0.0))
def test_scale_is_normalised_and_near(scale: float) -> None:
    multiplier, shift = quantize_scale(np.array(scale))
    assert multiplier.dtype == np.uint16
    assert shift.dtype == np.uint8
    assert 2**15 <= multiplier < 2**16
    assert 0 <= shift <= 63
    assert abs(Fraction(int(multiplier), 2 ** int(shift)) / Fraction(scale) - 1) <= Fraction(1, 2**16)


@PROPERTY
@given(st.floats(0, 2**-48, exclude_min=True))
def test_smallest_scales_lose_bits_but_stay_within_half_a_step(scale: float) -> None:
    multiplier, shift = quantize_scale(np.array(scale))
    assert multiplier <= 2**15
    assert abs(Fraction(int(multiplier), 2 ** int(shift)) - Fraction(scale)) <= Fraction(1, 2**64)


def test_scales_of_any_shape() -> None:
    multiplier, shift = quantize_scale(np.full((2, 3), 0.75))
    assert multiplier.tolist() == [[0xC000] * 3] * 2
    assert shift.tolist() == [[16] * 3] * 2
    assert quantize_scale(np.empty(0))[0].shape == (0,)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan, 65535.5])
def test_scales_that_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'scales must be positive and less than 65535.5, not {scale} to {scale}')}$"):
        quantize_scale(np.array([scale]))
