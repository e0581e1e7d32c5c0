"""Bias correction: the means of the float model come back, layer by layer."""

import numpy as np
import pytest
import torch
from tests.sw.small import small_mobile, small_net, striped_split
from torch import nn

from crisp.arch import Config
from crisp.data import normalize
from crisp.golden.network import exact_product
from crisp.quantize import QuantizedProduct, QuantizeOptions, quantize, to_network, trace

#: Bright, so that a channel whose weights are rounded up moves.
IMAGES = striped_split(60, 4, 12, seed=0).images // 2 + 120
CORRECTED = QuantizeOptions(bias_correction=True, batch=25)


def shifted(last: nn.Module) -> nn.Sequential:
    """Return two convolutions most of whose weights are rounded up, so that every channel moves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 6, 3), last)
    with torch.no_grad():
        for layer in model[:2]:
            levels = torch.randint(-3, 4, layer.weight.shape) + 0.55
            levels[:, 0, 0, 0] = 127
            levels[::2] *= -1  # every other channel is negative
            layer.weight[:] = levels / 127
    return model.eval()


def means(quantized, images):
    """Return the mean of each channel of every node's int8 output, as reals."""
    network, found = to_network(quantized, Config()), {}

    def observe(node, inputs, output):
        meaning = quantized.tensors[node.name]
        found[node.name] = (output.astype(np.float64).mean(axis=(0, 1, 2)) - meaning.zero_point) * meaning.scale

    network.run(network.quantize_input(normalize(images)), product=exact_product, observe=observe)
    return found


def test_means_come_back_in_every_layer():
    model, expected = shifted(nn.Identity()), {}
    graph = trace(model, torch.zeros(1, 1, 12, 12))
    graph.run(torch.from_numpy(normalize(IMAGES)), lambda name, value: expected.update({name: value.mean(dim=(0, 2, 3)).numpy()}))
    plain, corrected = (quantize(model, IMAGES, options) for options in (QuantizeOptions(), CORRECTED))
    for name in ("0", "1"):
        before, after = (np.abs(means(quantized, IMAGES)[name] - expected[name]).max() for quantized in (plain, corrected))
        step = corrected.tensors[name].scale
        assert before > 0.5 * step
        assert after < 0.15 * step


def test_sums_are_compared_before_their_limits():
    """ReLU hides most of the sums, so that means behind it would say something else."""
    sums = shifted(nn.Identity())(torch.from_numpy(normalize(IMAGES)))
    assert 0.2 < (sums < 0).float().mean() < 0.8
    (relu, plain) = (quantize(shifted(last), IMAGES, CORRECTED).nodes for last in (nn.ReLU(), nn.Identity()))
    assert relu[1].clamp != plain[1].clamp
    assert relu[1].bias.tolist() == plain[1].bias.tolist()


def test_images_are_limited_and_batches_change_nothing():
    biases = {
        size: [node.bias.tolist() for node in quantize(shifted(nn.ReLU()), IMAGES[:20], QuantizeOptions(**options)).nodes[:2]]
        for size, options in {
            "all": {"bias_correction": True},
            "in parts": {"bias_correction": True, "batch": 7},
            "ten": {"bias_correction": True, "correction_images": 10},
            "none": {},
        }.items()
    }
    for one, other in zip(biases["all"], biases["in parts"], strict=True):
        assert np.abs(np.subtract(one, other)).max() <= 2  # sums of float32 in another order
    assert biases["all"] != biases["ten"] != biases["none"] != biases["all"]


@pytest.mark.parametrize("model", [small_net, small_mobile])
def test_nothing_but_biases_changes(model):
    images = IMAGES if model is small_net else np.random.default_rng(0).normal(size=(30, 3, 16, 16)).astype(np.float32)
    told = []
    plain = quantize(model(), images)
    corrected = quantize(model(), images, CORRECTED, progress=lambda *step: told.append(step))
    assert corrected.tensors == plain.tensors
    assert told[-1] == ("correct biases", len(plain.nodes), len(plain.nodes), plain.nodes[-1].name)
    changed = 0
    for before, after in zip(plain.nodes, corrected.nodes, strict=True):
        assert type(before) is type(after)
        if isinstance(before, QuantizedProduct):
            assert np.array_equal(before.weight, after.weight)
            changed += int((before.bias != after.bias).sum())
    assert changed > 20
    to_network(corrected, Config())


def test_biases_stay_within_int32():
    """A bias that takes all its range, beside weights that are lost in rounding: what they gave does not fit any more."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())
    input_scale = quantize(model, IMAGES).tensors["input"].scale
    with torch.no_grad():
        model[0].weight[:] = 0.45 * 2 / (input_scale * 2**30)
        model[0].bias[:] = 2.0
    plain, corrected = (quantize(model, IMAGES, options).nodes[0] for options in (QuantizeOptions(), CORRECTED))
    assert not plain.weight.any()
    assert 2**30 - 100 < plain.bias[0] < 2**30
    assert corrected.bias.dtype == np.int32
    assert corrected.bias[0] == 2**30
