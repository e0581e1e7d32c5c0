"""Lane coordinate against integer arithmetic: any order of fills and advances, any signs."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from tests.hw.bench import play

from crisp_hw.lane_coordinate import COORDINATE, LaneCoordinate
from crisp_hw.layouts import walk_layout
from crisp_hw.pixel_walk import PixelWalk
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


def model(steps: list[dict], *, columns: int, first: int, lane_step: int, tile_step: int, wrap_step: int) -> list[list[int]]:
    """Return the coordinates of all lanes in each cycle, the first of which loads the seed."""
    seed, values, seen = 0, [0] * columns, []
    for step in steps:
        seen.append([(value + (1 << 15)) % (1 << 16) - (1 << 15) for value in values])
        if step["fill"]:
            values = [*values[1:], seed]
            seed += lane_step + step["lane_wrap"] * wrap_step
        elif step["advance"]:
            values = [value + tile_step + (step["tile_wraps"] >> lane & 1) * wrap_step for lane, value in enumerate(values)]
        if step["load"]:
            seed = first
    return seen


@cocotb.test()
async def adds(dut) -> None:
    """Small steps as of images, and any others."""
    columns = parameters()["columns"]
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    encode, _ = layout_codec(walk_layout(columns))
    _, decode = layout_codec(data.ArrayLayout(COORDINATE, columns))
    encode_value, _ = layout_codec(COORDINATE)
    for bound in [4, 300, 1 << 15] * 5:
        table = {name: int(rng.integers(-bound, bound)) for name in ("first", "lane_step", "tile_step", "wrap_step")}
        steps = [{"load": number == 0, "fill": 1 <= number <= columns, "advance": 0} for number in range(columns + 1)]
        for _ in range(60):
            kind = rng.integers(4)
            steps.append({"load": 0, "fill": kind == 0, "advance": kind > 1})
        for step in steps:
            step.update(lane_wrap=int(rng.integers(2)), tile_wraps=int(rng.integers(1 << columns)))
        for name, value in table.items():
            getattr(dut, f"i_{name}").value = encode_value(value)
        await bench.wait(PixelWalk.SETTLING)
        seen = await play(bench, {"i_walk": [encode(step) for step in steps]}, ["o_values"])
        expected = model(steps, columns=columns, **table)
        assert [decode(values) for values in seen["o_values"]][columns + 1 :] == expected[columns + 1 :], table


@pytest.mark.parametrize(("columns", "simulator"), [(1, "verilator"), (3, "verilator"), (4, "icarus")])
def test_lane_coordinate(columns: int, simulator: str) -> None:
    simulate(LaneCoordinate(columns=columns), __file__, name="lane_coordinate", parameters={"columns": columns}, simulator=simulator)
