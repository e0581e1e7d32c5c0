"""Shift multiplier: products and what is added to them, and how long they take."""
# amaranth: UnusedElaboratable=no

import random

import cocotb
import pytest

from crisp_hw.shift_multiplier import ShiftMultiplier
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench


@cocotb.test()
async def multiplies(dut):
    bench = await Bench.start(dut)
    rng = random.Random(bench.seed)
    factor_width, step_width, addend_width = parameters()["widths"]
    assert int(dut.o_done.value)
    for number in range(200):
        factor = rng.choice((0, 1, (1 << factor_width) - 1, rng.getrandbits(rng.randint(1, factor_width))))
        step = rng.choice((0, (1 << step_width) - 1, rng.getrandbits(step_width)))
        addend = rng.choice((0, (1 << addend_width) - 1, rng.getrandbits(addend_width)))
        dut.i_start.value, dut.i_factor.value, dut.i_step.value, dut.i_addend.value = 1, factor, step, addend
        await bench.wait(1)
        dut.i_start.value, dut.i_factor.value, dut.i_step.value = 0, rng.getrandbits(factor_width), rng.getrandbits(step_width)
        if number % 10 == 0:
            continue  # the next start comes before the end
        for _ in range(factor.bit_length()):
            await bench.wait(1)
            assert not int(dut.o_done.value)
        for _ in range(3):
            await bench.wait(1)
            assert int(dut.o_done.value)
            assert int(dut.o_product.value) == addend + factor * step


@pytest.mark.parametrize("widths", [(16, 32, 33), (4, 22, 40), (1, 1, 1)])
def test_shift_multiplier(widths):
    factor_width, step_width, addend_width = widths
    component = ShiftMultiplier(factor_width=factor_width, step_width=step_width, addend_width=addend_width)
    simulate(component, __file__, name="shift_multiplier", parameters={"widths": list(widths)})
