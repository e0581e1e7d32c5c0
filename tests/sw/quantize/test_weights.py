import numpy as np
import pytest
import torch

from crisp.quantize import QuantizeOptions, WeightRange, quantize
from crisp.quantize.weights import weight_levels, weight_scales

COUNT = 40000

ROWS = {
    "normal": lambda random: random.normal(size=COUNT),
    "outlier": lambda random: np.append(random.normal(size=COUNT - 1), 60.0),
    "heavy tails": lambda random: random.standard_t(2, size=COUNT),
    "half pruned": lambda random: random.standard_t(2, size=COUNT) * (random.random(COUNT) < 0.5),
    "zeros": lambda random: np.zeros(COUNT),
}


def squared_errors(weight, scale):
    levels = weight_levels(weight, scale).astype(np.float64)
    return ((levels * scale[:, None] - weight.numpy()) ** 2).sum(axis=1)


def test_least_squared_error_of_every_channel():
    random = np.random.default_rng(0)
    weight = torch.from_numpy(np.stack([row(random) for row in ROWS.values()]).astype(np.float32))
    bias = np.zeros(len(weight))
    largest, best = (weight_scales(weight, bias, 1.0, method) for method in WeightRange)
    errors = squared_errors(weight, best)
    assert (errors <= squared_errors(weight, largest) * 1.0001).all()
    brute = np.min([squared_errors(weight, largest * ratio) for ratio in np.linspace(0.25, 1, 60)], axis=0)
    assert (errors <= brute * 1.05).all()
    clipped = dict(zip(ROWS, best < largest * 0.9, strict=True))
    assert clipped["outlier"]
    assert not clipped["normal"]
    levels = weight_levels(weight, best)
    assert (levels[weight.numpy() == 0] == 0).all()
    assert np.abs(levels.astype(int)).max() == 127
    assert (best == best.astype(np.float32)).all()


def test_rows_that_are_searched_in_parts(monkeypatch):
    weight = torch.from_numpy(np.random.default_rng(1).standard_t(2, size=(7, 50)).astype(np.float32))
    whole = weight_scales(weight, np.zeros(7), 1.0, WeightRange.MSE)
    monkeypatch.setattr("crisp.quantize.weights.SEARCHED", 100)
    assert weight_scales(weight, np.zeros(7), 1.0, WeightRange.MSE).tolist() == whole.tolist()


@pytest.mark.parametrize("method", list(WeightRange))
def test_large_biases_make_scales_coarser(method):
    weight = torch.full((2, 4), 1e-12)
    scale = weight_scales(weight, np.array([3.0, -5.0]), 0.01, method)
    assert np.abs(np.array([3, 5]) / (scale * 0.01)) == pytest.approx([2**30, 2**30])


def test_option_reaches_the_weights():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    with torch.no_grad():
        model[0].weight[:] = torch.rand(2, 1, 3, 3) + 0.5
        model[0].weight[0, 0, 0, 0] = 1.0
        model[0].weight[1] *= torch.eye(3)
    images = np.zeros((2, 8, 8), np.uint8)
    plain, best = (quantize(model, images, QuantizeOptions(weight_range=method)).nodes[0] for method in WeightRange)
    assert (best.weight_scale <= plain.weight_scale).all()
    assert ((best.weight == 0) == (plain.weight == 0)).all()
    assert (best.weight == 0).sum() == 6
