"""Quantization-aware fine-tuning: what is simulated is what is exported, masks hold, and int8 gets no worse."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from tests.sw.quantize.test_network import sparse_net
from tests.sw.small import SmallNet, small_mobile, small_net, striped_split
from torch import nn
from torch.nn import functional

from crisp.arch import Config, Pattern, PatternError, check
from crisp.golden.convolution import to_matrix
from crisp.prune.ste import hide
from crisp.quantize import (
    AwareOptions,
    QuantizedProduct,
    QuantizeError,
    QuantizeOptions,
    RangeMethod,
    RangeTraining,
    WeightRange,
    finetune_quantized,
    judge,
    quantize,
    to_network,
    trace,
)
from crisp.quantize.graph import FloatProduct
from crisp.quantize.quantize import find_ranges
from crisp.quantize.simulate import FakeQuantize, Simulation

#: Not shifted, since the place of a stripe is its class.
TRAINING, TEST = dataclasses.replace(striped_split(256, 4, 12, seed=0), shift=0), striped_split(120, 4, 12, seed=5)
SHORT = AwareOptions(steps=4, batch=16, calibration_images=32)


class Twice(nn.Module):
    """A convolution that is used twice, its batch norm without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(1, 8, 3, 2), nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8, affine=False)
        self.pool, self.fc = nn.MaxPool2d(5), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.conv(self.stem(x))))
        return self.fc(torch.flatten(self.pool(functional.relu(self.norm(self.conv(x)))), 1))


def twice() -> Twice:
    torch.manual_seed(0)
    return Twice().eval()


@pytest.mark.parametrize("weights", list(WeightRange))
@pytest.mark.parametrize("make", [small_net, small_mobile, twice])
def test_what_is_simulated_is_what_is_exported(make, weights):
    model, random = make(), np.random.default_rng(0)
    images = random.normal(size=(20, 3, 16, 16)).astype(np.float32) if make is small_mobile else TRAINING.take(slice(20)).inputs()
    graph, options = trace(model, torch.from_numpy(images[:1])), QuantizeOptions(weight_range=weights)
    tensors = find_ranges(graph, images, options)
    simulation = Simulation(model, graph, tensors, weights)
    assert simulation.meanings() == tensors
    quantized = quantize(model, images, options, ranges=tensors)
    for node, exported in zip(graph.nodes, quantized.nodes, strict=True):
        if isinstance(node, FloatProduct) and isinstance(exported, QuantizedProduct):
            rounded, scale = simulation.rounded(node), exported.weight_scale
            assert torch.equal(rounded.weight.detach(), torch.from_numpy(exported.weight * scale[:, None, None, None]).float())
            unit = scale * tensors[node.inputs[0]].scale
            assert torch.equal(rounded.bias.detach(), torch.from_numpy(exported.bias * unit).float())
    network = to_network(quantized, Config())
    levels = network.run(network.quantize_input(images))[:, 0, 0].astype(int)
    simulated = simulation(torch.from_numpy(images)).flatten(1).detach().numpy() / network.output_scale + network.output_zero_point
    differences = np.abs(np.rint(simulated) - levels)
    assert differences.max() <= 1
    assert np.mean(differences > 0) < 0.1


