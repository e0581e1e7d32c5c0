"""Systolic array against the golden sums of tiles: every element, in exactly its cycle."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp.golden.systolic_array import tile_sums
from crisp_hw.layouts import group_layout, weight_layout
from crisp_hw.systolic_array import SystolicArray
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


@cocotb.test()
@cocotb.parametrize(bubbles=[0.0, 0.4])
async def multiplies_tiles(dut, bubbles: float) -> None:
    """Element (r, c) shows the sum of each tile ``LATENCY + r + c`` cycles after its last step, and else 0."""
    rows, columns, group_size = (parameters()[name] for name in ("rows", "columns", "group_size"))
    codec = layout_codec(weight_layout(group_size))[0], layout_codec(group_layout(group_size))[0]
    bench = await Bench.start(dut, i_weights=0, i_groups=0)
    rng = np.random.default_rng(bench.seed)

    # The tiles, unskewed: cycle by cycle a step or a bubble. Tiles of one step end in consecutive cycles.
    steps: list[tuple[np.ndarray, np.ndarray, np.ndarray, bool]] = []
    sums: dict[int, np.ndarray] = {}
    for length in [1, 1, 2, 40, 1, *rng.integers(1, 3 * rows, 30)]:
        values = rng.integers(-128, 128, (length, rows)).astype(np.int8)
        offsets = rng.integers(0, group_size, (length, rows))
        groups = rng.integers(-128, 128, (length, columns, group_size)).astype(np.int8)
        extreme = rng.random(length) < 0.1
        values[extreme], groups[extreme] = -128, -128
        for step in range(length):
            while rng.random() < bubbles:
                garbage = rng.integers(-128, 128, (columns, group_size))
                steps.append((np.zeros(rows, np.int8), rng.integers(0, group_size, rows), garbage, False))
            steps.append((values[step], offsets[step], groups[step], step == length - 1))
        sums[len(steps) - 1] = tile_sums(values, offsets, groups)

    # Row r and column c are that many cycles late.
    cycles = len(steps) + rows + columns + SystolicArray.LATENCY
    weight_words, group_words = [0] * cycles, [0] * cycles
    widths = weight_layout(group_size).size, group_layout(group_size).size
    for cycle, (values, offsets, groups, last) in enumerate(steps):
        for row in range(rows):
            word = codec[0]({"value": values[row], "offset": offsets[row], "last": last})
            weight_words[cycle + row] |= word << row * widths[0]
        for column in range(columns):
            group_words[cycle + column] |= codec[1](groups[column]) << column * widths[1]
    expected = np.zeros((cycles, columns, rows), np.int32)
    for cycle, tile in sums.items():
        for row, column in np.ndindex(rows, columns):
            expected[cycle + SystolicArray.LATENCY + row + column, column, row] = tile[row, column]

    seen = await play(bench, {"i_weights": weight_words, "i_groups": group_words}, ["o_sums"])
    words = b"".join(word.to_bytes(4 * rows * columns, "little") for word in seen["o_sums"])
    np.testing.assert_array_equal(np.frombuffer(words, "<i4").reshape(cycles, columns, rows), expected)


@pytest.mark.parametrize(
    ("rows", "columns", "group_size", "simulator"),
    [(1, 1, 8, "verilator"), (4, 3, 4, "verilator"), (2, 5, 2, "verilator"), (3, 2, 16, "verilator"), (4, 3, 4, "icarus")],
)
def test_systolic_array(rows: int, columns: int, group_size: int, simulator: str) -> None:
    table = {"rows": rows, "columns": columns, "group_size": group_size}
    simulate(SystolicArray(**table), __file__, name="systolic_array", parameters=table, simulator=simulator)
