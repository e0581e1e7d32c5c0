"""Processing element against the golden sums of tiles, with bubbles anywhere and at the extremes of int8 and int32."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp.golden.systolic_array import tile_sums
from crisp_hw.layouts import group_layout, weight_layout
from crisp_hw.pe import ProcessingElement
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec

#: Values that meet each other in every combination sooner or later.
EXTREMES = np.array([-128, -127, -1, 0, 1, 127], np.int8)


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw int8 values, half of them extremes."""
    uniform = rng.integers(-128, 128, shape).astype(np.int8)
    return np.where(rng.random(shape) < 0.5, rng.choice(EXTREMES, shape), uniform)


@cocotb.test()
@cocotb.parametrize(bubbles=[0.0, 0.5])
async def sums_tiles(dut, bubbles: float) -> None:
    """Each sum shows in its one cycle, all other cycles show 0; operands go on a cycle later."""
    group_size = parameters()["group_size"]
    encode_weight, _ = layout_codec(weight_layout(group_size))
    encode_group, _ = layout_codec(group_layout(group_size))
    bench = await Bench.start(dut, i_weight=0, i_group=0)
    rng = np.random.default_rng(bench.seed)

    # Tiles of one step follow each other in consecutive cycles; the longest ones visit every offset.
    weights, groups, sums = [], [], []
    for length in [1, 1, 1, 2, 1, 3, 50, 1, *rng.integers(1, 12, 60)]:
        values, offsets = draw(rng, length, 1), rng.integers(0, group_size, (length, 1))
        activations = draw(rng, length, 1, group_size)
        for step in range(length):
            while rng.random() < bubbles:  # a bubble may carry any offset and meet any group
                weights.append({"value": 0, "offset": rng.integers(group_size), "last": 0})
                groups.append(draw(rng, group_size))
                sums.append(0)
            weights.append({"value": values[step, 0], "offset": offsets[step, 0], "last": step == length - 1})
            groups.append(activations[step, 0])
            sums.append(int(tile_sums(values, offsets, activations)[0, 0]) if step == length - 1 else 0)

    inputs = {
        "i_weight": [encode_weight(weight) for weight in weights] + [0] * 4,
        "i_group": [encode_group(group) for group in groups] + [0] * 4,
    }
    seen = await play(bench, inputs, ["o_weight", "o_group", "o_sum"])
    latency = ProcessingElement.LATENCY
    assert np.array(seen["o_sum"][latency : latency + len(sums)]).astype(np.int32).tolist() == sums
    assert seen["o_sum"][latency + len(sums) :] == [0] * (4 - latency)
    assert seen["o_weight"][1:] == inputs["i_weight"][:-1]
    assert seen["o_group"][1:] == inputs["i_group"][:-1]


@cocotb.test()
async def reaches_the_bounds_of_int32(dut) -> None:
    """The accumulator holds int32 to its last value at both ends, and starts from zero after either."""
    group_size = parameters()["group_size"]
    encode_weight, _ = layout_codec(weight_layout(group_size))
    encode_group, _ = layout_codec(group_layout(group_size))
    bench = await Bench.start(dut, i_weight=0, i_group=0)
    last = group_size - 1

    ways = {
        2**31 - 1: [(131071, -128, -128), (1, 127, 127), (1, 127, 2)],
        -(2**31): [(132104, -128, 127), (1, -128, 8)],
        -1: [(1, 1, -1)],
    }
    for bound, products in ways.items():
        assert sum(repeats * value * activation for repeats, value, activation in products) == bound
        weights, groups = [], []
        for repeats, value, activation in products:
            weights += [encode_weight({"value": value, "offset": last, "last": 0})] * repeats
            groups += [encode_group([0] * last + [activation])] * repeats
        await play(bench, {"i_weight": [*weights, 0], "i_group": [*groups, 0]}, [])
        end = encode_weight({"value": 0, "offset": 0, "last": 1})
        seen = await play(bench, {"i_weight": [end, 0, 0, 0], "i_group": [0] * 4}, ["o_sum"])
        assert np.array(seen["o_sum"]).astype(np.int32).tolist() == [0, 0, bound, 0]


@pytest.mark.parametrize("group_size", [2, 4, 8, 16])
def test_pe(group_size: int) -> None:
    tests = ["sums_tiles.*"] + ["reaches_the_bounds_of_int32"] * (group_size == 4)  # bounds are half a million cycles
    simulate(
        ProcessingElement(group_size=group_size),
        __file__,
        name="processing_element",
        parameters={"group_size": group_size},
        testcase=tests,
    )
