import copy
import dataclasses

import numpy as np
import pytest
import torch
from tests.sw.small import SmallNet, small_net, striped_dataset

from crisp.arch import Config, check
from crisp.data import DataError
from crisp.models import accuracy
from crisp.prune import Order, Price, PruneError, PruneOptions, Ranking, Saliency, loop, prune
from crisp.prune.cycles import CycleModel
from crisp.prune.layers import weight_matrix
from crisp.prune.loop import contest
from crisp.prune.schedule import plan_goals
from crisp.prune.ste import hide

CLASSES = (3, 1)
OPTIONS = PruneOptions(
    sparsity=0.85, iterations=3, iteration_images=64, final_images=320, saliency_images=32, batch=16, learning_rate=0.05, comeback=1.0
)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallNet()


@pytest.fixture(scope="module")
def pruned(network):
    return prune(network, striped_dataset(), CLASSES, OPTIONS)


def test_result_obeys_its_patterns_and_works(pruned):
    assert list(pruned.patterns) == ["conv2", "conv3", "shortcut"]
    for name, pattern in pruned.patterns.items():
        weight = pruned.model.get_submodule(name).weight
        assert type(weight) is torch.nn.Parameter
        check(weight_matrix(weight, 4), pattern, layer=name)
    assert pruned.sparsity >= 0.85
    assert pruned.classes == CLASSES
    assert pruned.model.fc.out_features == 2
    assert accuracy(pruned.model, striped_dataset().test.select(CLASSES)) > 0.9
    assert pruned.seconds > 0


def test_network_given_is_left_as_it_is():
    torch.manual_seed(0)
    network = SmallNet()
    before = copy.deepcopy(network.state_dict())
    prune(network, striped_dataset(), CLASSES, dataclasses.replace(OPTIONS, iterations=1, final_images=16))
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in before.items())


def test_every_iteration_obeys_the_contract_and_masks_do_not_freeze(network, monkeypatch):
    """The published code loses uniformity after the first iteration, and its N:M masks never change."""
    seen = []
    monkeypatch.setattr(loop, "check", lambda weights, pattern, layer: seen.append((layer, weights, pattern)))
    result = prune(network, striped_dataset(), CLASSES, OPTIONS)
    assert len(seen) == 3 * (OPTIONS.iterations + 1)
    for layer, weights, pattern in seen:
        check(weights, pattern, layer=layer)
    first, second = (next(weights != 0 for layer, weights, _ in seen[start:] if layer == "conv3") for start in (0, 3))
    came_back = second & ~first
    assert came_back.any()
    assert all(step.changed_share > 0 for step in result.history[1:])


def test_sparsity_ramps_up(pruned):
    steps = [step.sparsity for step in pruned.history]
    assert steps == sorted(steps)
    for step, asked in zip(pruned.history, plan_goals(OPTIONS), strict=True):
        assert asked.sparsity <= step.sparsity < asked.sparsity + 0.06
        assert 0 < step.kept_share < 1


def test_same_seed_gives_the_same_network(network, pruned):
    again = prune(network, striped_dataset(), CLASSES, OPTIONS)
    other = prune(network, striped_dataset(), CLASSES, dataclasses.replace(OPTIONS, seed=2))
    assert all(torch.equal(tensor, again.model.state_dict()[name]) for name, tensor in pruned.model.state_dict().items())
    assert again.patterns == pruned.patterns
    assert not torch.equal(other.model.conv2.weight, pruned.model.conv2.weight)


def test_hidden_weights_count_for_less():
    scores, masks = {"a": np.array([4.0, 4.0]), "b": np.array([4.0])}, {"a": np.array([True, False])}
    assert contest(scores, masks, 0.25)["a"].tolist() == [4.0, 1.0]
    assert contest(scores, masks, 0.25)["b"].tolist() == [4.0]


@pytest.mark.parametrize(
    "change",
    [
        {"saliency": Saliency.TAYLOR},
        {"ranking": Ranking.PRODUCT, "price": Price.MACS, "per_block": True, "n": 4, "floor": 0.0},
        {"n": 1},
        {"group": 8, "n": 3},
    ],
)
def test_other_settings_work(network, change):
    options = dataclasses.replace(OPTIONS, iterations=2, iteration_images=16, final_images=16, **change)
    assert prune(network, striped_dataset(), CLASSES, options).sparsity >= 0.85


