import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp.prune import Goal, Layer, Price, PruneError, Ranking
from crisp.prune.blocks import RankColumns
from crisp.prune.ranking import LEAST_CYCLES, allocate

BLOCK, GROUP = 16, 4


@dataclasses.dataclass
class Curve:
    """Cycles of a layer: a price for each step, beyond some that are free."""

    price: float
    free: float

    def __call__(self, steps):
        return 100 + self.price * np.maximum(steps - self.free, 0)


def random_layers(random, steps, n=4):
    """Three layers of unlike shapes, pixels and cycles, with scores of unlike size."""
    layers, columns = {}, {}
    for number in range(3):
        shape = (int(random.integers(1, 60)), int(random.integers(1, 20)) * GROUP)
        layers[f"layer{number}"] = Layer(np.ones(shape, bool), int(random.integers(1, 100)), Curve(*random.integers(1, 50, size=2)))
        scores = random.exponential(size=shape) * 10.0 ** random.integers(-2, 3)
        columns[f"layer{number}"] = RankColumns.measure(scores, np.ones(shape, bool), block=BLOCK, group=GROUP, n=n, steps=steps)
    return layers, columns


def brute_force(layers, columns, done, ranking, price, least):
    """Remove one rank-column after the other, looking at all layers anew each time, until ``done``."""
    left = {name: len(column) for name, column in columns.items()}
    worst = dict.fromkeys(columns, -1.0)

    def value(name):
        column, layer, next_one = columns[name], layers[name], len(columns[name]) - left[name]
        each = column.steps * BLOCK // GROUP
        salience, kept = column.salience[next_one], column.salience[next_one:].sum()
        worth = {
            Ranking.RAW: salience,
            Ranking.NORMALIZED: salience / column.salience.sum(),
            Ranking.UNIFORM: (next_one + 1) / len(column),
            Ranking.PRODUCT: math.log(kept) - math.log(kept - salience) if kept - salience > 0 else 1e9,
        }[ranking]
        cost = {
            Price.NONE: 1,
            Price.WEIGHTS: column.weights[next_one],
            Price.MACS: column.weights[next_one] * layer.pixels,
            Price.CYCLES: max(float(layer.cycles(each * left[name]) - layer.cycles(each * (left[name] - 1))), LEAST_CYCLES),
        }[price]
        return max(worst[name], worth if ranking is Ranking.UNIFORM else worth / cost)

    while not done(left):
        able = [name for name in columns if left[name] > least[name]]
        if not able:
            return None
        name = min(able, key=value)
        worst[name] = value(name)
        left[name] -= 1
    return left


@given(
    seed=st.integers(0, 100_000),
    share=st.floats(0.02, 0.98),
    ranking=st.sampled_from(Ranking),
    price=st.sampled_from(Price),
    steps=st.sampled_from((1, 2, 4)),
    floor=st.sampled_from((0.0, 0.3)),
)
def test_allocation_equals_brute_force(seed, share, ranking, price, steps, floor):
    layers, columns = random_layers(np.random.default_rng(seed), steps)
    total = sum(layer.exists.size for layer in layers.values())
    budget = int(total * share + 1e-6)

    def done(left):
        return sum(columns[name].weights[len(columns[name]) - kept :].sum() for name, kept in left.items()) <= budget

    least = {name: max(1, round(floor * len(column))) for name, column in columns.items()}
    expected = brute_force(layers, columns, done, ranking, price, least)
    arguments = {"ranking": ranking, "price": price, "floor": floor, "block": BLOCK, "group": GROUP}
    if expected is None:
        with pytest.raises(PruneError, match="sparsity must be at most"):
            allocate(columns, layers, Goal(1 - share), **arguments)
        return
    chosen = allocate(columns, layers, Goal(1 - share), **arguments)
    for name, n in chosen.items():
        assert np.array_equal(n, columns[name].n(expected[name]))
        assert len(set(n.sum(axis=1).tolist())) == 1


