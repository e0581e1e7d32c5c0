import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests.sw.small import small_net, striped_split
from torch import nn

from crisp.data import normalize
from crisp.quantize import Affine, QuantizedProduct, QuantizeError, QuantizeOptions, RangeMethod, quantize, trace
from crisp.quantize.calibrate import affine, calibrate

IMAGES = striped_split(60, 4, 12, seed=0).images


@given(low=st.floats(-1e4, 1e4), high=st.floats(-1e4, 1e4))
@example(low=0.0, high=1.1351120986941426e-42)  # its scale would be a float32 of two bits
def test_range_and_zero_are_represented(low, high):
    low, high = min(low, high), max(low, high)
    meaning = affine(low, high)
    assert -128 <= meaning.zero_point <= 127
    for value in (low, high):
        level = np.clip(np.rint(value / meaning.scale) + meaning.zero_point, -128, 127)
        assert abs((level - meaning.zero_point) * meaning.scale - value) <= meaning.scale * 1.01


@pytest.mark.parametrize(
    ("low", "high", "meaning"),
    [
        (0, 255, Affine(1.0, -128)),
        (-128, 127, Affine(1.0, 0)),
        (-255, 0, Affine(1.0, 127)),
        (51, 510, Affine(2.0, -128)),
        (0, 0, Affine(1.0, 0)),
    ],
)
def test_known_ranges(low, high, meaning):
    assert affine(low, high) == meaning


def test_pixels_lose_nothing():
    images = np.zeros((2, 12, 12), np.uint8)
    images[0, 0, 0] = 255
    meaning = quantize(small_net(), images).tensors["input"]
    assert meaning.zero_point == -55
    assert meaning.scale == pytest.approx(1 / 90)


def test_ranges_are_those_of_all_batches():
    graph = trace(small_net(), torch.zeros(1, 1, 12, 12))
    batches = [torch.from_numpy(normalize(IMAGES[start : start + 20])) for start in (0, 20, 40)]
    seen = {}
    graph.run(torch.cat(batches), lambda name, value: seen.update({name: affine(float(value.min()), float(value.max()))}))
    found = calibrate(graph, batches, RangeMethod.MIN_MAX, 99.9)
    for name, meaning in found.items():
        assert meaning.scale == pytest.approx(seen[name].scale, rel=1e-4)
    clipped = calibrate(graph, batches, RangeMethod.PERCENTILE, 95)
    assert all(clipped[name].scale < found[name].scale for name in found if name not in ("input", "fc"))
    assert clipped["input"] == found["input"]


def test_weights_are_near_and_zeros_stay():
    model = small_net()
    with torch.no_grad():
        model.conv3.weight[:, ::2] = 0
        model.conv3.weight[5] = 0
    quantized = quantize(model, IMAGES)
    products = {node.name: node for node in quantized.nodes if isinstance(node, QuantizedProduct)}
    floats = {node.name: node for node in trace(model, torch.zeros(1, 1, 12, 12)).nodes}
    for name, product in products.items():
        exact = floats[name].weight.numpy()
        scale = product.weight_scale[:, None, None, None]
        assert product.weight.dtype == np.int8
        assert product.weight.min() >= -127
        assert (np.abs(product.weight * scale - exact) <= scale * 0.5001).all()
        assert (product.weight[exact == 0] == 0).all()
        unit = product.weight_scale * quantized.tensors[product.inputs[0]].scale
        assert (np.abs(product.bias * unit - floats[name].bias.numpy()) <= unit * 0.5001).all()
    assert (np.abs(products["conv2"].weight).reshape(32, -1).max(axis=1) == 127).all()


def test_channel_without_weights_or_with_tiny_ones_fits_int32():
    model = nn.Sequential(nn.Conv2d(1, 3, 1))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([0.0, 1e-12, 0.5])[:, None, None, None]
        model[0].bias[:] = torch.tensor([0.0, 3.0, 1.0])
    node = quantize(model, IMAGES).nodes[0]
    assert np.abs(node.bias.astype(np.int64)).max() <= 2**30
    assert node.bias[0] == 0
    assert node.weight.ravel().tolist() == [0, 0, 127]


class FlatNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(2 * 144, 3)

    def forward(self, x):
        return self.fc(torch.flatten(self.conv(x), 1))


def test_what_cannot_be_quantized():
    with pytest.raises(QuantizeError, match="calibration must have at least one image, not none"):
        quantize(small_net(), IMAGES[:0])
    with pytest.raises(
        QuantizeError,
        match=r"model must run on images of 1 x 12 x 12 \(channels, height, width\), but does not: mat1 and mat2 .*; give images of",
    ):
        quantize(FlatNet(), IMAGES)
    model = small_net()
    with torch.no_grad():
        model.conv2.weight[0] = torch.inf
    with pytest.raises(QuantizeError, match=r"conv2: .* must be finite"):
        quantize(model, IMAGES)


FLOATS = normalize(IMAGES)
FORM = "images must be float32 [N, C, H, W], normalised as the network was trained, or uint8 [N, H, W], grey, not"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 12, 12, 3), np.uint8), f"{FORM} uint8 [1, 12, 12, 3]; `crisp.data.Images.inputs` gives the former"),
        (FLOATS.astype(np.float64), f"{FORM} float64 [1, 1, 12, 12]; `crisp.data.Images.inputs` gives the former"),
        (np.where(np.arange(60) == 0, np.nan, FLOATS.T).T.astype(np.float32), "image must have finite values, not nan; look at where it"),
        (np.where(np.arange(60) == 59, np.nan, FLOATS.T).T.astype(np.float32), "input: values must be finite, not nan; look at the images"),
        (np.where(np.arange(60) == 59, np.inf, FLOATS.T).T.astype(np.float32), "input: values must be finite, not inf; look at the images"),
    ],
)
@pytest.mark.parametrize("method", RangeMethod)
def test_images_that_are_none(images, message, method):
    with pytest.raises(QuantizeError) as caught:
        quantize(small_net(), images, QuantizeOptions(method=method))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("method", RangeMethod)
def test_activations_that_are_not_finite(method):
    model = small_net()
    with torch.no_grad():
        model.conv2.weight.mul_(1e38)
        model.conv3.weight.mul_(1e38)
    with pytest.raises(QuantizeError, match=r"^conv3: values must be finite, not (-inf|inf|nan); train the network again$"):
        quantize(model, IMAGES, QuantizeOptions(method=method))


def test_model_stays_in_training():
    model = small_net().train()
    quantize(model, IMAGES)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 50}, "percentile must be above 50 and at most 100, not 50"),
        ({"percentile": 101}, "percentile must be above 50 and at most 100, not 101"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(QuantizeError) as caught:
        QuantizeOptions(**options)
    assert str(caught.value) == message


def test_progress_is_told():
    told = []
    quantize(small_net(), IMAGES, QuantizeOptions(batch=25), progress=lambda *step: told.append(step))
    assert told == [("calibrate", done, 3, "") for done in (1, 2, 3)]
