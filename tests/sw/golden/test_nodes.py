import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

from crisp.arch import LayerError
from crisp.golden import AveragePool, Convolution, GroupedProduct, MaxPool, Table, Window, requantize
from crisp.golden.exact import exact_requantize, exact_type


def integers(random, *shape):
    return random.integers(-128, 128, size=shape).astype(np.int8)


def grouped_node(channels, outputs, groups, **geometry):
    random = np.random.default_rng(1)
    convolution = Convolution(channels, groups=groups, **geometry)
    return GroupedProduct(
        name="grouped",
        inputs=("input",),
        weights=integers(random, outputs, convolution.num_inputs(1)),
        bias=random.integers(-5000, 5000, size=outputs).astype(np.int32),
        multiplier=random.integers(2**15, 2**16, size=outputs).astype(np.uint16),
        shift=np.full(outputs, 23, np.uint8),
        convolution=convolution,
        input_zero_point=9,
        output_zero_point=-3,
        clamp_min=-100,
        clamp_max=90,
    )


def test_floating_point_rounds_as_integers_do():
    random = np.random.default_rng(0)
    for shift in (0, 1, 7, 16, 40, 63):
        sums = random.integers(-(2**31), 2**31, size=(50, 8)) >> random.integers(0, 32, size=(50, 8))
        arguments = (random.integers(-(2**31), 2**31, size=8), random.integers(0, 2**16, size=8), np.full(8, shift), -5, -128, 127)
        assert np.array_equal(exact_requantize(sums.astype(np.float64), *arguments), requantize(sums, *arguments))


def test_type_that_is_exact():
    assert exact_type(1024) is np.float32
    assert exact_type(1025) is np.float64


@pytest.mark.parametrize(
    ("channels", "outputs", "groups", "geometry"),
    [
        (6, 6, 6, {"kernel": (3, 3), "padding": (1, 1)}),
        (6, 6, 6, {"kernel": (5, 3), "stride": (2, 1), "padding": (2, 1)}),
        (4, 8, 4, {"kernel": (3, 3), "padding": (2, 2), "dilation": (2, 2)}),
        (6, 4, 2, {"kernel": (1, 3), "padding": (0, 1)}),
        (6, 9, 3, {}),
        (5, 3, 1, {"kernel": (2, 2), "stride": (2, 2)}),
    ],
)
def test_grouped_product_is_the_grouped_convolution(channels, outputs, groups, geometry):
    node = grouped_node(channels, outputs, groups, **geometry)
    x = integers(np.random.default_rng(2), 2, 7, 6, channels)
    kernel = node.convolution.kernel
    weights = torch.from_numpy(node.weights.reshape(outputs, *kernel, channels // groups).transpose(0, 3, 1, 2).astype(np.float64))
    below, right = node.convolution.padding
    padded = functional.pad(torch.from_numpy(x.astype(np.float64)).permute(0, 3, 1, 2), (right, right, below, below), value=9)
    sums = functional.conv2d(padded, weights, None, node.convolution.stride, 0, node.convolution.dilation, groups).permute(0, 2, 3, 1)
    assert np.array_equal(node.accumulate(x), sums.numpy())
    scale = (node.bias, node.multiplier, node.shift, -3, -100, 90)
    assert np.array_equal(node.evaluate(x), requantize(sums.long().numpy(), *scale))


def test_max_pool_is_torchs_whatever_the_padding():
    x = integers(np.random.default_rng(3), 2, 9, 8, 3)
    for kernel, stride, padding, dilation in ((2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2)):
        window = Window(kernel=(kernel,) * 2, stride=(stride,) * 2, padding=(padding,) * 2, dilation=(dilation,) * 2)
        node = MaxPool(name="pool", inputs=("input",), window=window)
        expected = functional.max_pool2d(torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2), kernel, stride, padding, dilation)
        assert np.array_equal(node.evaluate(x), expected.permute(0, 2, 3, 1).numpy())


def test_average_pool_counts_padding_as_zero():
    window = Window(kernel=(3, 2), stride=(2, 1), padding=(1, 1))
    node = AveragePool(
        name="pool", inputs=("x",), window=window, input_zero_point=-7, multiplier=43691, shift=18, output_zero_point=4, clamp_max=20
    )
    x = integers(np.random.default_rng(4), 1, 5, 4, 2)
    y = node.evaluate(x)
    assert y.shape == (1, 3, 5, 2)
    real = np.pad(x.astype(int) + 7, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row, column, channel in np.ndindex(y.shape[1:]):
        total = int(real[0, 2 * row : 2 * row + 3, column : column + 2, channel].sum())
        assert y[0, row, column, channel] == min(max(round(Fraction(total * 43691, 2**18)) + 4, -128), 20)


def test_table_looks_every_value_up():
    values = np.arange(-128, 128).astype(np.int8)
    table = values[::-1].copy()
    assert np.array_equal(Table(name="table", inputs=("x",), table=table).evaluate(values.reshape(1, 16, 16, 1)).ravel(), table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros((6, 8), np.int8)}, r"weights must be int8 \[O, 9\] for .*, not int8 \[6, 8\]"),
        ({"weights": np.zeros((6, 9), np.int32)}, r"weights must be int8 \[O, 9\] for .*, not int32 \[6, 9\]"),
        ({"weights": np.zeros((7, 9), np.int8)}, "groups must divide the 7 outputs, not be 6"),
        ({"bias": np.zeros(5, np.int32)}, r"bias must be int32 of shape \(6,\), not int32 of shape \(5,\)"),
        ({"shift": np.full(6, 64, np.uint8)}, "shift must be at most 63, not 64"),
        ({"clamp_min": 91}, "clamp_min <= clamp_max and the zero point must be int8, not 91, 90, -3"),
    ],
)
def test_wrong_grouped_product(change, message):
    with pytest.raises(LayerError, match=f"grouped: {message}"):
        dataclasses.replace(grouped_node(6, 6, 6, kernel=(3, 3)), **change)


def test_wrong_nodes():
    with pytest.raises(LayerError, match="pool: padding must be less than a window's 2 pixels, not 2"):
        MaxPool(name="pool", inputs=("x",), window=Window(kernel=(3, 2), padding=(1, 1), padding_end=(0, 2)))
    with pytest.raises(LayerError, match=r"table: table must be int8 \[256\], not int64 \[256\]"):
        Table(name="table", inputs=("x",), table=np.zeros(256, int))
    with pytest.raises(LayerError, match=r"activations must be int8 \[N, H, W, 6\], not int8 \[1, 4, 4, 5\]"):
        grouped_node(6, 6, 6).evaluate(np.zeros((1, 4, 4, 5), np.int8))
