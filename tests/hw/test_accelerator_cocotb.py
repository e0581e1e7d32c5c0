"""The whole machine against the host and the memory of cocotbext-axi, which are not ours, with pauses on all channels."""
# amaranth: UnusedElaboratable=no

import cocotb
import numpy as np
import pytest
from tests.hw.test_accelerator import IMAGE, TINY, programs
from tests.sim.cocotb_machine import CocotbMachine, in_thread
from tests.sw.arch.programs import TABLE, load, make_program

from crisp.arch import COUNTERS, IDLE_CAUSES, ErrorCode
from crisp.golden.machine import run_program
from crisp.runtime import Accelerator as Runtime
from crisp.runtime import AcceleratorError
from crisp_hw.accelerator import Accelerator
from crisp_hw.execute_unit import record_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench


async def start(dut) -> CocotbMachine:
    return CocotbMachine(await Bench.start(dut), pauses=parameters()["pauses"], trace_shape=record_layout())


def run(machine: CocotbMachine) -> None:
    """Blocking code: it runs both programs by way of the driver, one of them twice."""
    runtime = Runtime(TINY, device=machine)
    for name in ("pooling", "product", "pooling"):
        program, image = programs()[name]
        result = runtime.run(program, {program.inputs[0].name: image})
        expected = run_program(program, {program.inputs[0].name: image})
        for output, values in result.outputs.items():
            np.testing.assert_array_equal(values, expected[output], err_msg=name)
        assert result.cycles == sum(value for counter, value in result.counters.items() if counter.split("_")[0] in ("active", "idle"))
        counters = result.layers[0].counters
        assert result.layers[0].executes == 1
        assert set(counters) == {field.name for field in COUNTERS.fields}
        assert counters["total"] == counters["active"] + sum(counters[cause] for cause in IDLE_CAUSES)
        assert counters["active"] == result.counters["active"]


@cocotb.test()
async def programs_run(dut):
    await in_thread(run, await start(dut))


def fail(machine: CocotbMachine) -> None:
    """Blocking code: a program that reads behind its window, then a right one."""
    runtime = Runtime(TINY, device=machine)
    wrong = make_program(load(offset=1 << 20))
    with pytest.raises(AcceleratorError) as caught:
        runtime.run(wrong, {"image": IMAGE})
    assert caught.value.code is ErrorCode.WINDOW_RANGE
    program = make_program()
    assert (runtime.run(program, {"image": IMAGE}).outputs["result"] == TABLE[IMAGE.astype(int) + 128]).all()


@cocotb.test()
async def errors_are_told(dut):
    await in_thread(fail, await start(dut))


@pytest.mark.slow  # a machine to build
@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_accelerator(pauses: float) -> None:
    simulate(Accelerator(TINY), __file__, name="accelerator", parameters={"pauses": pauses})
