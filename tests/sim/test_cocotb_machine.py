# amaranth: UnusedElaboratable=no
"""The machine under cocotb: registers, memory and interrupt by way of blocking code, as the driver is; then the driver itself."""

import cocotb
import numpy as np
import pytest
from tests.sim.cocotb_machine import CocotbMachine, in_thread
from tests.sim.copier import BEATS_REGISTER, DESTINATION, SOURCE, START, STATUS, TRACE, Copier
from tests.sw.arch.programs import TABLE, TINY, end, load, make_program

from crisp.arch import ErrorCode
from crisp.runtime import Accelerator, AcceleratorError
from crisp_hw import accelerator as hardware
from crisp_hw.execute_unit import record_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench

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


def run_program(machine: CocotbMachine) -> None:
    """Blocking code: a right program, a wrong one, and again the right one."""
    accelerator = Accelerator(TINY, device=machine)
    image = np.random.default_rng(3).integers(-128, 128, (1, 5, 7, 6), dtype=np.int8)
    expected = TABLE[image.astype(int) + 128]
    for _ in range(2):
        result = accelerator.run(make_program(), {"image": image})
        assert (result.outputs["result"] == expected).all()
        assert result.layers[0].executes == 1
        with pytest.raises(AcceleratorError) as caught:
            accelerator.run(make_program(load(offset=1 << 20) + end()), {"image": image})
        assert caught.value.code == ErrorCode.WINDOW_RANGE


@cocotb.test()
async def runs_programs(dut) -> None:
    machine = CocotbMachine(await Bench.start(dut), pauses=parameters()["pauses"], trace_shape=record_layout())
    await in_thread(run_program, machine)


@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_accelerator(pauses: float) -> None:
    """The driver, the bus as others understand it, and the machine."""
    simulate(hardware.Accelerator(TINY), __file__, name="accelerator", testcase="runs_programs", parameters={"pauses": pauses})


@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_device(pauses: float) -> None:
    simulate(Copier(TINY), __file__, name="copier", testcase=["copies", "reads_what_is_not_mapped"], parameters={"pauses": pauses})
