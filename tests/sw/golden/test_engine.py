import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY, Matrix, fill, matrices

from crisp.arch import LayerError, Pattern, ProductLayer, pack, unpack
from crisp.golden.engine import PIXELS, accumulate, run_layer
from crisp.golden.requantize import requantize


def layer_of(matrix: Matrix, seed: int = 5) -> ProductLayer:
    """Return a layer whose random scales leave most outputs within int8."""
    rng, outputs = np.random.default_rng(seed), len(matrix.weights)
    low, high = sorted(rng.integers(-128, 128, 2).tolist())
    return ProductLayer(
        "conv1",
        pack(matrix.weights, matrix.pattern, rows=matrix.rows),
        bias=rng.integers(-(2**16), 2**16, outputs).astype(np.int32),
        multiplier=rng.integers(2**15, 2**16, outputs).astype(np.uint16),
        shift=rng.integers(20, 28, outputs).astype(np.uint8),
        output_zero_point=int(rng.integers(-128, 128)),
        clamp_min=low,
        clamp_max=high,
    )


def activations(layer: ProductLayer, num_pixels: int, seed: int) -> np.ndarray:
    """Draw activations of every int8 value."""
    return np.random.default_rng(seed).integers(-128, 128, (layer.num_inputs, num_pixels)).astype(np.int8)


def padded(weights: np.ndarray, inputs: int) -> np.ndarray:
    """Pad K with zeros to ``inputs``."""
    return np.pad(weights, ((0, 0), (0, inputs - weights.shape[1])))


@PROPERTY
@given(matrices(), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_accumulators_equal_numpy_and_torch(matrix: Matrix, num_pixels: int, seed: int) -> None:
    layer = layer_of(matrix)
    x = activations(layer, num_pixels, seed)
    result = accumulate(layer, x)
    weights = padded(matrix.weights, layer.num_inputs)
    assert result.dtype == np.int32
    assert np.array_equal(result, weights.astype(np.int64) @ x.astype(np.int64))
    assert np.array_equal(weights, padded(unpack(layer.packed), layer.num_inputs))
    for dtype in (torch.int32, torch.int64):
        assert np.array_equal(result, (torch.from_numpy(weights).to(dtype) @ torch.from_numpy(x).to(dtype)).numpy())


@PROPERTY
@given(matrices(), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_layer_is_product_then_requantization(matrix: Matrix, num_pixels: int, seed: int) -> None:
    layer = layer_of(matrix, seed)
    x = activations(layer, num_pixels, seed)
    accumulator = torch.from_numpy(padded(matrix.weights, layer.num_inputs)).int() @ torch.from_numpy(x).int()
    channel = (column[:, None] for column in (layer.bias, layer.multiplier, layer.shift))
    expected = requantize(accumulator.numpy(), *channel, layer.output_zero_point, layer.clamp_min, layer.clamp_max)
    result = run_layer(layer, x)
    assert result.dtype == np.int8
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("num_pixels", [PIXELS - 1, PIXELS, PIXELS + 1, 3 * PIXELS])
def test_pixels_computed_apart_are_the_same(num_pixels: int) -> None:
    pattern = Pattern.from_kept([[True, False, True], [False, True, True]], (20, 40), 16, 4, 2)
    matrix = Matrix(fill(np.random.default_rng(6), pattern), pattern, 8)
    x = activations(layer_of(matrix), num_pixels, 7)
    assert np.array_equal(accumulate(layer_of(matrix), x), matrix.weights.astype(np.int64) @ x.astype(np.int64))


def test_largest_sums() -> None:
    """A row of the largest products reaches the edge of int32 without wrapping."""
    inputs = 2**17 - 16  # one group of 16 below 2^31 / 128^2
    weights = np.full((1, inputs), -128, np.int8)
    layer = layer_of(Matrix(weights, Pattern.dense((1, inputs), 64, 16), 1))
    assert accumulate(layer, np.full((inputs, 1), -128, np.int8)).tolist() == [[2**31 - 16 * 2**14]]
    assert accumulate(layer, np.full((inputs, 1), 127, np.int8)).tolist() == [[-inputs * 128 * 127]]


@pytest.mark.parametrize(
    "x", [np.zeros((16, 3), np.int16), np.zeros((15, 3), np.int8), np.zeros(16, np.int8), np.zeros((1, 16, 3), np.int8)]
)
def test_activations_that_are_refused(x: np.ndarray) -> None:
    layer = layer_of(Matrix(np.zeros((3, 14), np.int8), Pattern.dense((3, 14), 16, 4), 16))
    message = f"conv1: activations must be int8 of shape (16, P), not {x.dtype} of {x.shape}"
    for compute in (accumulate, run_layer):
        with pytest.raises(LayerError, match=f"^{re.escape(message)}$"):
            compute(layer, x)
