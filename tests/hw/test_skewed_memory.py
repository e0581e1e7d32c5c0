# amaranth: UnusedElaboratable=no
"""Skewed memory: lane l answers l cycles late, from what was written by then."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import unsigned
from tests.hw.bench import play

from crisp_hw.skewed_memory import SkewedMemory
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench


@cocotb.test()
async def reads_what_was_written(dut) -> None:
    """Reads and writes of every cycle at random; a read in the cycle of a write to its address sees the old word."""
    lanes, depth = parameters()["lanes"], parameters()["depth"]
    bench = await Bench.start(dut, i_write=0)
    rng = np.random.default_rng(bench.seed)
    cycles = 400
    tail = lanes + SkewedMemory.LATENCY

    write = rng.random(cycles) < 0.5
    write[:depth] = True  # what the test before left
    write_address = rng.integers(0, depth, cycles)
    write_address[:depth] = np.arange(depth)
    write_data = rng.integers(0, 256, (cycles, lanes)).astype(np.uint8)
    address = rng.integers(0, depth, cycles)

    inputs = {
        "i_write": write,
        "i_write_address": write_address,
        "i_write_data": [int.from_bytes(word.tobytes(), "little") for word in write_data],
        "i_address": address,
    }
    seen = await play(bench, {name: [*values, 0] for name, values in inputs.items()}, ["o_data"], tail=tail)
    data = [word.to_bytes(lanes, "little") for word in seen["o_data"]]

    contents = np.zeros((cycles + tail, depth, lanes), np.uint8)  # at the start of each cycle
    for cycle in range(cycles + tail - 1):
        contents[cycle + 1] = contents[cycle]
        if cycle < cycles and write[cycle]:
            contents[cycle + 1, write_address[cycle]] = write_data[cycle]
    for cycle, lane in np.ndindex(cycles, lanes):
        if cycle >= depth:
            got = data[cycle + lane + SkewedMemory.LATENCY][lane]
            assert got == contents[cycle + lane, address[cycle], lane], f"lane {lane}, address of cycle {cycle}"


@pytest.mark.parametrize(("lanes", "depth"), [(1, 1), (3, 5)])
def test_skewed_memory(lanes: int, depth: int) -> None:
    component = SkewedMemory(lanes=lanes, shape=unsigned(8), depth=depth)
    simulate(component, __file__, name="skewed_memory", parameters={"lanes": lanes, "depth": depth})


def test_skewed_memory_without_lanes() -> None:
    with pytest.raises(ValueError, match=r"^lanes must be at least 1, not 0$"):
        SkewedMemory(lanes=0, shape=unsigned(8), depth=4)
