"""Ranges of least squared error, against brute force on the values themselves."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp.quantize.affine import affine
from crisp.quantize.histogram import Histogram


def squared_error(values, low, high):
    """Return the mean squared error of int8 in a range, value by value."""
    meaning = affine(low, high)
    levels = np.clip(np.rint(values / meaning.scale) + meaning.zero_point, -128, 127)
    return float(np.mean(((levels - meaning.zero_point) * meaning.scale - values) ** 2))


def found_range(values, batches=1):
    histogram = Histogram()
    for batch in np.array_split(values, batches):
        histogram.add(batch)
    return histogram.range()


VALUES = {
    "normal": lambda random: random.normal(size=20000),
    "heavy tails": lambda random: random.standard_t(2.5, size=20000),
    "behind ReLU": lambda random: np.maximum(random.standard_t(3, size=20000), 0),
    "negative": lambda random: -random.gamma(0.3, size=20000),
    "one-sided outlier": lambda random: np.append(random.normal(size=20000), [-60.0]),
    "uniform": lambda random: random.uniform(-1, 3, size=20000),
}


@pytest.mark.parametrize("kind", VALUES)
def test_no_range_of_the_grid_is_better(kind):
    values = VALUES[kind](np.random.default_rng(0)).astype(np.float32)
    found = squared_error(values, *found_range(values))
    least, largest = min(values.min(), 0), max(values.max(), 0)
    grid = itertools.product(np.arange(1, 33) / 32, repeat=2)
    best = min(squared_error(values, least * down, largest * up) for down, up in grid)
    assert found <= best * 1.02
    assert found <= squared_error(values, least, largest) * 1.001


def test_an_outlier_is_clipped_and_an_even_spread_is_not():
    random = np.random.default_rng(1)
    low, high = found_range(np.append(random.normal(size=200000), [-10.0, 12.0]).astype(np.float32))
    assert -8 < low < -4
    assert 4 < high < 9
    low, high = found_range(random.uniform(-1, 3, 50000).astype(np.float32))
    assert -1 <= low < -0.95
    assert 2.9 < high <= 3


@settings(max_examples=50)
@given(cuts=st.lists(st.integers(1, 200), max_size=4), seed=st.integers(0, 100))
def test_counts_do_not_hang_on_batches_and_memory_does_not_grow(cuts, seed):
    random = np.random.default_rng(seed)
    values = (random.normal(size=201) * 2.0 ** random.integers(-30, 30, 201)).astype(np.float32)
    histogram = Histogram(bins=64)
    for batch in np.split(values, sorted(set(cuts))):
        histogram.add(batch)
    whole = Histogram(bins=64)
    whole.add(values)
    assert histogram.counts.shape == (128,)
    assert histogram.width == whole.width
    assert histogram.counts.tolist() == whole.counts.tolist()
    edges = np.arange(-64, 65) * whole.width
    assert histogram.counts.tolist() == np.histogram(values.astype(np.float64), edges)[0].tolist()
    assert 32 * whole.width <= np.abs(values).max() < 64 * whole.width


def test_nothing_but_zeros_and_what_is_not_finite():
    histogram = Histogram()
    histogram.add(np.zeros(5, np.float32))
    assert histogram.range() == (0, 0)
    histogram.add(np.array([2.5, 0, -1], np.float32))
    low, high = histogram.range()
    assert (low, high) == (pytest.approx(-1, rel=0.02), pytest.approx(2.5, rel=0.02))
    assert histogram.counts.sum() == 8
    histogram.add(np.array([np.inf], np.float32))
    assert histogram.range()[1] == np.inf