def trained_net() -> SmallNet:
    """Return a network that has learnt stripes."""
    model, random = small_net().train(), np.random.default_rng(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for batch in itertools.chain(*(TRAINING.batches(32, random) for _ in range(4))):
        loss = functional.cross_entropy(model(torch.from_numpy(batch.inputs())), torch.from_numpy(batch.labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained():
    return trained_net()


def int8_accuracy(model, options, ranges=None):
    return judge(to_network(quantize(model, TRAINING.images[:64], options, ranges=ranges), Config()), TEST)


@pytest.mark.parametrize("ranges", list(RangeTraining))
@pytest.mark.parametrize("method", [RangeMethod.MIN_MAX, RangeMethod.PERCENTILE])
def test_int8_gets_no_worse(trained, method, ranges):
    """Min-max ranges leave nothing to gain; those that cut off a fifth on each side have."""
    quantization = QuantizeOptions(method=method, percentile=80)
    before = int8_accuracy(trained, quantization)
    options = AwareOptions(steps=40, batch=32, learning_rate=0.01, ranges=ranges, range_rate=0.02, range_decay=0.9)
    result = finetune_quantized(trained, TRAINING, options, quantization=quantization)
    after = int8_accuracy(result.model, quantization, result.ranges)
    assert after >= before
    if method is RangeMethod.PERCENTILE:
        assert after > before + 0.3
        assert np.mean(result.losses[-10:]) < np.mean(result.losses[:10])


def test_masks_hold_and_the_model_is_left_alone():
    model, patterns = sparse_net()
    before = copy.deepcopy(model.state_dict())
    told = []
    result = finetune_quantized(model, TRAINING, SHORT, patterns=patterns, progress=lambda *step: told.append(step[:3]))
    assert told[0] == ("calibrate", 1, 1)
    assert told[-1] == ("train for int8", 4, 4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    after = result.model.state_dict()
    assert list(after) == list(before)
    assert not result.model.training
    assert torch.equal(after["conv3.weight"] == 0, before["conv3.weight"] == 0)
    for name in before:
        moved = not torch.equal(after[name], before[name])
        assert moved == (not name.endswith(("running_mean", "running_var", "num_batches_tracked"))), name
    check(to_matrix(after["conv3.weight"].numpy(), 4), patterns["conv3"])
    quantized = quantize(result.model, TRAINING.images[:20], ranges=result.ranges)
    assert quantized.tensors == result.ranges
    dense, sparse = (to_network(quantized, Config(), chosen).products for chosen in (None, patterns))
    assert [product.layer.steps for product in sparse if product.name == "conv3"] == [
        product.layer.steps // 4 for product in dense if product.name == "conv3"
    ]


def test_same_seed_same_bits():
    results = [
        finetune_quantized(small_net(), TRAINING, AwareOptions(steps=4, batch=16, calibration_images=32, seed=seed)) for seed in (1, 1, 2)
    ]
    first, again, other = (
        (result.losses, result.ranges, {name: value.tolist() for name, value in result.model.state_dict().items()}) for result in results
    )
    assert first == again
    assert first[0] != other[0]
    assert first[2] != other[2]


def test_what_becomes_of_ranges():
    found = {}
    for ranges in RangeTraining:
        options = AwareOptions(steps=12, batch=16, calibration_images=64, ranges=ranges, range_decay=0.5)
        found[ranges] = finetune_quantized(small_net(), TRAINING, options).ranges
    fixed = found.pop(RangeTraining.FIXED)
    order = np.random.default_rng(1).permutation(len(TRAINING))[:64]
    assert fixed == quantize(small_net(), TRAINING.images[order]).tensors
    for ranges in found.values():
        assert ranges["input"] == fixed["input"]
        assert sum(ranges[name] != fixed[name] for name in fixed) == len(fixed) - 1
        assert all(0.5 < ranges[name].scale / fixed[name].scale < 2 for name in fixed)
    maximum = finetune_quantized(twice(), TRAINING, SHORT)
    assert maximum.ranges["pool"] == maximum.ranges[trace(twice(), torch.zeros(1, 1, 12, 12)).nodes[-2].inputs[0]]
    quantize(maximum.model, TRAINING.images[:4], ranges=maximum.ranges)


def test_gradients_of_values_and_limits():
    x = torch.tensor([-3.0, -0.123, 0.004, 1.238, 7.0, 9.0], requires_grad=True)
    low, high = (torch.tensor(limit, dtype=torch.float64, requires_grad=True) for limit in (-0.51, 2.04))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    y = FakeQuantize.apply(x, low, high)
    assert y.tolist() == pytest.approx([-0.51, -0.12, 0.0, 1.24, 2.04, 2.04])
    (y * weights).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 0, 0]
    step = sum(weight * (round(value / 0.01) - value / 0.01) for value, weight in ((-0.123, 2), (0.004, 3), (1.238, 4))) / 255
    assert float(high.grad) == pytest.approx(11 + step, abs=1e-5)
    assert float(low.grad) == pytest.approx(1 - step, abs=1e-5)


def test_what_cannot_be_trained():
    with pytest.raises(QuantizeError, match="batch must be at most the 8 training images, not 64"):
        finetune_quantized(small_net(), TRAINING.take(slice(8)))
    with pytest.raises(QuantizeError, match="labels must be below the network's 3 outputs, not 3"):
        finetune_quantized(small_net(num_classes=3), TRAINING, SHORT)
    with pytest.raises(QuantizeError, match=r"the loss must be finite, not .* choose a smaller learning_rate"):
        finetune_quantized(small_net(), TRAINING, AwareOptions(steps=40, batch=16, learning_rate=1e30))
    model, patterns = sparse_net()
    with pytest.raises(QuantizeError, match="conv9: a pattern must belong to a layer of the model, which are conv1, conv2"):
        finetune_quantized(model, TRAINING, SHORT, patterns={"conv9": patterns["conv3"]})
    with pytest.raises(PatternError, match="conv2: row 0, group 0"):
        finetune_quantized(model, TRAINING, SHORT, patterns={"conv2": Pattern.from_kept(np.ones((2, 9)), (32, 144), 16, 4, 2)})
    hide(model.conv3, torch.ones_like(model.conv3.weight), 0.0)
    with pytest.raises(QuantizeError, match="conv3: conv3 = ParametrizedConv2d"):
        finetune_quantized(model, TRAINING, SHORT)


def test_ranges_of_another_model():
    ranges = quantize(small_net(), TRAINING.images[:20]).tensors
    with pytest.raises(QuantizeError, match=r"ranges must be given for the input and every node .* look at conv2$"):
        quantize(small_net(), TRAINING.images[:4], ranges={name: value for name, value in ranges.items() if name != "conv2"})
    model = twice()
    ranges = quantize(model, TRAINING.images[:20]).tensors
    with pytest.raises(QuantizeError, match="pool: the range of a maximum must be its input's"):
        quantize(model, TRAINING.images[:4], ranges={**ranges, "pool": ranges["input"]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"calibration_images": 0}, "calibration_images must be at least 1, not 0"),
        ({"learning_rate": 0}, "learning_rate must be above 0 and finite, not 0"),
        ({"range_rate": float("nan")}, "range_rate must be above 0 and finite, not nan"),
        ({"weight_decay": -1}, "weight_decay must be finite and not negative, not -1"),
        ({"range_decay": 1}, "range_decay must be at least 0 and below 1, not 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(QuantizeError) as caught:
        AwareOptions(**options)
    assert str(caught.value) == message
