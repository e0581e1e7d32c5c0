"""Max pool against its golden model: windows of any length, a word a cycle, slots that wait."""

import cocotb
import numpy as np
import pytest

from crisp.golden.max_pool import max_pool
from crisp_hw.layouts import slot_layout, window_word_layout
from crisp_hw.max_pool import MaxPool
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def takes_the_largest(dut, mode: str) -> None:
    """Windows of one word, which are copied, and of many; extremes of int8 among them."""
    shape = parameters()["columns"], parameters()["group_size"]
    bench = await Bench.start(dut, mode=mode)
    source = bench.source("i_word", layout_codec(window_word_layout(*shape))[0])
    sink = bench.sink("o_slot", layout_codec(slot_layout(*shape))[1])
    rng = np.random.default_rng(bench.seed)
    slots, ends = [], []
    for case in range(200):
        length = int(rng.choice([1, 1, 2, 4, 9, 30]))
        low, high = [(-128, 128), (-128, -125), (126, 128), (-3, 3)][case % 4]
        window = rng.integers(low, high, (length, *shape), dtype=np.int8)
        source.send({"data": word.tolist(), "last": place == length - 1} for place, word in enumerate(window))
        slots.append(max_pool(window).tolist())
        ends.append(len(source.queue) - 1)
    await sink.expect(slots)
    if bench.mode is Mode.FULL:
        source.check_throughput()
        assert sink.cycles == [source.cycles[end] + MaxPool.LATENCY for end in ends]
    await sink.expect_nothing(20)


@pytest.mark.parametrize(("columns", "group_size", "simulator"), [(1, 2, "verilator"), (3, 4, "verilator"), (3, 4, "icarus")])
def test_max_pool(columns: int, group_size: int, simulator: str) -> None:
    table = {"columns": columns, "group_size": group_size}
    simulate(MaxPool(**table), __file__, name="max_pool", parameters=table, simulator=simulator)
