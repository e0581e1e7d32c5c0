import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from crisp.arch import LayerError
from crisp.golden.convolution import Convolution, Window, from_matrix, to_matrix


def weights(*shape):
    return np.random.default_rng(0).integers(-127, 128, size=shape).astype(np.int8)


def test_k_is_ordered_tap_by_tap_with_channels_last():
    weight = np.arange(1 * 5 * 2 * 3).reshape(1, 5, 2, 3)
    matrix = to_matrix(weight, group=4)
    assert matrix.shape == (1, 2 * 3 * 8)
    for height in range(2):
        for width in range(3):
            start = (height * 3 + width) * 8
            assert matrix[0, start : start + 8].tolist() == [*weight[0, :, height, width].tolist(), 0, 0, 0]


def test_few_channels_are_packed_row_by_row():
    weight = np.arange(1 * 3 * 2 * 3).reshape(1, 3, 2, 3)
    matrix = to_matrix(weight, group=4)
    assert matrix.shape == (1, 2 * 12)
    for height in range(2):
        expected = [weight[0, channel, height, width] for width in range(3) for channel in range(3)]
        assert matrix[0, height * 12 : height * 12 + 12].tolist() == [*expected, 0, 0, 0]


def test_linear_weights_keep_their_order():
    assert np.array_equal(to_matrix(weights(3, 6), 4), np.pad(weights(3, 6), ((0, 0), (0, 2))))


@given(shape=st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 3), st.integers(1, 3)), group=st.sampled_from((2, 4, 8, 16)))
def test_matrix_has_an_inverse(shape, group):
    weight = weights(*shape)
    assert np.array_equal(from_matrix(to_matrix(weight, group), shape, group), weight)


def test_matrix_of_another_shape():
    with pytest.raises(LayerError) as caught:
        from_matrix(np.zeros((2, 8)), (2, 3, 3, 3), 4)
    assert str(caught.value) == "matrix of weights (2, 3, 3, 3) must have shape (2, 36), not (2, 8)"


GEOMETRIES = [
    # channels, kernel, stride, padding, dilation, height, width, group
    (4, (1, 1), (1, 1), (0, 0), (1, 1), 5, 5, 4),
    (4, (3, 3), (1, 1), (1, 1), (1, 1), 6, 5, 4),
    (5, (3, 3), (2, 2), (1, 1), (1, 1), 7, 6, 4),
    (1, (3, 3), (1, 1), (1, 1), (1, 1), 8, 8, 4),
    (3, (7, 7), (2, 2), (3, 3), (1, 1), 11, 13, 8),
    (3, (2, 3), (3, 1), (0, 2), (1, 1), 9, 4, 16),
    (17, (1, 1), (2, 2), (0, 0), (1, 1), 5, 4, 16),
    (6, (5, 1), (1, 2), (2, 0), (1, 1), 5, 7, 2),
    (4, (3, 3), (1, 1), (2, 2), (2, 2), 6, 5, 4),
    (2, (2, 3), (1, 2), (0, 1), (3, 2), 8, 9, 4),
]


@pytest.mark.parametrize(("channels", "kernel", "stride", "padding", "dilation", "height", "width", "group"), GEOMETRIES)
def test_matrix_product_is_the_convolution(channels, kernel, stride, padding, dilation, height, width, group):
    """With the zero point subtracted, padding is 0: so torch's zero padding must give the same sums."""
    random, zero_point = np.random.default_rng(1), -7
    x = random.integers(-128, 128, size=(2, height, width, channels)).astype(np.int8)
    weight = weights(3, channels, *kernel)
    geometry = Convolution(channels, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    columns = geometry.columns(x, zero_point, group)
    assert columns.shape[0] == geometry.num_inputs(group)
    matrix = to_matrix(weight, group).astype(np.int64)
    sums = matrix @ columns.astype(np.int64) - zero_point * matrix.sum(axis=1, keepdims=True)
    shifted = torch.from_numpy(x.astype(np.float64) - zero_point).permute(0, 3, 1, 2)
    expected = functional.conv2d(shifted, torch.from_numpy(weight.astype(np.float64)), None, stride, padding, dilation)
    assert expected.shape[2:] == geometry.output_size(height, width)
    assert np.array_equal(sums, expected.permute(1, 0, 2, 3).reshape(3, -1).long().numpy())


def test_padding_may_differ_at_the_end():
    """TensorFlow's "same" padding at stride 2: nothing above and to the left, one pixel below and to the right."""
    x = np.arange(16).reshape(1, 4, 4, 1).astype(np.int8)
    geometry = Convolution(1, kernel=(3, 3), stride=(2, 2), padding_end=(1, 1))
    columns = geometry.columns(x, -5, 4)
    assert geometry.output_size(4, 4) == (2, 2)
    assert columns[:, 3].reshape(3, 4)[:, :3].tolist() == [[10, 11, -5], [14, 15, -5], [-5, -5, -5]]
    assert Window(padding=(1, 2)) == Window(padding=(1, 2), padding_end=(1, 2)) != Window(padding=(1, 2), padding_end=(0, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"kernel": (0, 1)}, "kernel must be two numbers of at least 1, not (0, 1)"),
        ({"stride": (1, 0)}, "stride must be two numbers of at least 1, not (1, 0)"),
        ({"padding": (-1, 0)}, "padding must be two numbers of at least 0, not (-1, 0)"),
        ({"padding_end": (0, -1)}, "padding_end must be two numbers of at least 0, not (0, -1)"),
        ({"dilation": (0, 1)}, "dilation must be two numbers of at least 1, not (0, 1)"),
        ({"groups": 2}, "groups must divide the 3 channels, not be 2"),
    ],
)
def test_wrong_geometry(arguments, message):
    with pytest.raises(LayerError) as caught:
        Convolution(**{"channels": 3, **arguments})
    assert str(caught.value) == message


def test_wrong_activations():
    with pytest.raises(LayerError, match=r"activations must be int8 \[N, H, W, 3\], not int8 \[1, 4, 4, 2\]"):
        Convolution(3).columns(np.zeros((1, 4, 4, 2), np.int8), 0, 4)
    with pytest.raises(LayerError, match=r"activations must be int8 \[N, H, W, 3\], not uint8 \[1, 4, 4, 3\]"):
        Convolution(3).columns(np.zeros((1, 4, 4, 3), np.uint8), 0, 4)
    with pytest.raises(LayerError, match=r"kernel \(5, 5\) must fit the padded input, which is 4 pixels"):
        Convolution(3, kernel=(5, 5)).columns(np.zeros((1, 4, 4, 3), np.int8), 0, 4)
    with pytest.raises(LayerError, match="a convolution that is one matrix product must have 1 group, not 3"):
        Convolution(3, groups=3).columns(np.zeros((1, 4, 4, 3), np.int8), 0, 4)
