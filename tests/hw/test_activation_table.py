"""Activation table: every value by every entry, while entries change, and passed by unchanged."""

import cocotb
import numpy as np
import pytest
from amaranth.hdl import signed
from tests.hw.bench import play

from crisp_hw.activation_table import ActivationTable
from crisp_hw.layouts import write_port_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


def words(values: np.ndarray) -> list[int]:
    """Pack rows of int8 as ports carry them."""
    return [int.from_bytes(row.tobytes(), "little") for row in values]


@cocotb.test()
async def looks_up(dut) -> None:
    """Values and writes in the same cycles: a value meets the table as the writes before it left it."""
    num_values = parameters()["num_values"]
    encode, _ = layout_codec(write_port_layout(signed(8), 256))
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    table = np.zeros(256, np.int8)
    for number in range(6):
        length = 600
        is_enabled = number != 3
        values = rng.integers(-128, 128, (length, num_values)).astype(np.int8)
        if number == 0:  # a whole table, then every value
            values[256:512] = np.arange(-128, 128)[:, None]
        writes = np.arange(length) < 256 if number == 0 else rng.random(length) < 0.4
        entries = np.arange(length) % 256 if number == 0 else rng.integers(0, 256, length)
        bytes_ = rng.integers(-128, 128, length).astype(np.int8)

        expected = values.copy()
        for cycle in range(length):
            if is_enabled:
                expected[cycle] = table[values[cycle].astype(int) + 128]
            if writes[cycle]:
                table[entries[cycle]] = bytes_[cycle]
        fields = zip(writes.tolist(), entries.tolist(), bytes_.view(np.uint8).tolist(), strict=True)
        inputs = {
            "i_write": [encode({"enable": enable, "address": entry, "data": byte}) for enable, entry, byte in fields],
            "i_values": words(values),
            "i_enable": [is_enabled] * length,
        }
        seen = await play(bench, inputs, ["o_values"], tail=ActivationTable.LATENCY)
        assert seen["o_values"][ActivationTable.LATENCY :] == words(expected)


@pytest.mark.parametrize("num_values", [1, 3])
def test_activation_table(num_values: int) -> None:
    simulate(ActivationTable(num_values=num_values), __file__, name="activation_table", parameters={"num_values": num_values})
