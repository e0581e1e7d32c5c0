import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp.prune import PruneError
from crisp.prune.nm import nm_mask, nm_ranks


@given(group=st.sampled_from((2, 4, 8)), data=st.data(), seed=st.integers(0, 1000))
def test_kept_weights_have_the_largest_sum(group, data, seed):
    n = data.draw(st.integers(1, group))
    scores = np.random.default_rng(seed).integers(0, 20, size=(3, 2 * group))
    mask = nm_mask(scores, n, group)
    for row, start in itertools.product(range(3), (0, group)):
        kept, few = mask[row, start : start + group], scores[row, start : start + group]
        assert kept.sum() == n
        assert few[kept].sum() == max(sum(choice) for choice in itertools.combinations(few.tolist(), n))


def test_first_of_equals_stays():
    assert nm_mask(np.zeros((1, 4)), 2, 4).tolist() == [[True, True, False, False]]
    assert nm_mask(np.array([[1.0, 3.0, 1.0, 1.0]]), 2, 4).tolist() == [[True, True, False, False]]


@given(group=st.sampled_from((2, 4, 8, 16)), seed=st.integers(0, 1000))
def test_ranks_are_those_of_a_stable_sort(group, seed):
    scores = np.random.default_rng(seed).integers(0, 6, size=(5, 3 * group))
    order = np.argsort(-scores.reshape(5, 3, group), axis=2, kind="stable")
    assert np.array_equal(nm_ranks(scores, group).reshape(5, 3, group), np.argsort(order, axis=2))


@pytest.mark.parametrize(
    ("scores", "n", "message"),
    [
        (np.zeros((1, 4)), 0, "N must be from 1 to M = 4, not 0"),
        (np.zeros((1, 4)), 5, "N must be from 1 to M = 4, not 5"),
        (np.zeros((1, 6)), 2, "K must be a multiple of M = 4, not 6"),
        (np.array([[0, np.nan, 0, 0]]), 2, "scores must be finite, but some are not; lower the learning rate"),
    ],
)
def test_broken_rules(scores, n, message):
    with pytest.raises(PruneError) as caught:
        nm_mask(scores, n, 4)
    assert str(caught.value) == message
