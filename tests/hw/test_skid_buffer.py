"""Skid buffer: everything passes, in order, a transfer a cycle."""
# amaranth: UnusedElaboratable=no

import random

import cocotb
import pytest

from crisp_hw.skid_buffer import SkidBuffer
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode


@cocotb.test()
async def passes_everything(dut):
    bench = await Bench.start(dut, mode=parameters()["mode"])
    source, sink = bench.source("i_data"), bench.sink("o_data")
    values = [random.Random(bench.seed + number).getrandbits(8) for number in range(400)]
    source.send(values)
    await sink.expect(values)
    await sink.expect_nothing(5)
    if bench.mode is Mode.FULL:
        sink.check_throughput()


@cocotb.test()
async def holds_two(dut):
    bench = await Bench.start(dut, mode=parameters()["mode"])
    source, sink = bench.source("i_data"), bench.sink("o_data", stall=0)
    sink.enabled = False
    source.send(range(5))
    await bench.wait(40)
    assert len(source.transfers) == 2
    sink.enabled = True
    await sink.expect(range(5))


@pytest.mark.parametrize("mode", MODES)
def test_skid_buffer(mode):
    simulate(SkidBuffer(8), __file__, name="skid_buffer", parameters={"mode": mode})
