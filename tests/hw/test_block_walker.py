"""Block walker against its golden model: every list of kept blocks, without a gap, and whatever breaks the contract."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.arch import COUNT, ENTRY, EXECUTE, Config, ErrorCode, Pattern, ProductLayer, Sharing, Spread, layer_command, pack
from crisp.arch.packing import schedule
from crisp.golden.block_walker import Block, walk
from crisp.golden.step_issuer import issue
from crisp_hw.block_walker import BlockWalker, walker_command_layout
from crisp_hw.layouts import block_layout
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

SIZES = {"entry_depth": 24, "block_row_depth": 6, "column_depth": 100}

#: Clusters: pixel tiles that the walk goes on by, where the command is spread by them.
CLUSTERS = 2

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
FLAGS = ("last_of_list", "last_of_tile", "last_of_window", "last_of_pixel_tile", "last_of_command")


def draw_layer(rng: np.random.Generator, name: str) -> tuple[dict[str, int], ProductLayer]:
    """Draw a pattern, uniform in N but not in kept blocks, and return a command and the packed layer."""
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
    kind = {"sharing": rng.choice(list(Sharing)), "open": rng.random() < 0.2, "spread": rng.choice(list(Spread))}
    return layer_command(layer, CONFIG, pixels) | {name: int(value) for name, value in kind.items()}, layer


def as_payload(block: Block) -> dict[str, int]:
    """Return what the stream carries of a block."""
    numbers = {"address": block.address, "groups_minus_1": block.groups - 1, "n_minus_1": block.n - 1}
    return numbers | {flag: int(getattr(block, flag)) for flag in FLAGS}


class Buffers(Process):
    """What the walker holds, and the ports that write it. Watches for errors, too."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        walker = walker_of()
        self.words = {"i_count": np.zeros(SIZES["block_row_depth"], "<u2"), "i_entry": np.zeros(SIZES["entry_depth"], "<u2")}
        self.codecs = {name: layout_codec(getattr(walker, name).shape())[0] for name in self.words}
        self.queues: dict[str, list[int]] = {name: [] for name in self.words}
        self.errors: list[int] = []

    def write(self, name: str, base: int, words: np.ndarray) -> None:
        """Write words from a place on."""
        self.words[name][base : base + len(words)] = words
        word = {"i_count": COUNT, "i_entry": ENTRY}[name]
        for place, value in enumerate(words.tolist()):
            data = {"reserved": 0} | word.unpack(value)
            self.queues[name].append(self.codecs[name]({"enable": 1, "address": base + place, "data": data}))

    async def settle(self) -> None:
        """Wait until everything is written."""
        await self.bench.wait(max(map(len, self.queues.values())) + 2)

    def step(self) -> None:
        for name, queue in self.queues.items():
            getattr(self.dut, name).value = queue.pop(0) if queue else 0
        if int(self.dut.o_error.value):
            self.errors.append(int(self.dut.o_error_code.value))


def walker_of() -> BlockWalker:
    """Return the component under test."""
    return BlockWalker(columns=CONFIG.columns, group_size=CONFIG.group_size, clusters=CLUSTERS, **SIZES)


def sources(bench: Bench):
    """Return the buffers, the source of commands, and the sink of blocks."""
    encode, _ = layout_codec(walker_command_layout())
    _, decode = layout_codec(block_layout(SIZES["column_depth"]))
    return Buffers(bench), bench.source("i_command", encode), bench.sink("o_block", decode)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def walks_commands(dut, mode: str) -> None:
    """Command after command, from anywhere in the buffers; in full mode a block a cycle, in its cycle."""
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    buffers, commands, sink = sources(bench)
    for name in [*LAYERS, *rng.permutation(list(LAYERS)), *rng.permutation(list(LAYERS))]:
        command, layer = draw_layer(rng, name)
        packed = layer.packed
        command["count_base"] = int(rng.integers(SIZES["block_row_depth"] - len(packed.counts), endpoint=True))
        command["entry_base"] = int(rng.integers(SIZES["entry_depth"] - len(packed.entries), endpoint=True))
        buffers.write("i_count", command["count_base"], packed.counts)
        buffers.write("i_entry", command["entry_base"], packed.entries)
        await buffers.settle()
        if name == "buffers full":
            assert (len(packed.counts), len(packed.entries)) == (SIZES["block_row_depth"], SIZES["entry_depth"])

        blocks = walk(command, buffers.words["i_count"], buffers.words["i_entry"], CONFIG.columns, CLUSTERS)
        first = len(sink.transfers)
        commands.send([command])
        await sink.expect([as_payload(block) for block in blocks])
        await sink.expect_nothing(cycles=15)
        if bench.mode is Mode.FULL:
            start = commands.cycles[-1] + BlockWalker.LATENCY
            assert sink.cycles[first:] == list(range(start, start + len(blocks))), name
    assert not buffers.errors


