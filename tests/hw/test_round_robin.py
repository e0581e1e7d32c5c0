# amaranth: UnusedElaboratable=no
"""Round robin against a list that is turned: one grant, never idle, and nobody waits for longer than a round."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp_hw.round_robin import RoundRobin
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench


def model(requests: list[int], taken: list[int], number: int) -> list[int]:
    """Return the grants: the first request in an order of which everyone up to the one granted last goes to the end."""
    order, grants = list(range(number)), []
    for request, take in zip(requests, taken, strict=True):
        granted = next((place for place, who in enumerate(order) if request >> who & 1), None)
        grants.append(0 if granted is None else 1 << order[granted])
        if take and granted is not None:
            order = order[granted + 1 :] + order[: granted + 1]
    return grants


@cocotb.test()
async def grants_in_turn(dut) -> None:
    """Any requests, taken or not."""
    bench = await Bench.start(dut)
    number = parameters()["num_requests"]
    rng = np.random.default_rng(bench.seed)
    requests = [int(value) for value in rng.integers(1 << number, size=1000)]
    taken = [int(request and rng.random() < 0.7) for request in requests]
    seen = await play(bench, {"i_requests": requests, "i_taken": taken}, ["o_grants"])
    assert seen["o_grants"] == model(requests, taken, number)


@pytest.mark.parametrize("num_requests", [1, 2, 3, 5])
def test_round_robin(num_requests: int) -> None:
    table = {"num_requests": num_requests}
    simulate(RoundRobin(**table), __file__, name="round_robin", parameters=table)


def test_needs_a_request() -> None:
    with pytest.raises(ValueError, match=r"^num_requests must be at least 1, not 0$"):
        RoundRobin(num_requests=0)
