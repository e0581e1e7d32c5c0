# amaranth: UnusedElaboratable=no
"""Drain tree: whichever row is not 0 comes out, as many cycles later as the tree has levels."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp_hw.drain_tree import DrainTree
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench

EXTREMES = np.array([-(2**31), 2**31 - 1, -1, 1, 0], np.int32)


@cocotb.test()
async def passes_rows_in_order(dut) -> None:
    """Tiles of all rows in turn, then any row in any cycle, with gaps."""
    rows = parameters()["rows"]
    bench = await Bench.start(dut, i_sums=0)
    rng = np.random.default_rng(bench.seed)
    row = np.concatenate([np.tile(np.arange(rows), 3), rng.integers(0, rows, 200)])
    value = rng.integers(-(2**31), 2**31, len(row)).astype(np.int32)
    special = rng.random(len(row)) < 0.3
    value[special] = rng.choice(EXTREMES, special.sum())
    sums = [(int(value) & 0xFFFF_FFFF) << 32 * int(row) for row, value in zip(row, value, strict=True)]
    latency = DrainTree.latency(rows)
    seen = await play(bench, {"i_sums": [*sums, 0]}, ["o_sum"], tail=latency)
    assert np.array(seen["o_sum"]).astype(np.int32).tolist() == [0] * latency + value.tolist() + [0]


@pytest.mark.parametrize("rows", [1, 6, 18])
def test_drain_tree(rows: int) -> None:
    simulate(DrainTree(rows=rows), __file__, name="drain_tree", parameters={"rows": rows})


@pytest.mark.parametrize(("rows", "levels"), [(1, 1), (16, 1), (17, 2), (256, 2), (257, 3)])
def test_latency(rows: int, levels: int) -> None:
    assert DrainTree.latency(rows) == levels
