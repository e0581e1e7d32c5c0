"""The search for a budget, against looking at everything."""

import numpy as np
import pytest

from crisp.prune.budget import narrow
from crisp.prune.errors import UnreachableError


def refuse(least):
    return UnreachableError(f"{least} is left")


def line(low, high, above, below):
    """Guess that costs fall along a line."""
    return low + (high - low) // 2 if above == below else low + round((high - low) * (above - 500) / (above - below))


def search(costs, most, **options):
    """Return what the search found, and of which it asked the cost."""
    asked = []

    def cost(gone):
        asked.append(gone)
        return int(costs[gone])

    return narrow(cost, 0, len(costs) - 1, most, refuse, **options), asked


@pytest.fixture(params=range(20))
def costs(request):
    """Costs that fall, steeply here and hardly there."""
    random = np.random.default_rng(request.param)
    steps = random.exponential(1, random.integers(2, 3000)) ** random.uniform(1, 6)
    return (1000 * (1 - np.cumsum(steps) / steps.sum())).astype(int)


@pytest.mark.parametrize("guess", [None, line, lambda low, high, above, below: low, lambda low, high, above, below: 10**9])
def test_fewest_whatever_is_guessed(costs, guess):
    options = {} if guess is None else {"guess": guess}
    found, asked = search(costs, 500, **options)
    assert found == np.argmax(costs <= 500)
    assert len(asked) == len(set(asked)) <= 2 * np.log2(len(costs)) + 3


def test_what_is_near_enough_is_found_sooner(costs):
    found, asked = search(costs, 500, guess=line, tolerance=0.1)
    assert costs[found] <= 500
    assert costs[found] >= 450 or found == np.argmax(costs <= 500)
    assert len(asked) <= len(search(costs, 500, guess=line)[1])


def test_ends():
    assert search(np.array([400, 300]), 500) == (0, [0])
    assert search(np.array([600, 500]), 500) == (1, [0, 1])
    with pytest.raises(UnreachableError, match=r"^501 is left$"):
        search(np.array([600, 501]), 500)


def test_what_is_found_fits_where_costs_do_not_always_fall():
    random = np.random.default_rng(3)
    for _ in range(50):
        costs = np.r_[1000, random.integers(0, 1000, 100), 0]
        assert costs[search(costs, 300, guess=line)[0]] <= 300
