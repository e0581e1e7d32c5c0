"""Residual addition against its golden model: all ends of all parameters, everything random, and scales as networks have them."""

from collections.abc import Iterator

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play
from tests.hw.result_commands import random_scales

from crisp.golden.vector_unit import add_residual
from crisp_hw.residual_add import ResidualAdd, scales_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec

#: Leaves results as they are.
IDENTITY = dict.fromkeys([name for name, _ in scales_layout()], 0) | {"result_multiplier": 1, "sum_clamp_min": -128, "sum_clamp_max": 127}


def scales(rng: np.random.Generator) -> Iterator[dict[str, int]]:
    """List scales: the largest sums through shifts around their size, ties, and many at random."""
    yield IDENTITY
    for zero_point in (-128, 127):
        for shift in (0, 1, 16, 17, 18, 24, 25, 26, 31, 32, 63):
            yield IDENTITY | {
                "result_zero_point": zero_point,
                "residual_zero_point": zero_point,
                "result_multiplier": 0xFFFF,
                "residual_multiplier": 0xFFFF,
                "sum_shift": shift,
            }
    for shift in range(1, 9):  # half of an odd sum is a tie
        yield IDENTITY | {"result_multiplier": 1 << (shift - 1), "residual_multiplier": 1 << (shift - 1), "sum_shift": shift}
    for _ in range(60):
        yield random_scales(rng)


@cocotb.test()
async def equals_the_golden_model(dut) -> None:
    """One set of bytes a cycle; the ends of int8 meet in every combination under all scales."""
    num_bytes = parameters()["num_bytes"]
    encode, _ = layout_codec(scales_layout())
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    ends = np.array(np.meshgrid([-128, -127, -1, 0, 1, 127], [-128, -127, -1, 0, 1, 127])).reshape(2, -1)
    seen_values = set()
    for scale in scales(rng):
        pairs = np.concatenate([ends, rng.integers(-128, 128, (2, 64 * num_bytes - ends.shape[1]))], axis=1)
        values, residuals = rng.permutation(pairs, axis=1).astype(np.int8).reshape(2, -1, num_bytes)
        expected = add_residual(values, residuals, scale)
        if scale is IDENTITY:
            assert np.array_equal(expected, values)
        inputs = {
            "i_values": [int.from_bytes(row.tobytes(), "little") for row in values],
            "i_residuals": [int.from_bytes(row.tobytes(), "little") for row in residuals],
            "i_scales": [encode(scale)] * len(values),
        }
        seen = await play(bench, inputs, ["o_values"], tail=ResidualAdd.LATENCY)
        got = b"".join(word.to_bytes(num_bytes, "little") for word in seen["o_values"][ResidualAdd.LATENCY :])
        sums = np.frombuffer(got, np.int8).reshape(-1, num_bytes)
        assert np.array_equal(sums, expected), f"{scale}: {np.argwhere(sums != expected)[0]}"
        seen_values |= set(expected.ravel().tolist())
    assert len(seen_values) > 250


@pytest.mark.parametrize("num_bytes", [1, 2, 4])
def test_residual_add(num_bytes: int) -> None:
    simulate(ResidualAdd(num_bytes=num_bytes), __file__, name="residual_add", parameters={"num_bytes": num_bytes})
