"""Weight buffer: steps come back skewed, bubbles are 0 whatever the RAM holds, and a layer loads over the one before."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp_hw.layouts import step_layout, weight_layout
from crisp_hw.weight_buffer import WeightBuffer
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


async def read_at_random(bench: Bench, rng: np.random.Generator, values: np.ndarray, offsets: np.ndarray) -> None:
    """Issue any step in any cycle, or none, and check every row in every cycle."""
    table = parameters()
    rows, group_size, depth = table["rows"], table["group_size"], table["depth"]
    width = weight_layout(group_size).size
    _, decode = layout_codec(weight_layout(group_size))
    cycles = 300
    issue, last = rng.random(cycles) < 0.7, rng.random(cycles) < 0.3
    address = rng.integers(0, depth, cycles)
    # The first cycles read everything in turn, at full rate.
    issue[: 2 * depth], address[: 2 * depth] = True, np.arange(2 * depth) % depth
    inputs = {"i_issue": [*issue, 0], "i_last": [*last, 1], "i_address": [*address, 0]}
    tail = rows + WeightBuffer.LATENCY
    seen = await play(bench, inputs, ["o_weights"], tail=tail)
    for row in range(rows):
        arrived = [decode(word >> width * row & (1 << width) - 1) for word in seen["o_weights"]]
        for cycle in range(cycles + 1):
            weight = arrived[cycle + row + WeightBuffer.LATENCY]
            if cycle < cycles and issue[cycle]:
                expected = (values[address[cycle], row], offsets[address[cycle], row], last[cycle])
                assert tuple(weight.values()) == expected, f"row {row}, issued in cycle {cycle}"
            else:
                assert (weight["value"], weight["last"]) == (0, 0), f"row {row}, bubble of cycle {cycle}"


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def holds_steps(dut, mode: str) -> None:
    """Fill, read, fill in part, read; what does not fit waits for the next load."""
    table = parameters()
    rows, group_size, depth = table["rows"], table["group_size"], table["depth"]
    encode, _ = layout_codec(step_layout(rows, group_size))
    bench = await Bench.start(dut, mode=mode, i_load=0, i_issue=0)
    rng = np.random.default_rng(bench.seed)
    total = 2 * depth - 2  # the second load leaves the last two steps of the first
    values = rng.integers(-128, 128, (total, rows)).astype(np.int8)
    values[values == 0] = -128  # so that a bubble differs from everything that is held
    offsets = rng.integers(0, group_size, (total, rows))
    source = bench.source("i_step", encode)
    source.send({"values": v, "offsets": o} for v, o in zip(values, offsets, strict=True))
    if bench.mode is not Mode.IDLE:
        await bench.wait(5)
        assert not source.transfers, "nothing is taken while load is low"

    dut.i_load.value = 1
    await bench.wait(4 * depth + 20)
    assert len(source.transfers) == depth
    assert not int(dut.i_step__ready.value)
    if bench.mode is Mode.FULL:
        source.check_throughput()
    dut.i_load.value = 0
    await bench.wait(2)
    assert not int(dut.i_step__ready.value)
    await read_at_random(bench, rng, values[:depth], offsets[:depth])

    dut.i_load.value = 1
    await source.drain()
    dut.i_load.value = 0
    held = np.concatenate([np.arange(depth, total), [depth - 2, depth - 1]])
    await read_at_random(bench, rng, values[held], offsets[held])


@pytest.mark.parametrize(("rows", "group_size", "depth"), [(1, 16, 4), (4, 4, 7)])
def test_weight_buffer(rows: int, group_size: int, depth: int) -> None:
    table = {"rows": rows, "group_size": group_size, "depth": depth}
    simulate(WeightBuffer(**table), __file__, name="weight_buffer", parameters=table)
