import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crisp.arch import Config
from crisp.compile.compile import schedule_network
from crisp.models import build
from crisp.prune import PruneError
from crisp.prune.channel_groups import cut_channels, find_groups
from crisp.prune.channel_queue import ChannelQueue, cut_bundles
from crisp.prune.channels import ChannelGoal, ChannelOptions, measure_channels, prunable_weights, remove_channels
from crisp.prune.cycles import CycleModel
from crisp.prune.options import Price
from crisp.quantize import quantize, to_network

from ..small import SmallNet, small_mobile, small_net, striped_dataset, with_statistics

DEFAULT = Config.preset("default")
DATA = striped_dataset()
GREY = np.random.default_rng(0).normal(size=(2, 1, 28, 28)).astype(np.float32)


def network(name, size=28, **options):
    return with_statistics(build(name, 4, size, 0, in_channels=1, **options))


NETWORKS = {
    "small": (small_net, (1, 12, 12)),
    "mobile": (small_mobile, (3, 16, 16)),
    "resnet20": (lambda: network("resnet20"), (1, 28, 28)),
    "mobilenetv2": (lambda: network("mobilenetv2", width=0.25), (1, 28, 28)),
    "vgg16-bn": (lambda: network("vgg16-bn", 64, width=0.125), (1, 64, 64)),
}


def drawn(model, seed=0):
    """Contributions as `measure_channels` gives, but drawn."""
    random = np.random.default_rng(seed)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    return {
        name: random.normal(size=(3, module.in_channels if isinstance(module, nn.Conv2d) else module.in_features))
        for name, module in layers.items()
    }


def without(model, groups, removed):
    """Return a network as large as before in which nothing reads the removed channels."""
    for group in groups:
        for reader in group.readers:
            gone = reader.index[np.isin(reader.channel, removed[group.root])]
            with torch.no_grad():
                model.get_submodule(reader.layer).weight[:, gone] = 0
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_computes_what_the_larger_does_when_nothing_reads_what_is_gone(name):
    make, shape = NETWORKS[name]
    model, images = make(), torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    groups = find_groups(model, images[:1])
    random = np.random.default_rng(2)
    removed = {group.root: np.flatnonzero(random.random(group.size) < 0.5)[: group.size - 1] for group in groups}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    smaller = cut_channels(model, images[:1], removed)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert sum(parameter.numel() for parameter in smaller.parameters()) < 0.7 * sum(value.numel() for value in before.values())
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), without(model, groups, removed)(images), rtol=1e-4, atol=1e-5)


def test_groups_are_what_the_architecture_ties():
    image = torch.zeros(1, 1, 28, 28)
    stages = {group.root: group for group in find_groups(network("resnet20"), image)}
    assert len(stages) == 3 + 9  # a residual stream a stage, and the middle of each block
    stream = next(group for group in stages.values() if "layer2.0.conv2" in {maker.layer for maker in group.makers})
    assert {maker.layer for maker in stream.makers} == {"layer2.0.downsample.0", "layer2.0.conv2", "layer2.1.conv2", "layer2.2.conv2"}
    assert {reader.layer for reader in stream.readers} == {"layer2.1.conv1", "layer2.2.conv1", "layer3.0.conv1", "layer3.0.downsample.0"}
    makers = [{maker.layer for maker in group.makers} for group in find_groups(network("mobilenetv2", width=0.25), image)]
    assert {"features.2.conv.0.0", "features.2.conv.1.0"} in makers  # the depthwise one follows
    flat = find_groups(network("vgg16-bn", 64, width=0.125), torch.zeros(1, 1, 64, 64))
    (reader,) = next(group for group in flat if group.root == "features.40").readers
    assert reader.layer == "classifier.0"
    np.testing.assert_array_equal(reader.channel, np.repeat(np.arange(64), 4))  # 2 x 2 pixels


def test_outputs_and_what_is_kept_do_not_go():
    image = torch.zeros(1, 1, 12, 12)
    makers = {maker.layer for group in find_groups(small_net(), image) for maker in group.makers}
    assert makers == {"conv1", "conv2", "conv3", "shortcut"}
    makers = {maker.layer for group in find_groups(small_net(), image, ("shortcut",)) for maker in group.makers}
    assert makers == {"conv1", "conv2"}
    touched = {ends.layer for group in find_groups(small_mobile(), torch.zeros(1, 3, 16, 16)) for ends in (*group.makers, *group.readers)}
    assert "grouped.0" not in touched  # neither what it reads nor what it puts out


