"""Channel buffer: the rows of each tile in turn for each bank, from channel 0 again with every window."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp_hw.channel_buffer import ChannelBuffer
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode


async def read_windows(bench: Bench, rng: np.random.Generator, channels: list[int], *, row_tiles: int, pause: float) -> None:
    """Pulse for the tiles of some windows, bank by bank as they drain, and check each channel in its cycle."""
    banks, bank_rows = parameters()["banks"], parameters()["bank_rows"]
    windows = 4
    starts = np.arange(windows * row_tiles) * bank_rows + np.cumsum(rng.poisson(pause, windows * row_tiles))
    cycles = starts[-1] + banks * bank_rows + 1
    tiles, ends = np.zeros(cycles, int), rng.integers(0, 1 << banks, cycles)
    expected = {}  # cycle and bank of each channel
    for number, start in enumerate(starts):
        tile = number % row_tiles
        for bank in range(banks):
            cycle = start + bank * bank_rows  # rows of the next bank are final that much later
            tiles[cycle] |= 1 << bank
            ends[cycle] = ends[cycle] & ~(1 << bank) | (tile == row_tiles - 1) << bank
            for row in range(bank_rows):
                channel = channels[(tile * banks + bank) * bank_rows + row]
                expected[cycle + row + ChannelBuffer.LATENCY, bank] = channel
    inputs = {"i_tiles": [*tiles, 0], "i_window_ends": [*ends, 0]}
    seen = await play(bench, inputs, ["o_channels"], tail=bank_rows + ChannelBuffer.LATENCY)
    got = {(cycle, bank): seen["o_channels"][cycle] >> 64 * bank & (1 << 64) - 1 for cycle, bank in expected}
    assert got == expected


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def hands_out_channels(dut, mode: str) -> None:
    """Fill, read, fill again from channel 0; what does not fit waits."""
    table = parameters()
    tile_rows, depth = table["banks"] * table["bank_rows"], table["depth"]
    bench = await Bench.start(dut, mode=mode, i_load=0, i_tiles=0, i_window_ends=0)
    rng = np.random.default_rng(bench.seed)
    channels = [int(value) for value in rng.integers(0, 2**64, 2 * depth, dtype=np.uint64)]
    source = bench.source("i_channel")
    source.send(channels[: depth + tile_rows])

    dut.i_load.value = 1
    await bench.wait(4 * depth + 20)
    assert len(source.transfers) == depth
    if bench.mode is Mode.FULL:
        source.check_throughput()
    dut.i_load.value = 0
    await bench.wait(2)
    assert not int(dut.i_channel__ready.value)
    for row_tiles in (depth // tile_rows, 1, 2):
        for pause in (0.0, 2.0):
            await read_windows(bench, rng, channels, row_tiles=row_tiles, pause=pause)

    dut.i_load.value = 1
    await source.drain()
    dut.i_load.value = 0
    channels = channels[depth : depth + tile_rows] + channels[tile_rows:depth]
    await read_windows(bench, rng, channels, row_tiles=depth // tile_rows, pause=1.0)


@pytest.mark.parametrize(("banks", "bank_rows", "depth"), [(1, 4, 12), (2, 2, 8), (4, 1, 12), (1, 1, 3)])
def test_channel_buffer(banks: int, bank_rows: int, depth: int) -> None:
    table = {"banks": banks, "bank_rows": bank_rows, "depth": depth}
    simulate(ChannelBuffer(**table), __file__, name="channel_buffer", parameters=table)
