"""Stream register: everything passes, in order."""
# amaranth: UnusedElaboratable=no

import random

import cocotb
import pytest

from crisp_hw.stream_register import StreamRegister
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode


@cocotb.test()
async def passes_everything(dut):
    bench = await Bench.start(dut, mode=parameters()["mode"])
    source, sink = bench.source("i_data"), bench.sink("o_data")
    values = [random.Random(bench.seed + number).getrandbits(8) for number in range(200)]
    source.send(values)
    await sink.expect(values)
    await sink.expect_nothing(5)
    if bench.mode is Mode.FULL:
        sink.check_throughput(2)


@pytest.mark.parametrize("mode", MODES)
def test_stream_register(mode):
    simulate(StreamRegister(8), __file__, name="stream_register", parameters={"mode": mode})
