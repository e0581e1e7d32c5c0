# amaranth: UnusedElaboratable=no
"""Vector unit against its golden model: with and without residual and table, at the full rate, and with pauses on every stream."""

import cocotb
import numpy as np
import pytest
from tests.hw.result_commands import random_scales

from crisp.golden.vector_unit import add_residual
from crisp_hw.layouts import write_port_layout
from crisp_hw.residual_add import scales_layout
from crisp_hw.vector_unit import VectorUnit
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def finishes_slots(dut, mode: str) -> None:
    """Commands one after the other, each with scales of its own, and sometimes another table."""
    columns, group_size, num_bytes = (parameters()[name] for name in ("columns", "group_size", "num_bytes"))
    slot_cycles = group_size // num_bytes
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    encode_scales, _ = layout_codec(scales_layout())
    encode_write, _ = layout_codec(write_port_layout(8, 256))

    def random_slots(number: int) -> np.ndarray:
        return rng.integers(-128, 128, (number, columns, group_size)).astype(np.int8)

    slots = bench.source("i_slots", lambda slot: int.from_bytes(slot.tobytes(), "little"))
    residuals = bench.source("i_residuals", lambda slot: int.from_bytes(slot.tobytes(), "little"))
    sink = bench.sink("o_slots", lambda word: word.to_bytes(columns * group_size, "little"))
    table = None
    for number in range(16):
        has_residual, has_table = number & 1, number >> 1 & 1
        if has_table and (table is None or rng.random() < 0.5):
            table = rng.integers(-128, 128, 256).astype(np.int8)
            for address, value in enumerate(table.tolist()):
                dut.i_write.value = encode_write({"enable": 1, "address": address, "data": value})
                await bench.wait(1)
            dut.i_write.value = 0

        scales = random_scales(rng)
        dut.i_residual.value, dut.i_table.value, dut.i_scales.value = has_residual, has_table, encode_scales(scales)
        values, added = random_slots(40), random_slots(40)
        slots.send(values)
        if has_residual:
            residuals.send(added)
        await bench.wait(3)
        assert len(slots.transfers) == 40 * number, "nothing is taken while it is not enabled"
        dut.i_enable.value = 1
        expected = add_residual(values, added, scales) if has_residual else values
        if has_table:
            expected = table[expected.astype(int) + 128]
        await sink.expect([slot.tobytes() for slot in expected])
        dut.i_enable.value = 0
        if bench.mode is Mode.FULL:
            assert np.array_equal(np.diff(sink.cycles[-40:]), np.full(39, slot_cycles))
            assert sink.cycles[-1] - slots.cycles[-1] == VectorUnit.LATENCY
    await sink.expect_nothing(cycles=20)


@pytest.mark.parametrize(("columns", "group_size", "num_bytes"), [(3, 4, 1), (2, 4, 2), (2, 2, 2), (1, 8, 1)])
def test_vector_unit(columns: int, group_size: int, num_bytes: int) -> None:
    sizes = {"columns": columns, "group_size": group_size, "num_bytes": num_bytes}
    simulate(VectorUnit(**sizes), __file__, name="vector_unit", parameters=sizes)


def test_wrong_num_bytes() -> None:
    with pytest.raises(ValueError, match=r"^num_bytes must divide group_size = 4, not 3$"):
        VectorUnit(columns=4, group_size=4, num_bytes=3)
