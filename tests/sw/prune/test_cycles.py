import numpy as np
import pytest
import torch
from torch import nn

from crisp.arch import Config, Pattern, PatternError
from crisp.compile import CompileError
from crisp.compile.compile import schedule_network
from crisp.models import build
from crisp.networks import Sparsity, prune_uniformly
from crisp.progress import silent
from crisp.prune import PruneOptions, prune
from crisp.prune.cycle_estimate import random_pattern
from crisp.prune.cycles import CycleModel
from crisp.quantize import quantize, to_network

from ..small import SmallNet, small_mobile, small_net, striped_dataset, with_statistics

DEFAULT = Config.preset("default")


def full_path(model, images, config, patterns):
    """Quantize and compile, as `crisp compile` does."""
    _, channels, height, width = images.shape
    network = to_network(quantize(model, images), config, patterns)
    return schedule_network(network, config, (height, width, channels)).program.info["predicted_cycles"]


def noise(*shape):
    return np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


def vgg():
    """A network whose first linear layer stands behind 2 x 2 pixels."""
    return with_statistics(build("vgg16-bn", 4, 64, 0, in_channels=1, width=1 / 16))


@pytest.mark.parametrize(
    "sparsity", [None, Sparsity(density=0.1), Sparsity(density=0.3, block=32), Sparsity(n=1, density=0.15, block=64)], ids=str
)
@pytest.mark.parametrize("preset", ["tiny", "default", "duo"])
@pytest.mark.parametrize(
    ("make", "shape"), [(small_net, (1, 12, 12)), (small_mobile, (3, 16, 16)), (vgg, (1, 64, 64))], ids=["small", "mobile", "vgg"]
)
def test_predicts_what_the_compiler_predicts_for_the_quantized_network(make, shape, preset, sparsity):
    model, images, config = make(), noise(*shape), Config.preset(preset)
    cycles = CycleModel(model, images[:1], config)
    patterns = {} if sparsity is None else prune_uniformly(model, images[:1], sparsity, silent)
    assert cycles.predict(patterns) == full_path(model, images, config, patterns)
    if sparsity is None:
        assert cycles.dense == cycles.predict({})


def test_what_was_asked_before_does_not_matter():
    cycles = CycleModel(small_net(), noise(1, 12, 12)[:1], DEFAULT)
    random = np.random.default_rng(1)
    asked = [{name: random_pattern(cycles.patterns[name], share, 2, random) for name in ("conv2", "conv3")} for share in (0.1, 0.4, 0.9)]
    first = [cycles.predict(patterns) for patterns in asked]
    assert first == sorted(first)
    assert first[0] < first[2] < cycles.dense
    assert [cycles.predict(patterns) for patterns in asked[::-1]] == first[::-1]


def test_the_model_is_left_as_it_was():
    model = small_net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    CycleModel(model, noise(1, 12, 12)[:1], DEFAULT)
    assert model.training
    assert model.bn1.training
    assert all(bool((value == before[name]).all()) for name, value in model.state_dict().items())


def test_larger_blocks_among_smaller_ones_count_as_several():
    cycles = CycleModel(small_net(), noise(1, 12, 12)[:1], DEFAULT)
    shape = cycles.patterns["conv3"].shape
    kept = np.arange(9) % 3 == 0
    large = Pattern.from_kept(kept[None], shape, 32, 4, 2)
    small = Pattern.from_kept(np.repeat(kept, 2)[None].repeat(2, axis=0), shape, 16, 4, 2)
    others = {"conv2": Pattern.dense(cycles.patterns["conv2"].shape, 16, 4)}
    assert cycles.predict({**others, "conv3": large}) == cycles.predict({**others, "conv3": small})


def test_shapes_are_those_of_the_machine():
    cycles = CycleModel(vgg(), noise(1, 64, 64)[:1], DEFAULT)
    outputs, channels, *kernel = cycles.shapes["classifier.0"]
    assert kernel == [2, 2]
    assert cycles.patterns["classifier.0"].shape == (outputs, channels * 4)


@pytest.mark.parametrize(
    ("name", "pattern", "message"),
    [
        ("conv9", Pattern.dense((32, 288), 16, 4), "conv9: a pattern must belong to a layer of the network, which are conv1, conv2, "),
        ("conv3", Pattern.dense((32, 144), 16, 4), r"conv3: rule shape: its weights \(32, 32, 3, 3\) are a matrix \(32, 288\) in the "),
        ("conv3", Pattern.dense((32, 288), 16, 8), "conv3: group must be that of the machine, 4, not 8"),
        ("conv3", Pattern((32, 288), 16, 4, np.arange(36).reshape(2, 18) % 5), "conv3: rule uniform: N adds up to "),
        ("conv3", Pattern((32, 288), 16, 4, np.zeros((2, 18), int)), "conv3: rule kept: block row 0 keeps no block"),
    ],
)
def test_patterns_that_cannot_be_are_refused_by_layer(name, pattern, message):
    cycles = CycleModel(small_net(), noise(1, 12, 12)[:1], DEFAULT)
    with pytest.raises(PatternError, match=message):
        cycles.predict({name: pattern})


