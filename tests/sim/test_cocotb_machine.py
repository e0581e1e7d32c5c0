# amaranth: UnusedElaboratable=no
"""The machine under cocotb: registers, memory and interrupt by way of blocking code, as the driver is."""

import cocotb
import numpy as np
import pytest
from tests.sim.cocotb_machine import CocotbMachine, in_thread
from tests.sim.copier import BEATS_REGISTER, DESTINATION, SOURCE, START, STATUS, TRACE, Copier

from crisp.arch import Config
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench

TINY = Config.preset("tiny")
FROM, TO = 0x1000, 0x8000


def copy(machine: CocotbMachine, source: int) -> None:
    """Blocking code: it copies, and looks at what came."""
    sent = np.random.default_rng(7).integers(0, 256, 128, dtype=np.uint8)
    arrived = np.zeros(128, np.uint8)
    machine.map(FROM, sent, writable=False)
    machine.map(TO, arrived, readable=False)
    for number in range(2):
        registers = ((SOURCE, source), (DESTINATION, TO), (BEATS_REGISTER, 128 // TINY.beat_bytes), (START, 1))
        for register, value in registers:
            machine.write_register(register, value)
        assert machine.read_register(SOURCE) <= source + 128
        assert not machine.advance(10)
        assert machine.advance(10_000)
        assert machine.read_register(STATUS) == (1 if source == FROM else 5)
        (record,) = machine.take_trace()
        assert (record["number"], record["end"]) == (number, TO + 128)
    assert (arrived == sent).all() == (source == FROM)
    machine.unmap(FROM)
    assert list(machine.memory.arrays) == [TO]


@cocotb.test()
async def copies(dut) -> None:
    machine = CocotbMachine(await Bench.start(dut), pauses=parameters()["pauses"], trace_shape=TRACE.members["payload"].shape)
    await in_thread(copy, machine, FROM)


@cocotb.test()
async def reads_what_is_not_mapped(dut) -> None:
    machine = CocotbMachine(await Bench.start(dut), trace_shape=TRACE.members["payload"].shape)
    await in_thread(copy, machine, FROM + 64)


@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_device(pauses: float) -> None:
    simulate(Copier(TINY), __file__, name="copier", parameters={"pauses": pauses})
