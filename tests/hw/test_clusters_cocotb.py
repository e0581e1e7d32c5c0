"""A machine of two clusters against the host and the memory of cocotbext-axi, with pauses on all channels."""
# amaranth: UnusedElaboratable=no

import dataclasses

import cocotb
import numpy as np
import pytest
from tests.hw.cluster_programs import random_program
from tests.sim.cocotb_machine import CocotbMachine, in_thread

from crisp.arch import Config
from crisp.golden.machine import run_program
from crisp.runtime import Accelerator as Runtime
from crisp_hw.accelerator import Accelerator
from crisp_hw.execute_unit import record_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench

TWO = dataclasses.replace(Config.preset("tiny"), clusters=2)


def run(machine: CocotbMachine) -> None:
    """Blocking code: it runs a program by way of the driver. Words that no command writes are 0, as the buffer is in the beginning."""
    made = random_program(TWO, 3, 12)
    image = {"image": made.image}
    result = Runtime(TWO, device=machine).run(made.program, image)
    np.testing.assert_array_equal(result.outputs["words"], run_program(made.program, image)["words"])
    assert result.cycles == sum(value for counter, value in result.counters.items() if counter.split("_")[0] in ("active", "idle"))


@cocotb.test()
async def programs_run(dut):
    machine = CocotbMachine(await Bench.start(dut), pauses=parameters()["pauses"], trace_shape=record_layout())
    await in_thread(run, machine)


@pytest.mark.slow  # a machine to build
@pytest.mark.parametrize("pauses", [0.0, 0.5])
def test_clusters(pauses: float) -> None:
    simulate(Accelerator(TWO), __file__, name="two_clusters", parameters={"pauses": pauses})
