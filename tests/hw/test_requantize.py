"""Requantization lane against its golden model: random vectors, and every edge of rounding, scaling and clamping."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp.arch import CHANNEL
from crisp.golden.requantize import requantize
from crisp_hw.requantize import Requantize, output_layout
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import Bench, layout_codec

INT32 = (-(2**31), 2**31 - 1)

#: Zero point, smallest and largest output.
OUTPUTS = [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (5, 5, 127), (-7, -7, 40), (0, 3, 3), (100, -128, -100), (-1, 127, 127)]


def split(rng: np.random.Generator, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split sums of 33 bits into an accumulator and a bias, both int32."""
    low, high = np.maximum(INT32[0], total - INT32[1]), np.minimum(INT32[1], total - INT32[0])
    bias = rng.integers(low, high, endpoint=True)
    return total - bias, bias


def ties(rng: np.random.Generator) -> np.ndarray:
    """List total, multiplier and shift of products that lie exactly between two integers, for every shift that has any."""
    rows = []
    for shift in range(1, 49):
        # total * multiplier = odd * 2**(shift - 1): the factors of two go to either side.
        for power in {min(shift - 1, 15), max(0, shift - 1 - 32)}:
            largest = 2**32 >> (shift - 1 - power)
            for odd in {1, -1, 3, -3, 255, -257, *(2 * rng.integers(-200, 200, 4) + 1)}:
                if -largest <= odd < largest:
                    rows.append((int(odd) << (shift - 1 - power), 1 << power, shift))
    return np.array(rows)


def edges() -> np.ndarray:
    """List total, multiplier and shift at the ends of their ranges, in every combination."""
    totals = [-(2**32), -(2**32) + 1, -(2**31), -(2**31) - 1, -129, -2, -1, 0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32 - 2]
    multipliers = [0, 1, 2, 32767, 32768, 32769, 65535]
    shifts = [*range(20), 30, 31, 32, 33, 46, 47, 48, 49, 62, 63]
    grid = np.meshgrid(totals, multipliers, shifts)
    return np.stack([axis.ravel() for axis in grid], axis=1)


def usual(rng: np.random.Generator, number: int) -> np.ndarray:
    """List total, multiplier and shift as layers have them, so that most results are not clamped."""
    total = (rng.normal(size=number) * 2.0 ** rng.integers(4, 31, number)).astype(np.int64)
    multiplier = rng.integers(2**15, 2**16, number)
    size = np.ceil(np.log2(np.abs(total) + 2)).astype(np.int64)
    shift = np.clip(size + 16 - rng.integers(3, 9, number), 0, 63)
    return np.stack([total, multiplier, shift], axis=1)


@cocotb.test()
async def equals_the_golden_model(dut) -> None:
    """Thousands of vectors, one a cycle; the channel goes on a cycle later."""
    encode, _ = layout_codec(output_layout())
    bench = await Bench.start(dut, i_sum=0, i_channel=0, i_output=0)
    rng = np.random.default_rng(bench.seed)
    everywhere = np.concatenate([edges(), ties(rng)])
    # One more or one less than a tie decides the other way.
    beside = ties(rng)
    beside[:, 0] = np.clip(beside[:, 0] + rng.choice([-1, 1], len(beside)), -(2**32), 2**32 - 2)
    for number, (zero_point, clamp_min, clamp_max) in enumerate(OUTPUTS):
        corners = [everywhere, beside] if number == 0 else []
        vectors = np.concatenate([*corners, usual(rng, 600), ties(rng)[::3]])
        total, multiplier, shift = rng.permutation(vectors).T
        accumulator, bias = split(rng, total)
        expected = requantize(accumulator, bias, multiplier, shift, zero_point, clamp_min, clamp_max)
        if number == 0:
            assert len(np.unique(expected)) > 200

        channels = CHANNEL.pack_array(bias=bias, multiplier=multiplier, shift=shift)
        output = encode({"output_zero_point": zero_point, "clamp_min": clamp_min, "clamp_max": clamp_max})
        inputs = {"i_sum": accumulator & 0xFFFF_FFFF, "i_channel": channels, "i_output": [output] * len(channels)}
        seen = await play(bench, inputs, ["o_value", "o_channel"], tail=Requantize.LATENCY)
        values = np.array(seen["o_value"][Requantize.LATENCY :]).astype(np.uint8).astype(np.int8)
        wrong = np.flatnonzero(values != expected)
        for index in wrong[:1]:
            vector = f"({accumulator[index]} + {bias[index]}) * {multiplier[index]} >> {shift[index]}"
            pytest.fail(f"{vector}: {values[index]}, not {expected[index]}; {len(wrong)} of {len(values)} differ, {output=:#x}")
        assert seen["o_channel"][1 : 1 + len(channels)] == channels.tolist()


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_requantize(simulator: str) -> None:
    simulate(Requantize(), __file__, name="requantize", simulator=simulator)


@pytest.mark.parametrize("shift", range(1, 49))
def test_ties_are_ties(shift: int) -> None:
    """The vectors that stand for ties lie between two integers, at every shift, and both neighbours occur as even."""
    table = ties(np.random.default_rng(1))
    total, multiplier, shifts = table[table[:, 2] == shift].T
    assert len(total)
    assert ((total * multiplier) % 2**shifts == 2 ** (shifts - 1)).all()
    if shift < 46:
        assert len(np.unique((total * multiplier >> shifts) & 1)) == 2