@cocotb.test()
async def follows_without_a_gap(dut) -> None:
    """Several commands in the buffers at a time: one cycle between the last block of one and the first of the next."""
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    buffers, commands, sink = sources(bench)
    counts = COUNT.pack_array(blocks=[1, 2, 3, 1, 4, 1])
    entries = ENTRY.pack_array(index=[0, 0, 1, 0, 1, 2, 3, 0, 1, 2, 3, 2], n_minus_1=rng.integers(0, 4, 12))
    buffers.write("i_count", 0, counts)
    buffers.write("i_entry", 0, entries)
    await buffers.settle()
    blank = dict.fromkeys((field.name for field in EXECUTE.fields), 0)
    starts = np.concatenate([[0], np.cumsum(counts)])
    expected, lengths = [], []
    sent = []
    for _ in range(30):
        row = int(rng.integers(6))
        command = blank | {
            "sharing": int(rng.integers(3)),
            "row_tiles": int(rng.integers(1, 7 - row)),
            "pixels": int(rng.integers(1, 8)),
            "block_tiles": 1,
            "block_groups_log2": 2,
            "block_columns": 4,
            "tail_groups": int(rng.integers(1, 5)),
            "count_base": row,
            "entry_base": int(starts[row]),
        }
        sent.append(command)
        blocks = walk(command, buffers.words["i_count"], buffers.words["i_entry"], CONFIG.columns, CLUSTERS)
        expected += [as_payload(block) for block in blocks]
        lengths.append(len(blocks))
    commands.send(sent)
    await sink.expect(expected)
    gaps = np.diff(sink.cycles)
    ends = np.cumsum(lengths)[:-1] - 1
    assert (gaps[ends] == 2).all()
    assert (np.delete(gaps, ends) == 1).all()
    assert not buffers.errors


#: What is wrong: counts, entries as (index, N), fields of the command; and the code that tells. 4 block columns, M = 4.
FAULTS = {
    "no block": ([2, 0], [(0, 1), (1, 1), (2, 1)], {}, ErrorCode.METADATA_COUNT),
    "more blocks than columns": ([2, 5], [(0, 1), (1, 1), *((index, 1) for index in range(5))], {}, ErrorCode.METADATA_COUNT),
    "no block in the first row": ([0, 1], [(0, 1)], {}, ErrorCode.METADATA_COUNT),
    "index twice": ([1, 3], [(3, 1), (0, 1), (1, 1), (1, 1)], {}, ErrorCode.METADATA_INDEX),
    "index descends": ([2, 1], [(2, 1), (1, 1), (0, 1)], {}, ErrorCode.METADATA_INDEX),
    "index beyond the window": ([1, 2], [(3, 1), (0, 1), (4, 1)], {}, ErrorCode.METADATA_INDEX),
    "n beyond m": ([2, 1], [(0, 1), (2, 5), (0, 1)], {}, ErrorCode.METADATA_N),
    "counts beyond the buffer": ([1, 1], [(0, 1)] * 7, {"row_tiles": 7}, ErrorCode.METADATA_RANGE),
    "counts begin beyond the buffer": ([1, 1], [(0, 1)], {"count_base": 6}, ErrorCode.METADATA_RANGE),
    "entries beyond the buffer": ([2, 2], [], {"entry_base": 21}, ErrorCode.METADATA_RANGE),
}