def orders_seen(network, monkeypatch, **settings):
    """Return what was pruned, and of every iteration the density and the decay of each layer."""
    seen = []
    monkeypatch.setattr(loop, "hide", lambda layer, mask, decay: (seen.append((mask.mean().item(), decay)), hide(layer, mask, decay)))
    options = dataclasses.replace(OPTIONS, iteration_images=16, final_images=16, n=2, per_block=False, **settings)
    result = prune(network, striped_dataset(), CLASSES, options)
    return result, [seen[start : start + 3] for start in range(0, 9, 3)]


def test_nm_first(network, monkeypatch):
    result, steps = orders_seen(network, monkeypatch, order=Order.NM_FIRST)
    assert [density for density, _ in steps[0]] == [0.5] * 3  # all blocks stay
    assert result.sparsity >= 0.85
    assert {int(n) for pattern in result.patterns.values() for n in np.unique(pattern.n)} == {0, 2}


def test_blocks_first(network, monkeypatch):
    n = []
    monkeypatch.setattr(loop, "check", lambda weights, pattern, layer: n.append(set(np.unique(pattern.n).tolist())))
    orders_seen(network, monkeypatch, order=Order.BLOCKS_FIRST)
    assert set().union(*n[:6]) == {0, 4}  # three layers, two iterations
    assert set().union(*n[6:]) <= {0, 2}


def test_hidden_weights_decay_until_the_last_masks(network, monkeypatch):
    _, steps = orders_seen(network, monkeypatch, ste_decay=0.1)
    assert [decay for step in steps for _, decay in step] == [0.1] * 6 + [0.0] * 3


@pytest.mark.parametrize("comeback", [0.0, 0.3])
def test_hidden_weights_compete_by_less(network, comeback):
    options = dataclasses.replace(OPTIONS, saliency=Saliency.MAGNITUDE, comeback=comeback)
    result = prune(network, striped_dataset(), CLASSES, options)
    every = prune(network, striped_dataset(), CLASSES, dataclasses.replace(options, comeback=1.0))
    assert result.history[-1].changed_share < every.history[-1].changed_share


def test_floor_of_the_gradient_counts(network):
    options = dataclasses.replace(OPTIONS, iterations=1, final_images=0, saliency=Saliency.ABSOLUTE, comeback=1.0)
    by_size, by_gradient, by_magnitude = (
        prune(network, striped_dataset(), CLASSES, dataclasses.replace(options, **change)).model.conv2.weight != 0
        for change in ({"gradient_floor": 1e6}, {"gradient_floor": 0.0}, {"saliency": Saliency.MAGNITUDE})
    )
    assert torch.equal(by_size, by_magnitude) or (by_size == by_magnitude).float().mean() > 0.95  # layers weigh differently
    assert (by_gradient == by_magnitude).float().mean() < 0.95


def test_price_of_cycles(network):
    options = dataclasses.replace(OPTIONS, sparsity=0.6, iterations=1, final_images=0, saliency=Saliency.MAGNITUDE, ranking=Ranking.RAW)
    densities = [
        [
            pattern.density
            for pattern in prune(network, striped_dataset(), CLASSES, dataclasses.replace(options, price=price)).patterns.values()
        ]
        for price in (Price.NONE, Price.CYCLES)
    ]
    assert densities[0] != densities[1]


@pytest.mark.parametrize("seed", [28, 33])
def test_budget_near_the_least_is_met_though_saliency_would_choose_slower_blocks(seed):
    """The least cycles hang on which blocks stay: here magnitudes reach fewer than the saliency after training does."""
    options = dataclasses.replace(
        OPTIONS, sparsity=0.0, cycles=0.3066, iteration_images=64, final_images=64, saliency_images=64, saliency=Saliency.ABSOLUTE,
        gradient_floor=0.0, distillation=0.0, comeback=0.3,
    )  # fmt: skip
    result = prune(small_net(seed), striped_dataset(), CLASSES, options)
    model = CycleModel(result.model, striped_dataset().train.take(slice(1)).inputs(), Config.preset("default"))
    assert model.predict(result.patterns) <= 0.3066 * model.dense