@given(seed=st.integers(0, 100_000), share=st.floats(0.2, 1.0), sparsity=st.sampled_from((0.0, 0.3)), ranking=st.sampled_from(Ranking))
def test_budget_of_cycles_is_met_and_used(seed, share, sparsity, ranking):
    """A machine that takes a time of its own, besides what steps cost: the search must find the way, in few predictions."""
    layers, columns = random_layers(np.random.default_rng(seed), 1)
    asked = []

    def measure(patterns):
        asked.append(patterns)
        return 1000 + round(sum(taken(name, float(pattern.n.sum(axis=1)[0])) for name, pattern in patterns.items()))

    def taken(name, steps):
        return float(layers[name].cycles(np.asarray(4 * steps**1.1)))

    def steps(chosen):
        return {name: int(n.sum(axis=1)[0]) for name, n in chosen.items()}

    dense = 1000 + sum(taken(name, 4 * columns[name].columns) for name in layers)
    least = 1000 + sum(taken(name, 1) for name in layers)
    budget = int(least + share * (dense - least)) + 1
    arguments = {"ranking": ranking, "price": Price.CYCLES, "floor": 0.0, "block": BLOCK, "group": GROUP}
    chosen = allocate(columns, layers, Goal(sparsity, budget, measure), **arguments)
    spent = 1000 + round(sum(taken(name, count) for name, count in steps(chosen).items()))
    assert spent <= budget
    assert len(asked) <= 20
    by_sparsity = steps(allocate(columns, layers, Goal(sparsity), **arguments))
    assert all(count <= by_sparsity[name] for name, count in steps(chosen).items())
    largest = max(1.1 * 4 * layer.cycles.price * (4 * columns[name].columns) ** 0.1 for name, layer in layers.items())
    assert spent >= budget * 0.995 - 2 * largest or steps(chosen) == by_sparsity


def test_product_keeps_the_largest_product_of_kept_shares():
    """All ways to keep rank-columns of two layers within a budget: none has a larger product of what the layers keep."""
    for seed in range(20):
        random = np.random.default_rng(seed)
        layers = {name: Layer(np.ones((16, 64), bool)) for name in "ab"}
        scores = {name: random.exponential(size=(16, 64)) * scale for name, scale in zip("ab", (1, 1000), strict=True)}
        columns = {
            name: RankColumns.measure(score, layers[name].exists, block=BLOCK, group=GROUP, n=4, steps=1) for name, score in scores.items()
        }
        for kept in range(2, 32):
            goal = Goal(1 - kept / 32)
            chosen = allocate(columns, layers, goal, ranking=Ranking.PRODUCT, price=Price.WEIGHTS, floor=0, block=BLOCK, group=GROUP)

            def product(first, kept=kept, columns=columns):
                return columns["a"].salience[16 - first :].sum() * columns["b"].salience[16 - (kept - first) :].sum()

            best = max(product(first) for first in range(max(1, kept - 16), min(16, kept - 1) + 1))
            assert product(int(chosen["a"].sum())) == pytest.approx(best)
            assert chosen["a"].sum() + chosen["b"].sum() == kept


@pytest.mark.parametrize(
    ("goal", "floor", "message"),
    [
        (Goal(0.4), 0, "sparsity must be at least 0.500, which N:M takes by itself, not 0.400; choose a larger N or a higher sparsity"),
        (
            Goal(0.9),
            0.5,
            "sparsity must be at most 0.75, which leaves the 256 weights that layers keep in any case, not 0.9; "
            "lower the sparsity or the floor",
        ),
        (Goal(0.6, 50), 0, "a budget of cycles must come with a model of the machine; give `measure`"),
        (
            Goal(0.6, 50, lambda patterns: 70, 640),
            0,
            "cycles must leave room for 70, 0.1094 of the dense network's, which the network takes at least, not 50; allow more cycles",
        ),
        (
            Goal(0.6, 50, lambda patterns: 70),
            0,
            "cycles must leave room for 70, which the network takes at least, not 50; allow more cycles",
        ),
    ],
)
def test_goals_that_cannot_be(goal, floor, message):
    exists = np.ones((16, 64), bool)
    columns = {"a": RankColumns.measure(np.ones((16, 64)), exists, block=BLOCK, group=GROUP, n=2, steps=2)}
    with pytest.raises(PruneError) as caught:
        allocate(columns, {"a": Layer(exists)}, goal, ranking=Ranking.RAW, price=Price.NONE, floor=floor, block=BLOCK, group=GROUP)
    assert str(caught.value) == message
