import json

import numpy as np
import pytest

from crisp.data.normalization import COLOURS, FASHION, IMAGENET, Normalization, measure, normalize


def test_each_channel_has_its_own():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    x = IMAGENET.normalize(images)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((3, 3, 5, 4), np.float32, True)
    for channel, (mean, deviation) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        assert np.allclose(x[:, channel], (images[..., channel] / 255 - mean) / deviation, atol=1e-5)


@pytest.mark.parametrize(("normalization", "channels"), [(FASHION, 1), (COLOURS, 3), (Normalization((9, 9), (4, 4)), 2)])
def test_exact_ones_are_exact_in_int8(normalization, channels):
    assert normalization.is_exact
    pixels = np.arange(256, dtype=np.uint8).repeat(channels).reshape(1, 16, 16, channels)
    mean, deviation = normalization.mean[0], normalization.deviation[0]
    levels = np.rint(normalization.normalize(pixels).astype(np.float64) * deviation) + mean
    assert np.array_equal(levels[0, 0].ravel(), np.arange(256))


@pytest.mark.parametrize(
    "normalization", [IMAGENET, Normalization((1, 2), (3, 3)), Normalization((1,), (2, 3)), Normalization((0.5,), (1,))]
)
def test_others_are_not(normalization):
    assert not normalization.is_exact


def test_measured_in_whole_pixels():
    images = np.random.default_rng(1).integers(0, 200, (3000, 3, 2, 3), dtype=np.uint8)
    found = measure(images)
    assert found.mean == tuple(images.mean((0, 1, 2)).round())
    assert found.deviation == tuple(images.std((0, 1, 2)).round())
    assert measure(images[..., 0]).mean == found.mean[:1]
    assert measure(np.zeros((0, 2, 2), np.uint8)) == Normalization((0,), (1,))


def test_grey_pixels_as_fashion_mnist_has_them():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    expected = ((images.astype(np.float32) - 73) / 90)[:, None]
    assert np.array_equal(normalize(images), expected)
    assert json.loads(FASHION.to_json()) == {"mean": [73], "deviation": [90]}