def test_contributions_are_the_slope_of_the_loss_along_each_channel():
    model, batch = small_net(), DATA.train.take(slice(0, 16))
    contributions = measure_channels(model, [batch])
    model = model.double()

    @torch.no_grad()
    def loss():
        return float(functional.cross_entropy(model(torch.from_numpy(batch.inputs()).double()), torch.from_numpy(batch.labels)))

    for name, channel in (("conv2", 3), ("conv3", 7), ("shortcut", 3), ("fc", 11)):
        weight = model.get_submodule(name).weight.data
        losses = []
        for factor in (1 + 1e-4, 1 - 1e-4):
            weight[:, channel] *= factor
            losses.append(loss())
            weight[:, channel] /= factor
        assert contributions[name][0, channel] == pytest.approx((losses[0] - losses[1]) / 2e-4, rel=1e-3, abs=1e-7)


def test_what_nothing_reads_goes_first_and_changes_nothing():
    model = small_net()
    image = DATA.train.take(slice(1)).inputs()
    unread = np.arange(0, 32, 2)
    with torch.no_grad():
        model.conv3.weight[:, unread] = 0  # half of what conv2 puts out
        for norm in (model.bn1, model.bn2, model.bn3):
            norm.bias += 1  # no other channel is always 0
    contributions = measure_channels(model, DATA.train.batches(32))
    total = prunable_weights(model, image)
    result = remove_channels(model, image, contributions, ChannelGoal(weights=total - 1), DEFAULT, ChannelOptions(multiples=(16,)))
    np.testing.assert_array_equal(result.kept["conv2"], np.setdiff1d(np.arange(32), unread))
    assert result.kept_share == 1
    assert result.weights == total - 16 * 9 * 16 - 16 * 9 * 32
    inputs = torch.from_numpy(DATA.test.inputs())
    with torch.no_grad():
        torch.testing.assert_close(result.model(inputs), model(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20", ChannelOptions()),
        ("resnet20", ChannelOptions(uniform=True)),
        ("resnet20", ChannelOptions(price=Price.MACS)),
        ("mobilenetv2", ChannelOptions(price=Price.WEIGHTS)),
    ],
)
def test_goals_are_met(name, options):
    model, image = NETWORKS[name][0](), GREY[:1]
    total, dense = prunable_weights(model, image), CycleModel(model, image, DEFAULT).dense
    goal = ChannelGoal(weights=total // 4)
    result = remove_channels(model, image, drawn(model), goal, DEFAULT, options)
    assert 0.8 * goal.weights < result.weights <= goal.weights
    assert result.weights == prunable_weights(result.model, image)
    assert result.cycles is None
    goal = ChannelGoal(weights=total * 3 // 4, cycles=dense // 2)
    result = remove_channels(model, image, drawn(model), goal, DEFAULT, dataclasses.replace(options, multiples=(4,)))
    assert result.weights <= goal.weights
    assert 0.8 * goal.cycles < result.cycles <= goal.cycles
    assert result.cycles == CycleModel(result.model, image, DEFAULT).dense


def test_residual_streams_keep_the_same_channels_in_multiples():
    model = network("resnet20")
    goal = ChannelGoal(weights=prunable_weights(model, GREY[:1]) // 3)
    result = remove_channels(model, GREY[:1], drawn(model), goal, DEFAULT, ChannelOptions(multiples=(8,), floor=0.3))
    assert result.multiple == 8
    for stage in (2, 3):
        kept = [result.kept[f"layer{stage}.{block}.conv2"] for block in range(3)]
        np.testing.assert_array_equal(kept[0], kept[1])
        np.testing.assert_array_equal(kept[0], kept[2])
        np.testing.assert_array_equal(kept[0], result.kept[f"layer{stage}.0.downsample.0"])
    assert {len(kept) % 8 for kept in result.kept.values()} == {0}
    assert all(len(kept) >= 0.3 * model.get_submodule(name).out_channels for name, kept in result.kept.items())
    assert result.model.fc.in_features == len(result.kept["layer3.2.conv2"])


def test_uniform_layers_keep_the_same_share():
    model = network("resnet20")
    goal = ChannelGoal(weights=prunable_weights(model, GREY[:1]) // 4)
    result = remove_channels(model, GREY[:1], drawn(model), goal, DEFAULT, ChannelOptions(multiples=(4,), uniform=True))
    shares = [len(kept) / model.get_submodule(name).out_channels for name, kept in result.kept.items()]
    assert max(shares) - min(shares) <= 0.25


def test_the_multiple_that_loses_least_importance_is_taken():
    model = network("resnet20")
    goal = ChannelGoal(weights=prunable_weights(model, GREY[:1]) // 3)
    results = [
        remove_channels(model, GREY[:1], drawn(model), goal, DEFAULT, ChannelOptions(multiples=multiples))
        for multiples in ((4,), (16,), (16, 4))
    ]
    assert results[2].kept_share == max(results[0].kept_share, results[1].kept_share)
    assert results[2].multiple == (4 if results[0].kept_share > results[1].kept_share else 16)


def test_a_loop_goes_on_from_the_smaller_network_and_compiles_in_the_end():
    torch.manual_seed(0)
    model, image = SmallNet(4), DATA.train.take(slice(1)).inputs()
    total = prunable_weights(model, image)
    for share in (0.6, 0.3):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        model.train()
        for batch in DATA.train.batches(40, np.random.default_rng(1)):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.from_numpy(batch.inputs())), torch.from_numpy(batch.labels)).backward()
            optimizer.step()
        contributions = measure_channels(model, DATA.train.batches(40))
        result = remove_channels(model, image, contributions, ChannelGoal(weights=int(share * total), cycles=10**9), DEFAULT)
        model = result.model
        assert result.weights <= share * total
    images = DATA.train.take(slice(16)).inputs()
    program = schedule_network(to_network(quantize(model, images), DEFAULT), DEFAULT, (12, 12, 1)).program
    assert program.info["predicted_cycles"] == result.cycles


def test_bundles_leave_multiples_and_the_floor():
    assert cut_bundles(64, 16, 0.1).tolist() == [16, 16, 16]
    assert cut_bundles(24, 16, 0.1).tolist() == [8]
    assert cut_bundles(24, 4, 0.5).tolist() == [4, 4, 4]
    assert cut_bundles(24, 4, 0.45).tolist() == [4, 4, 4]
    assert cut_bundles(8, 16, 0.1).tolist() == []
    assert cut_bundles(16, 16, 0.0).tolist() == []


@pytest.mark.parametrize("multiple", [4, 16])
def test_groups_compete_by_the_channels_that_go(multiple):
    """What always stays has no say: the most important channels of a group are never counted."""
    groups = find_groups(network("resnet20"), torch.from_numpy(GREY[:1]))
    worth = {group.root: np.random.default_rng(number).exponential(size=group.size) for number, group in enumerate(groups)}
    queue = ChannelQueue(groups, {}, worth, dict.fromkeys(worth, 1.0), multiple, 0.0, is_uniform=False)
    expected = []
    for number, group in enumerate(groups):
        ascending = np.sort(worth[group.root])
        for start in range(0, group.size - multiple, multiple):
            expected.append((ascending[start : start + multiple].mean(), number))
    assert queue.owners.tolist() == [number for _, number in sorted(expected)]


def test_the_search_finds_the_fewest_bundles():
    model = network("resnet20")
    groups = find_groups(model, torch.from_numpy(GREY[:1]))
    worth = {group.root: np.random.default_rng(number).random(group.size) for number, group in enumerate(groups)}
    queue = ChannelQueue(groups, {}, worth, dict.fromkeys(worth, 1.0), 4, 0.0, is_uniform=False)
    left = np.sort(np.random.default_rng(0).integers(0, 1000, len(queue) + 1))[::-1]
    gone = np.r_[0, np.cumsum(queue.sizes)]
    for most in (left[0], 900, 500, 100, left[-1]):
        asked = []

        def measure(removed, asked=asked):
            asked.append(removed)
            return int(left[np.searchsorted(gone, sum(map(len, removed.values())))])

        assert queue.search(None, int(most), measure) == int(np.argmax(left <= most))
        assert len(asked) < 16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChannelGoal(), "a goal must say how many weights or cycles there may be, not neither"),
        (lambda: ChannelGoal(weights=0), "weights must be at least 1, not 0"),
        (lambda: ChannelOptions(multiples=()), r"multiples must be one or more numbers of at least 1, not \(\)"),
        (lambda: ChannelOptions(floor=1.5), "floor must be from 0 to 1, not 1.5"),
        (lambda: ChannelOptions(price=Price.CYCLES), "price of channels must be none, weights or macs, not cycles"),
        (lambda: measure_channels(small_net(), []), "must be measured on at least one batch, not none"),
        (lambda: find_groups(small_net(), torch.zeros(1, 1, 12, 12), ("conv7",)), "keep must name layers of the network, .* not 'conv7'"),
        (lambda: find_groups(small_net(), torch.zeros(1, 3, 12, 12)), r"the network must take an image of shape \[1, 3, 12, 12\]"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(PruneError, match=message):
        make()


def test_goals_out_of_reach_and_contributions_of_another_network_are_refused():
    model, image = small_net(), DATA.train.take(slice(1)).inputs()
    for goal, unit in ((ChannelGoal(weights=10), "weights"), (ChannelGoal(cycles=10), "cycles")):
        message = rf"{unit} must be at least \d+, which the network keeps in any case with .* multiples of 4, not 10"
        with pytest.raises(PruneError, match=message):
            remove_channels(model, image, drawn(model), goal, DEFAULT)
    with pytest.raises(
        PruneError, match=r"shortcut: contributions must be \[batches, inputs\] of this network, not None; measure them again"
    ):
        remove_channels(model, image, {}, ChannelGoal(weights=1000), DEFAULT)
    options = ChannelOptions(keep=("conv1", "conv2", "conv3"))
    with pytest.raises(PruneError, match="all are its outputs or kept"):
        remove_channels(model, image, drawn(model), ChannelGoal(weights=1000), DEFAULT, options)
