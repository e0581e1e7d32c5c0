"""Channel buffer: the rows of any tile in turn for each bank, from the place that comes with the tile."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import play

from crisp.arch import CHANNEL
from crisp_hw.channel_buffer import ChannelBuffer
from crisp_hw.layouts import word_layout, write_port_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


def writes(addresses: np.ndarray, channels: list[int]) -> list[int]:
    """Encode writes, one a cycle; address -1 is none, with noise beside it."""
    encode, _ = layout_codec(write_port_layout(word_layout(CHANNEL), parameters()["depth"]))
    _, decode = layout_codec(word_layout(CHANNEL))
    return [
        encode({"enable": address >= 0, "address": max(0, address), "data": decode(word)})
        for address, word in zip(addresses.tolist(), channels, strict=True)
    ]


@cocotb.test()
async def hands_out_channels(dut) -> None:
    """Fill in any order; then read any tiles, back to back and with pauses, while other channels are written."""
    table = parameters()
    banks, bank_rows, depth = table["banks"], table["bank_rows"], table["depth"]
    tile_rows = banks * bank_rows
    place_width = max(1, (depth // banks - 1).bit_length())
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    held = [int(value) for value in rng.integers(0, 2**64, depth, dtype=np.uint64)]
    order = rng.permutation(depth)
    noise = [int(value) for value in rng.integers(0, 2**64, depth, dtype=np.uint64)]
    shuffled = writes(order, [held[address] for address in order])
    await play(bench, {"i_write": [word for pair in zip(writes(-np.ones(depth, int), noise), shuffled, strict=True) for word in pair]}, [])

    for pause in (0.0, 2.0):
        # Half of the tiles are read, the other half is written.
        whole = depth // tile_rows
        read_tiles = rng.permutation(whole)[: (whole + 1) // 2]
        sequence = rng.choice(read_tiles, 30)
        starts = np.arange(30) * bank_rows + np.cumsum(rng.poisson(pause, 30))
        cycles = int(starts[-1]) + tile_rows + 1
        tiles, places = np.zeros(cycles, int), rng.integers(0, 1 << place_width * banks, cycles)
        expected = {}  # cycle and bank of each channel
        for tile, start in zip(sequence, starts, strict=True):
            for bank in range(banks):
                cycle = start + bank * bank_rows  # rows of the next bank are final that much later
                tiles[cycle] |= 1 << bank
                mask = ((1 << place_width) - 1) << bank * place_width
                places[cycle] = int(places[cycle]) & ~mask | int(tile * bank_rows) << bank * place_width
                for row in range(bank_rows):
                    expected[cycle + row + ChannelBuffer.LATENCY, bank] = held[(tile * banks + bank) * bank_rows + row]
        free = np.setdiff1d(np.arange(depth), (read_tiles[:, None] * tile_rows + np.arange(tile_rows)).ravel())
        addresses = rng.choice([-1, *free], cycles)
        values = [int(value) for value in rng.integers(0, 2**64, cycles, dtype=np.uint64)]
        for address, value in zip(addresses.tolist(), values, strict=True):
            if address >= 0:
                held[address] = value
        inputs = {"i_tiles": [*tiles, 0], "i_places": [*places, 0], "i_write": [*writes(addresses, values), 0]}
        seen = await play(bench, inputs, ["o_channels"], tail=bank_rows + ChannelBuffer.LATENCY)
        got = {(cycle, bank): seen["o_channels"][cycle] >> 64 * bank & (1 << 64) - 1 for cycle, bank in expected}
        assert got == expected


@pytest.mark.parametrize(("banks", "bank_rows", "depth"), [(1, 4, 12), (2, 2, 8), (4, 1, 12), (1, 1, 3)])
def test_channel_buffer(banks: int, bank_rows: int, depth: int) -> None:
    table = {"banks": banks, "bank_rows": bank_rows, "depth": depth}
    simulate(ChannelBuffer(**table), __file__, name="channel_buffer", parameters=table)
