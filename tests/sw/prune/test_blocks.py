import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp.prune import PruneError
from crisp.prune.blocks import RankColumns, block_sums, expand_blocks


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


def slices(scores, exists, block, group, n, steps):
    """List, for each block row, the slices as (gain, weights, block column, lowest rank), by sorting each group by itself."""
    rows = []
    for top in range(0, scores.shape[0], block):
        found = []
        for column, left in enumerate(range(0, scores.shape[1], block)):
            for low in range(0, n, steps):
                gain = count = 0
                for row in range(top, min(top + block, scores.shape[0])):
                    for start in range(left, min(left + block, scores.shape[1]), group):
                        members = sorted(range(start, start + group), key=lambda k: (not exists[row, k], -scores[row, k], k))
                        stays = [k for k in members[low : low + steps] if exists[row, k]]
                        gain += sum(scores[row, k] for k in stays)
                        count += len(stays)
                found.append((gain, count, column, low))
        rows.append(sorted(found, key=lambda piece: (piece[0], piece[2], -piece[3])))
    return rows


@given(
    seed=st.integers(0, 100_000),
    group=st.sampled_from((2, 4, 8)),
    per_block=st.booleans(),
    padded=st.booleans(),
)
def test_rank_columns_equal_brute_force(seed, group, per_block, padded):
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 40)), int(random.integers(1, 6)) * 8)
    scores = random.integers(0, 50, size=shape).astype(float) + random.integers(0, 3, size=shape) / 4
    exists = np.ones(shape, bool)
    if padded:
        exists[:, shape[1] // 2 - 1] = False
    n = int(random.integers(1, group + 1))
    steps = 1 if per_block else n
    columns = RankColumns.measure(scores * exists, exists, block=16, group=group, n=n, steps=steps)
    expected = slices(scores * exists, exists, 16, group, n, steps)
    for rank in range(len(columns)):
        assert columns.salience[rank] == sum(row[rank][0] for row in expected)
        assert columns.weights[rank] == sum(row[rank][1] for row in expected)
    for kept in range(len(columns) + 1):
        counts = columns.n(kept)
        stays = [[0] * counts.shape[1] for _ in counts]
        for row, pieces in enumerate(expected):
            for _, _, column, _ in pieces[len(pieces) - kept :]:
                stays[row][column] += steps
        assert counts.tolist() == stays
        mask = columns.mask(counts, exists, 16)
        assert mask.sum() == columns.weights[len(columns) - kept :].sum()
        assert (scores * mask).sum() == columns.salience[len(columns) - kept :].sum()


@given(seed=st.integers(0, 100_000))
def test_no_other_choice_of_as_many_steps_keeps_more(seed):
    """All ways to give two blocks and two rows their Ns, with equal sums: none keeps more than the most salient slices."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 100, size=(32, 32)).astype(float)
    columns = RankColumns.measure(scores, np.ones(scores.shape, bool), block=16, group=4, n=4, steps=1)
    gains = np.sort(scores.reshape(2, 16, 2, 4, 4), axis=-1)[..., ::-1].sum(axis=(1, 3))  # [block row, block column, slice]
    for kept in range(1, 9):
        best = sum(
            max(gains[row, 0, :first].sum() + gains[row, 1, : kept - first].sum() for first in range(max(0, kept - 4), min(4, kept) + 1))
            for row in range(2)
        )
        assert columns.salience[len(columns) - kept :].sum() == best


def test_each_row_loses_its_own_least_blocks():
    blocks = np.array([[5.0, 1.0, 9.0], [2.0, 8.0, 7.0]])
    scores = expand_blocks(blocks, (32, 48), 16)
    columns = RankColumns.measure(scores, np.ones(scores.shape, bool), block=16, group=4, n=2, steps=2)
    assert columns.n(2).tolist() == [[2, 0, 2], [0, 2, 2]]
    assert columns.n(1).tolist() == [[0, 0, 2], [0, 2, 0]]


def saliency_kept(scores, blocks):
    return float((scores * expand_blocks(blocks, scores.shape, 16)).sum() / scores.sum())


def test_saliency_kept_as_the_algorithm_means_it_and_as_the_published_code_has_it():
    """60% of the blocks of a 128 x 1152 layer stay: the most salient of each block row, others by a wrong index, or any."""
    intended, published, chance = [], [], []
    for seed in range(5):
        random = np.random.default_rng(seed)
        scores = np.abs(random.normal(size=(128, 1152)) * random.normal(size=(128, 1152)))
        sums = block_sums(scores, 16)
        kept = round(0.6 * 72)
        brute = np.zeros(sums.shape, bool)
        for row in range(len(sums)):
            for column in sorted(range(72), key=lambda column: sums[row, column])[72 - kept :]:
                brute[row, column] = True
        columns = RankColumns.measure(scores, np.ones(scores.shape, bool), block=16, group=4, n=4, steps=4)
        assert np.array_equal(columns.n(kept) > 0, brute)
        intended.append(saliency_kept(scores, brute))
        # The published code reads the scores, which lie in the order (block row, block column), as if it were (block column, block row).
        wrong = np.argsort(sums.ravel().reshape(72, 8).T, axis=1)[:, 72 - kept :]
        blocks = np.zeros(sums.shape, bool)
        np.put_along_axis(blocks, wrong, True, axis=1)
        published.append(saliency_kept(scores, blocks))
        drawn = np.argsort(random.random(sums.shape), axis=1)[:, :kept]
        blocks = np.zeros(sums.shape, bool)
        np.put_along_axis(blocks, drawn, True, axis=1)
        chance.append(saliency_kept(scores, blocks))
    share = 43 / 72
    assert np.mean(intended) == pytest.approx(0.626, abs=0.002)
    assert min(intended) > share + 0.025
    assert np.mean(published) == pytest.approx(share, abs=0.003)
    assert np.mean(chance) == pytest.approx(share, abs=0.003)


@pytest.mark.parametrize(
    ("n", "steps", "message"),
    [
        (0, 1, "N must be from 1 to M = 4, not 0"),
        (5, 1, "N must be from 1 to M = 4, not 5"),
        (3, 2, "a slice must add a divisor of N = 3 to it, not 2"),
        (3, 0, "a slice must add a divisor of N = 3 to it, not 0"),
    ],
)
def test_broken_rules(n, steps, message):
    with pytest.raises(PruneError) as caught:
        RankColumns.measure(np.ones((16, 16)), np.ones((16, 16), bool), block=16, group=4, n=n, steps=steps)
    assert str(caught.value) == message
