"""Lane ring against modular arithmetic: any order of fills and advances, rings down to one place."""

import cocotb
import numpy as np
import pytest
from amaranth.lib import data
from tests.hw.bench import play

from crisp_hw.lane_ring import PLACE, LaneRing
from crisp_hw.layouts import walk_layout
from crisp_hw.pixel_walk import PixelWalk
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


def model(steps: list[dict], *, columns: int, first: int, lane_step: int, tile_step: int, wrap_step: int, ring: int) -> list[list[int]]:
    """Return the places of all lanes in each cycle, the first of which loads the seed."""
    seed, places, seen = 0, [0] * columns, []
    for step in steps:
        seen.append(places)
        if step["fill"]:
            places = [*places[1:], seed]
            seed = (seed + lane_step + step["lane_wrap"] * wrap_step) % ring
        elif step["advance"]:
            places = [(place + tile_step + (step["tile_wraps"] >> lane & 1) * wrap_step) % ring for lane, place in enumerate(places)]
        if step["load"]:
            seed = first
    return seen


@cocotb.test()
async def goes_round(dut) -> None:
    """Rings of all sizes, the steps of which may be as long as the ring."""
    columns = parameters()["columns"]
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    encode, _ = layout_codec(walk_layout(columns))
    _, decode = layout_codec(data.ArrayLayout(PLACE, columns))
    for ring in [1, 2, 3, 5, 64, 1000, (1 << 22) - 1] * 4:
        wrap_step = int(rng.integers(ring))
        lane_step, tile_step = (int(rng.integers(min(ring, 2 * ring - 1 - wrap_step) + 1)) for _ in range(2))
        table = {"first": int(rng.integers(ring)), "lane_step": lane_step, "tile_step": tile_step, "wrap_step": wrap_step, "ring": ring}
        steps = [{"load": number == 0, "fill": 1 <= number <= columns, "advance": 0} for number in range(columns + 1)]
        for _ in range(60):
            kind = rng.integers(4)
            steps.append({"load": 0, "fill": kind == 0, "advance": kind > 1})
        for step in steps:
            step.update(lane_wrap=int(rng.integers(2)), tile_wraps=int(rng.integers(1 << columns)))
        for name, value in table.items():
            getattr(dut, f"i_{name}").value = value
        await bench.wait(PixelWalk.SETTLING)
        seen = await play(bench, {"i_walk": [encode(step) for step in steps]}, ["o_places"])
        expected = model(steps, columns=columns, **table)
        assert [decode(places) for places in seen["o_places"]][columns + 1 :] == expected[columns + 1 :], table


@pytest.mark.parametrize(("columns", "simulator"), [(1, "verilator"), (3, "verilator"), (4, "icarus")])
def test_lane_ring(columns: int, simulator: str) -> None:
    simulate(LaneRing(columns=columns), __file__, name="lane_ring", parameters={"columns": columns}, simulator=simulator)
