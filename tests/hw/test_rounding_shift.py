"""Rounding shift against exact arithmetic, for the widths that are in use and for narrow ones, at every shift."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp.golden.requantize import requantize
from crisp_hw.rounding_shift import RoundingShift, output_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec

#: Zero point, smallest and largest output.
OUTPUTS = [(0, -128, 127), (-128, -128, 127), (127, -100, 127), (-5, -5, -5)]


def vectors(rng: np.random.Generator, width: int) -> tuple[np.ndarray, np.ndarray]:
    """List products and shifts: every shift, with products that become small, lie on a tie, or beside one, and the largest."""
    shifts = np.repeat(np.arange(64), 40)
    limit = 1 << (width - 1)
    halves = rng.integers(-300, 300, len(shifts)) << np.maximum(np.minimum(shifts, 48) - 1, 0)
    products = np.clip(halves + rng.integers(-1, 2, len(shifts)), -limit, limit - 1)
    products[::8] = rng.integers(-limit, limit, len(products[::8]))
    products[1::40] = -limit
    products[2::40] = limit - 1
    order = rng.permutation(len(shifts))
    return products[order], shifts[order]


@cocotb.test()
async def equals_the_golden_model(dut) -> None:
    """Thousands of vectors, one a cycle, each after the latency that the component declares."""
    width = parameters()["product_width"]
    encode, _ = layout_codec(output_layout())
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    for zero_point, clamp_min, clamp_max in OUTPUTS:
        products, shifts = vectors(rng, width)
        zero, one = np.array(0), np.array(1)
        expected = requantize(products, zero, one, shifts, zero_point, clamp_min, clamp_max)
        assert zero_point != 0 or len(np.unique(expected)) > 100
        output = encode({"output_zero_point": zero_point, "clamp_min": clamp_min, "clamp_max": clamp_max})
        inputs = {"i_product": products & ((1 << width) - 1), "i_shift": shifts, "i_output": [output] * len(shifts)}
        seen = await play(bench, inputs, ["o_value"], tail=RoundingShift.LATENCY)
        values = np.array(seen["o_value"][RoundingShift.LATENCY :]).astype(np.uint8).astype(np.int8)
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("product_width", [12, 26, 49])
def test_rounding_shift(product_width: int) -> None:
    component = RoundingShift(product_width=product_width)
    simulate(component, __file__, name="rounding_shift", parameters={"product_width": product_width})