@cocotb.test()
async def reports_faults(dut) -> None:
    """The first fault is told once, nothing is listed from it on, and only reset ends that."""
    bench = await Bench.start(dut)
    buffers, commands, sink = sources(bench)
    blank = dict.fromkeys((field.name for field in EXECUTE.fields), 0)
    good = {"row_tiles": 2, "pixels": 5, "block_tiles": 1, "block_groups_log2": 2, "block_columns": 4, "tail_groups": 4}
    for name, (counts, blocks, fields, code) in FAULTS.items():
        # What is not part of the fault is right, up to the end of the buffers.
        buffers.write("i_count", 0, COUNT.pack_array(blocks=[*counts, *[1] * (6 - len(counts))]))
        entries = [*blocks, *[(index % 4, 1) for index in range(24 - len(blocks))]]
        buffers.write("i_entry", 0, ENTRY.pack_array(index=[index for index, _ in entries], n_minus_1=[n - 1 for _, n in entries]))
        await buffers.settle()
        buffers.errors.clear()
        before = len(sink.transfers)
        commands.send([blank | good | fields])
        await bench.wait(60)
        assert buffers.errors == [code], name
        listed = sink.transfers[before:]
        assert not any(block["last_of_pixel_tile"] for block in listed), name
        assert all(block["address"] < 16 and block["n_minus_1"] < 4 for block in listed), name
        commands.send([blank | good])
        await bench.wait(20)
        assert not int(dut.i_command__ready.value), name
        await bench.reset()

    buffers.write("i_count", 0, COUNT.pack_array(blocks=[2, 4]))
    buffers.write("i_entry", 0, ENTRY.pack_array(index=[0, 3, 0, 1, 2, 3], n_minus_1=[3] * 6))
    await buffers.settle()
    buffers.errors.clear()
    before = len(sink.transfers)
    commands.send([blank | good])
    await bench.wait(60)
    assert len(sink.transfers) - before == 3 * 6
    assert not buffers.errors


def test_block_walker() -> None:
    simulate(walker_of(), __file__, name="block_walker")


@pytest.mark.parametrize("name", LAYERS)
def test_model_agrees_with_the_packer(name: str) -> None:
    """Walker and issuer models ask for the steps that the packer stored, tile by tile, group by group."""
    command, layer = draw_layer(np.random.default_rng(3), name)
    command |= {"sharing": Sharing.SHARED, "open": 0}
    steps = issue(walk(command, layer.packed.counts, layer.packed.entries, CONFIG.columns))
    tiles = schedule(layer.packed.pattern, 4)
    groups = np.concatenate([groups for groups, _, _ in tiles])
    words = len(groups)
    pixel_tiles = -(-LAYERS[name][3] // CONFIG.columns)
    assert len(steps) == pixel_tiles * words
    for pixel_tile in range(pixel_tiles):
        window = steps[pixel_tile * words : (pixel_tile + 1) * words]
        assert [step.word for step in window] == groups.tolist()
        assert [step.step for step in window] == list(range(words))
        ends = np.flatnonzero([step.tile_end for step in window]) + 1
        assert np.diff(ends, prepend=0).tolist() == [len(groups) for groups, _, _ in tiles]
        assert [step.window_end for step in window] == [False] * (words - 1) + [True]


@pytest.mark.parametrize("sharing", Sharing)
@pytest.mark.parametrize("is_open", [False, True])
def test_what_ends_where(sharing: Sharing, is_open: bool) -> None:
    """Sums and windows end as the sharing says."""
    command, layer = draw_layer(np.random.default_rng(3), "row tiles of one block")
    command |= {"sharing": sharing, "spread": Spread.ROW_TILES, "open": int(is_open)}
    blocks = walk(command, layer.packed.counts, layer.packed.entries, CONFIG.columns)
    assert len(blocks) == 3 * 3
    every, last = [True] * 9, [False, False, True] * 3
    sums = [False] * 9 if is_open else last if sharing is Sharing.SPLIT else every
    assert [block.last_of_tile for block in blocks] == sums
    assert [block.last_of_window for block in blocks] == (last if sharing is Sharing.SHARED else every)
    assert [block.last_of_list for block in blocks] == every
    assert [block.last_of_pixel_tile for block in blocks] == last
    assert [block.last_of_command for block in blocks] == [False] * 8 + [True]
