import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp.prune import PruneError
from crisp.prune.blocks import block_sums, choose_blocks


def test_sums_are_where_their_blocks_are():
    """One weight at a time, in a matrix whose block rows and columns differ in number: rows must not be taken for columns."""
    for row in range(40):
        for column in range(0, 70, 3):
            values = np.zeros((40, 70))
            values[row, column] = 2.5
            sums = block_sums(values, 16)
            assert sums.shape == (3, 5)
            assert np.argwhere(sums).tolist() == [[row // 16, column // 16]]
            assert sums.sum() == 2.5


def test_truth_values_are_counted():
    assert block_sums(np.ones((17, 20), bool), 16).tolist() == [[256, 64], [16, 4]]


def brute_force(scores, kept_weights, budget, least, price):
    """Remove one rank-column after the other, looking at all layers anew each time."""
    left = {name: [sorted(range(score.shape[1]), key=row.__getitem__) for row in score.tolist()] for name, score in scores.items()}
    worst = dict.fromkeys(scores, -1.0)

    def kept():
        return sum(kept_weights[name][row, column] for name, rows in left.items() for row, columns in enumerate(rows) for column in columns)

    def salience(name):
        pairs = [(row, columns[0]) for row, columns in enumerate(left[name])]
        cost = sum(kept_weights[name][pair] for pair in pairs) * price[name]
        return max(worst[name], sum(scores[name][pair] for pair in pairs) / cost)

    while kept() > budget:
        able = [name for name in scores if len(left[name][0]) > least[name]]
        if not able:
            return None
        name = min(able, key=salience)
        worst[name] = salience(name)
        left[name] = [columns[1:] for columns in left[name]]
    return {name: [[column in columns for column in range(scores[name].shape[1])] for columns in rows] for name, rows in left.items()}


@given(seed=st.integers(0, 100_000), share=st.floats(0.05, 1.0), by_pixels=st.booleans())
def test_choice_equals_brute_force_and_is_uniform(seed, share, by_pixels):
    random = np.random.default_rng(seed)
    shapes = {f"layer{number}": (int(random.integers(1, 5)), int(random.integers(1, 8))) for number in range(3)}
    scores = {name: random.integers(0, 1000, size=shape) + random.random(shape) for name, shape in shapes.items()}
    weights = {name: np.full(shape, 128.0) for name, shape in shapes.items()}
    for name in shapes:  # the last block column and row may be smaller
        weights[name][:, -1] = random.choice([32, 64, 128])
        weights[name][-1] *= random.choice([0.5, 1.0])
    least = {name: int(random.integers(1, shape[1] + 1)) for name, shape in shapes.items()}
    price = {name: float(random.integers(1, 9)) if by_pixels else 1.0 for name in shapes}
    budget = int(share * sum(weight.sum() for weight in weights.values()))
    expected = brute_force(scores, weights, budget, least, price)
    if expected is None:
        with pytest.raises(PruneError, match="sparsity must leave room for"):
            choose_blocks(scores, weights, budget, least, price)
        return
    masks = choose_blocks(scores, weights, budget, least, price)
    for name, mask in masks.items():
        assert mask.tolist() == expected[name]
        kept = mask.sum(axis=1)
        assert (kept == kept[0]).all()
        assert kept[0] >= least[name]


def test_each_row_loses_its_own_least_blocks():
    scores = {"layer": np.array([[5.0, 1.0, 9.0], [2.0, 8.0, 7.0]])}
    masks = choose_blocks(scores, {"layer": np.ones((2, 3))}, 4, {"layer": 1}, {"layer": 1.0})
    assert masks["layer"].tolist() == [[True, False, True], [False, True, True]]


def test_dear_layers_lose_first():
    scores = {"cheap": np.array([[1.0, 4.0]]), "dear": np.array([[2.0, 4.0]])}
    weights, least = {"cheap": np.ones((1, 2)), "dear": np.ones((1, 2))}, {"cheap": 1, "dear": 1}
    by_weights = choose_blocks(scores, weights, 3, least, {"cheap": 1.0, "dear": 1.0})
    by_cycles = choose_blocks(scores, weights, 3, least, {"cheap": 1.0, "dear": 4.0})
    assert [mask.sum() for mask in by_weights.values()] == [1, 2]
    assert [mask.sum() for mask in by_cycles.values()] == [2, 1]


def test_broken_rules():
    scores, weights, price = {"layer": np.ones((2, 3))}, {"layer": np.full((2, 3), 10)}, {"layer": 1.0}
    with pytest.raises(PruneError) as caught:
        choose_blocks(scores, weights, 30, {"layer": 2}, price)
    assert str(caught.value) == (
        "sparsity must leave room for 40 weights, which the least salient layers keep in any case, but leaves it for 30; "
        "lower the sparsity or the floor"
    )
    with pytest.raises(PruneError, match="layer: at least 1 block must stay in every block row, not 0"):
        choose_blocks(scores, weights, 30, {"layer": 0}, price)