def test_what_nothing_can_be_chosen_by_is_told(network, monkeypatch):
    broken = copy.deepcopy(network)
    broken.conv3.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(PruneError, match="conv3: weights must be finite, but 1 are not; train the network again"):
        prune(broken, striped_dataset(), CLASSES, OPTIONS)

    def saliency(value):
        return lambda model, layers, *rest: {name: torch.full_like(layer.weight, value).detach().numpy() for name, layer in layers.items()}

    monkeypatch.setattr(loop, "measure_saliency", saliency(float("inf")))
    with pytest.raises(PruneError, match=r"conv2: saliency must be finite, but \d+ are not; lower the learning rate"):
        prune(network, striped_dataset(), CLASSES, OPTIONS)
    monkeypatch.setattr(loop, "measure_saliency", saliency(0.0))
    with pytest.raises(PruneError, match=r"saliency must be above 0 somewhere, but magnitude is 0 in all layers"):
        prune(network, striped_dataset(), CLASSES, OPTIONS)


def test_network_of_other_classes_is_refused():
    with pytest.raises(PruneError, match="must have an output for each of the 4 classes of stripes, not 10; choose the data"):
        prune(SmallNet(10), striped_dataset(), CLASSES, dataclasses.replace(OPTIONS, distillation=0.0))


def test_few_images_a_class(network):
    few = striped_dataset(count=24)  # six of each
    options = dataclasses.replace(OPTIONS, iterations=1, batch=4, final_images=8)
    assert prune(network, few, CLASSES, options).sparsity >= 0.85
    one = dataclasses.replace(few, train=few.train.take(slice(4)))
    with pytest.raises(PruneError, match="stripes: the user's classes must have images to judge by besides those to learn from; add some"):
        prune(network, one, CLASSES, dataclasses.replace(options, batch=2))


def test_progress_is_told(network):
    told = []
    prune(network, striped_dataset(), CLASSES, OPTIONS, lambda *step: told.append(step))
    assert [step[:3] for step in told[:4]] == [("prune 1/3", step, 4) for step in range(1, 5)]
    assert told[-1][:3] == ("prune 3/3", 20, 20)
    assert told[-1][3].startswith("loss ")


def test_wrong_classes_and_too_few_images(network):
    with pytest.raises(DataError, match=r"user classes must be labels of the data set, not \[3, 9\]"):
        prune(network, striped_dataset(), (3, 9), OPTIONS)
    with pytest.raises(PruneError, match="batch must be at most the 110 training images of the classes, not 128"):
        prune(network, striped_dataset(), CLASSES, PruneOptions(batch=128))


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (
            {"sparsity": 0.0, "cycles": 0.1},
            r"cycles must leave room for \d+, 0\.\d+ of the dense network's, which the network takes at least, not \d+; allow more cycles",
        ),
        ({"floor": 0.5}, r"sparsity must be at most 0\.\d+, which leaves the \d+ weights .*; lower the sparsity or the floor"),
    ],
)
def test_goal_out_of_reach_is_told_before_training(network, tmp_path, goal, message):
    def train(*step):
        raise AssertionError("it trains")

    with pytest.raises(PruneError, match=message):
        prune(network, striped_dataset(), CLASSES, dataclasses.replace(OPTIONS, **goal), train, state=tmp_path / "state")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "sparsity must be at least 0 and below 1, not 1.0"),
        ({"group": 3}, "group must be one of 2, 4, 8, 16, not 3"),
        ({"n": 5}, "n must be from 1 to group = 4, not 5"),
        ({"block": 8}, "block must be one of 16, 32, 64, not 8"),
        ({"floor": 1.5}, "floor must be from 0 to 1, not 1.5"),
        ({"cycles": 2.0}, "cycles must be a share of the dense network's, above 0 and at most 1, not 2.0"),
        ({"comeback": -0.1}, "comeback must be from 0 to 1, not -0.1"),
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"final_images": -1}, "final_images must not be negative, not -1"),
        ({"learning_rate": 0}, "learning_rate must be above 0, not 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(PruneError) as caught:
        PruneOptions(**options)
    assert str(caught.value) == message
