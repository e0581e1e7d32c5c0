"""Block walker against its golden model: every list of kept blocks, without a gap, and what was passed over."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.arch import LAYER, Config, Pattern, ProductLayer, layer_command, pack
from crisp.arch.packing import schedule
from crisp.golden.block_walker import Block, walk
from crisp.golden.step_issuer import issue
from crisp_hw.block_walker import BlockWalker
from crisp_hw.layouts import block_layout, word_layout
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

SIZES = {"entry_depth": 24, "block_row_depth": 6, "column_depth": 100}

#: Output channels, K, B, pixels; rows 4, columns 2, M 4. Chosen by what they do to the walk.
LAYERS = {
    "one block in all": (4, 4, 4, 1),
    "windows of one block": (4, 16, 4, 12),
    "row tiles of one block": (12, 4, 4, 6),
    "several row tiles a block row, one block": (16, 16, 16, 8),
    "several row tiles a block row": (16, 96, 8, 7),
    "last block row incomplete": (20, 64, 16, 5),
    "tail of K": (12, 72, 16, 6),
    "tail only": (4, 8, 16, 9),
    "many windows": (8, 8, 4, 40),
    "buffers full": (24, 16, 4, 4),
}
CONFIG = Config(
    rows=4,
    columns=2,
    group_size=4,
    drain_rows=1,
    column_buffer_depth=SIZES["column_depth"],
    entry_buffer_depth=SIZES["entry_depth"],
    block_row_buffer_depth=SIZES["block_row_depth"],
)


def draw_layer(rng: np.random.Generator, name: str) -> tuple[dict[str, int], ProductLayer]:
    """Draw a pattern, uniform in N but not in kept blocks, and return the command and the packed layer."""
    channels, k, block, pixels = LAYERS[name]
    blank = Pattern.dense((channels, k), block, 4)
    n = np.zeros((blank.block_rows, blank.block_columns), np.uint8)
    total = 1 if "one block" in name else int(rng.integers(1, 4 * blank.block_columns, endpoint=True))
    if name == "buffers full":
        n[:] = 1
        total = blank.block_columns
    for row in n:
        while row.sum() < total:
            row[rng.choice(np.flatnonzero(row < 4))] += 1
    pattern = Pattern((channels, k), block, 4, n)
    packed = pack(np.zeros((channels, k), np.int8), pattern, rows=4)
    zeros = np.zeros(channels)
    layer = ProductLayer(name, packed, zeros.astype(np.int32), zeros.astype(np.uint16), zeros.astype(np.uint8))
    command = layer_command(layer, CONFIG, pixels)
    # Fewer windows than fit, so that the column buffer wraps, now and then with every window.
    return command | {"windows": int(rng.integers(1, min(4, command["windows"]), endpoint=True))}, layer


def as_payload(block: Block) -> dict[str, int]:
    """Return what the stream carries of a block."""
    flags = ("last_of_tile", "last_of_window", "last_of_layer")
    numbers = {"address": block.address, "groups_minus_1": block.groups - 1, "n_minus_1": block.n - 1}
    return numbers | {flag: int(getattr(block, flag)) for flag in flags}


class Skipped(Process):
    """Records what the walker reports beside its stream."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.reports: list[int] = []

    def step(self) -> None:
        skipped = int(self.dut.o_skipped.value)
        if int(self.dut.o_walked.value):
            self.reports.append(skipped)
        else:
            assert skipped == 0, "absent blocks are reported beside a kept one"


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def walks_layers(dut, mode: str) -> None:
    """Layer after layer from address 0; in full mode a block a cycle from the first to the last, in its cycle."""
    encode_layer = layout_codec(word_layout(LAYER))[0]
    _, decode_block = layout_codec(block_layout(SIZES["column_depth"]))
    bench = await Bench.start(dut, mode=mode, i_load=0, i_start=0, i_layer=0)
    rng = np.random.default_rng(bench.seed)
    counts, entries = bench.source("i_count"), bench.source("i_entry")
    for name in [*LAYERS, *rng.permutation(list(LAYERS))]:
        command, layer = draw_layer(rng, name)
        blocks = walk(command, layer.packed.counts, layer.packed.entries)
        dut.i_load.value = 1
        counts.send(layer.packed.counts.tolist())
        entries.send(layer.packed.entries.tolist())
        await counts.drain()
        await entries.drain()
        dut.i_load.value = 0
        if name == "buffers full":
            assert len(layer.packed.counts) == SIZES["block_row_depth"]
            assert len(layer.packed.entries) == SIZES["entry_depth"]

        sink = bench.sink("o_block", decode_block)
        skipped = Skipped(bench)
        dut.i_layer.value = encode_layer(command | {"reserved": 0})
        dut.i_start.value = 1
        start = bench.cycle + 1
        await bench.wait(1)
        dut.i_start.value = 0
        await sink.expect([as_payload(block) for block in blocks])
        await sink.expect_nothing(cycles=15)
        assert skipped.reports == [block.skipped for block in blocks], name
        if bench.mode is Mode.FULL:
            first = start + BlockWalker.LATENCY
            assert sink.cycles == list(range(first, first + len(blocks))), name
        skipped.stop()
        bench.processes.remove(sink)
        dut.o_block__ready.value = 0


@cocotb.test()
async def stalls_when_full(dut) -> None:
    """More than fits stays outside, and the next load begins at address 0 with what had to wait."""
    bench = await Bench.start(dut, i_load=1, i_start=0, i_layer=0, o_block__ready=1)
    sources = {"i_count": SIZES["block_row_depth"], "i_entry": SIZES["entry_depth"]}
    for name, depth in sources.items():
        source = bench.source(name)
        source.send(range(1, depth + 3))
        await bench.wait(depth + 20)
        assert len(source.transfers) == depth
        source.check_throughput()
    dut.i_load.value = 0
    await bench.wait(20)
    assert not int(dut.i_count__ready.value)
    assert not int(dut.i_entry__ready.value)
    assert not int(dut.o_block__valid.value)


def test_block_walker() -> None:
    simulate(BlockWalker(**SIZES), __file__, name="block_walker")


@pytest.mark.parametrize("name", LAYERS)
def test_model_agrees_with_the_packer(name: str) -> None:
    """Walker and issuer models ask for the steps that the packer stored, tile by tile, group by group."""
    command, layer = draw_layer(np.random.default_rng(3), name)
    blocks = walk(command, layer.packed.counts, layer.packed.entries)
    steps = issue(blocks)
    tiles = schedule(layer.packed.pattern, 4)
    groups = np.concatenate([groups for groups, _, _ in tiles])
    words = len(groups)
    assert len(steps) == command["pixel_tiles"] * words
    for pixel_tile in range(command["pixel_tiles"]):
        base = pixel_tile % command["windows"] * command["window_words"]
        window = steps[pixel_tile * words : (pixel_tile + 1) * words]
        assert [step.column_address - base for step in window] == groups.tolist()
        assert [step.weight_address for step in window] == list(range(words))
        ends = np.flatnonzero([step.last_of_tile for step in window]) + 1
        assert np.diff(ends, prepend=0).tolist() == [len(groups) for groups, _, _ in tiles]
    absent = (layer.packed.pattern.n == 0).sum(axis=1)
    rows = [tile // layer.packed.block_tiles for tile in range(len(tiles))]
    assert sum(block.skipped for block in blocks) == command["pixel_tiles"] * sum(absent[row] for row in rows)
