"""Weight buffer: steps come back skewed, bubbles are 0 whatever the RAM holds, and other steps are written meanwhile."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp_hw.layouts import step_layout, weight_layout, write_port_layout
from crisp_hw.weight_buffer import WeightBuffer
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


def encode_writes(addresses: np.ndarray, values: np.ndarray, offsets: np.ndarray) -> list[int]:
    """Encode writes, one a cycle; address -1 is none, with noise beside it."""
    table = parameters()
    encode, _ = layout_codec(write_port_layout(step_layout(table["rows"], table["group_size"]), table["depth"]))
    return [
        encode({"enable": address >= 0, "address": max(0, address), "data": {"values": v, "offsets": o}})
        for address, v, o in zip(addresses.tolist(), values.tolist(), offsets.tolist(), strict=True)
    ]


@cocotb.test()
async def holds_steps(dut) -> None:
    """Fill; then issue any held step in any cycle, or none, while others are written, and check every row in every cycle."""
    table = parameters()
    rows, group_size, depth = table["rows"], table["group_size"], table["depth"]
    width = weight_layout(group_size).size
    _, decode = layout_codec(weight_layout(group_size))
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    values = rng.integers(-128, 128, (depth, rows)).astype(np.int8)
    values[values == 0] = -128  # so that a bubble differs from everything that is held
    offsets = rng.integers(0, group_size, (depth, rows))
    order = rng.permutation(depth)
    await play(bench, {"i_write": [*encode_writes(order, values[order], offsets[order]), 0]}, [])

    for _ in range(4):
        # Only what is not written in this round, nor may still be read from the one before, is read.
        cycles = 150
        free = rng.random(depth) < 0.5
        free[rng.integers(depth)] = False
        addresses = np.where(rng.random(cycles) < 0.5, rng.choice(np.append(np.flatnonzero(free), -1), cycles), -1)
        new_values = rng.integers(-128, 128, (cycles, rows)).astype(np.int8)
        new_values[new_values == 0] = 127
        new_offsets = rng.integers(0, group_size, (cycles, rows))
        read = rng.choice(np.flatnonzero(~free), cycles)
        issue, last = rng.random(cycles) < 0.7, rng.random(cycles) < 0.3
        issue[:50] = True
        base = rng.integers(0, read, endpoint=True)
        inputs = {
            "i_issue": [*issue, 0],
            "i_last": [*last, 1],
            "i_base": [*base, 0],
            "i_step": [*(read - base), 0],
            "i_write": [*encode_writes(addresses, new_values, new_offsets), 0],
        }
        seen = await play(bench, inputs, ["o_weights", "o_error"], tail=rows + WeightBuffer.LATENCY)
        assert not any(seen["o_error"])
        for row in range(rows):
            arrived = [decode(word >> width * row & (1 << width) - 1) for word in seen["o_weights"]]
            for cycle in range(cycles + 1):
                weight = arrived[cycle + row + WeightBuffer.LATENCY]
                if cycle < cycles and issue[cycle]:
                    expected = (values[read[cycle], row], offsets[read[cycle], row], last[cycle])
                    assert tuple(weight.values()) == expected, f"row {row}, issued in cycle {cycle}"
                else:
                    assert (weight["value"], weight["last"]) == (0, 0), f"row {row}, bubble of cycle {cycle}"
        for address, value, offset in zip(addresses, new_values, new_offsets, strict=True):
            if address >= 0:
                values[address], offsets[address] = value, offset


@cocotb.test()
async def tells_steps_beyond_its_end(dut) -> None:
    """In the cycle of their issue, wherever they begin."""
    depth = parameters()["depth"]
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    base = np.concatenate([rng.integers(0, 2 * depth, 100), [65535, 65535, 0]])
    step = np.concatenate([rng.integers(0, depth, 100, endpoint=True), [0, depth, depth]])
    issue = rng.random(103) < 0.7
    issue[100:] = True
    seen = await play(bench, {"i_issue": issue, "i_base": base, "i_step": step}, ["o_error"], tail=0)
    assert seen["o_error"] == (issue & (base + step >= depth)).astype(int).tolist()


@pytest.mark.parametrize(("rows", "group_size", "depth"), [(1, 16, 4), (4, 4, 7)])
def test_weight_buffer(rows: int, group_size: int, depth: int) -> None:
    table = {"rows": rows, "group_size": group_size, "depth": depth}
    simulate(WeightBuffer(**table), __file__, name="weight_buffer", parameters=table)