def test_layers_that_do_not_fit_are_named():
    cycles = CycleModel(build("resnet18", 4, 28, 0, in_channels=1, width=0.5), noise(1, 28, 28)[:1], Config.preset("tiny"))
    with pytest.raises(CompileError, match=r"layer3\.0\.add: a row tile needs column_buffer_depth of 288"):
        _ = cycles.dense
    few, many = cycles.layer_cycles("layer3.0.conv1", np.array([100.0, 200.0]))  # from the densities that do fit
    assert 0 < few < many


def errors(cycles, trials):
    """Relative errors of the estimate for random patterns, which keep 5% to 40% of the blocks, or all of a layer."""
    found = []
    for trial in range(trials):
        random = np.random.default_rng(trial)
        shares = random.choice([0.05, 0.1, 0.2, 0.4]) * random.lognormal(0, 0.5, len(cycles.shapes))
        patterns = {
            name: random_pattern(cycles.patterns[name], min(share, 1), random.choice([1, 2, 2, 4]), random)
            for name, share in list(zip(cycles.shapes, shares, strict=True))[1:-1]
            if random.random() < 0.9
        }
        actual = cycles.predict(patterns)
        found.append(cycles.estimate({name: pattern.row_steps.max() for name, pattern in patterns.items()}) / actual - 1)
    return np.abs(found)


def test_the_estimate_is_close_for_residual_networks():
    cycles = CycleModel(build("resnet20", 10), noise(1, 28, 28)[:1], DEFAULT)
    assert errors(cycles, 16).max() < 0.02
    assert cycles.estimate({}) == pytest.approx(cycles.dense, rel=0.005)


def test_the_estimate_is_fair_for_depthwise_networks():
    cycles = CycleModel(build("mobilenetv2", 10, 28, in_channels=1, width=0.25), noise(1, 28, 28)[:1], DEFAULT)
    assert errors(cycles, 4).max() < 0.1


def test_a_step_costs_a_cycle_for_every_pixel_tile_and_row_tile():
    for block in (16, 32):
        cycles = CycleModel(build("resnet20", 10), noise(1, 28, 28)[:1], DEFAULT, block)

        def step(name, cycles=cycles):
            low, high = (share * cycles.patterns[name].row_steps.max() for share in (0.05, 0.5))
            return np.diff(cycles.layer_cycles(name, np.array([low, high])))[0] / (high - low)

        assert step("layer1.0.conv1") == pytest.approx(49, rel=0.03)  # 784 pixels, 16 channels
        assert step("layer2.1.conv1") == pytest.approx(2 * 13, rel=0.03)  # 196 pixels, 32 channels
        assert step("layer3.1.conv1") == pytest.approx(4 * 4, rel=0.05)  # 49 pixels, 64 channels


class Twice(SmallNet):
    """One of its layers is called two times."""

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.conv3(self.relu(self.conv3(self.relu(self.bn2(self.conv2(x)))))) + self.shortcut(x))
        return self.fc(torch.flatten(self.pool(y), 1))


def test_a_layer_that_is_called_twice_has_one_pattern():
    torch.manual_seed(0)
    options = PruneOptions(sparsity=0.9, iterations=1, final_images=16, batch=16)
    pruned, images, tiny = prune(with_statistics(Twice()), striped_dataset(), (0, 1), options), noise(1, 12, 12), Config.preset("tiny")
    cycles = CycleModel(pruned.model, images[:1], tiny)
    assert cycles.predict(pruned.patterns) == full_path(pruned.model, images, tiny, pruned.patterns)
    assert cycles.predict(pruned.patterns) < 0.4 * cycles.dense
    once = cycles.estimator.layer("conv3", np.array([72.0]))
    assert cycles.layer_cycles("conv3", np.array([72.0])) > 1.5 * once


class GroupedFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(4, 16, 3, 2, 1, groups=4), nn.ReLU(), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.fc = nn.Linear(32, 4)

    def forward(self, x):
        return self.fc(self.net(x))


def test_behind_a_grouped_first_layer_the_second_is_pruned():
    cycles = CycleModel(GroupedFirst().eval(), noise(4, 12, 12)[:1], DEFAULT)
    assert list(cycles.estimator.curves) == ["net.2"]
