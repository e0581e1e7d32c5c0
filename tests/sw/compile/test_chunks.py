"""Chunks: together they are the layer's weights, each fits, and no window has a word that nobody uses."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.compile.integer_networks import Builder, select

from crisp.arch import EXECUTE, RUN, Config, LoadTarget, Spread, unpack
from crisp.arch.loads import element_bytes
from crisp.compile import CompileError
from crisp.compile.buffers import Home
from crisp.compile.chunks import Chunk, Share, cut, window_runs
from crisp.compile.operator import Kind, Operator
from crisp.golden.load_unit import load
from crisp.golden.machine import read_row_tiles
from crisp.golden.on_chip import OnChip

TINY = Config.preset("tiny")
DEPTHS = {
    "weight_buffer_depth": lambda chunk: max(share.num_steps for share in chunk.shares),
    "entry_buffer_depth": lambda chunk: max(len(share.entries) for share in chunk.shares) // 2,
    "block_row_buffer_depth": lambda chunk: max(len(share.counts) for share in chunk.shares) // 2,
    "channel_buffer_depth": lambda chunk: max(len(share.channels) for share in chunk.shares) // 8,
    "column_buffer_depth": lambda chunk: len(chunk.words),
}


def rebuild(operator: Operator, chunk: Chunk, config: Config) -> np.ndarray:
    """Return the weights of a chunk, int16 [row tiles, rows, words of K, M], by way of the machine's own buffers."""
    on_chip = OnChip.cleared(config)
    steps = LoadTarget.DENSE_STEPS if chunk.is_dense else LoadTarget.STEPS
    fields = dict.fromkeys((field.name for field in EXECUTE.fields), 0) | chunk.fields
    is_for_all = len(chunk.shares) == 1
    assert is_for_all or len(chunk.shares) == config.clusters
    compact = np.zeros((chunk.row_tiles, config.rows, len(chunk.words), config.group_size), np.int16)
    for cluster, share in enumerate(chunk.shares):
        own = slice(None) if is_for_all else slice(cluster, None, config.clusters)
        tiles = len(compact[own])
        assert len(share.channels) == tiles * config.rows * 8
        if not tiles:
            assert not share.num_bytes
            continue
        pieces = {steps: share.steps, LoadTarget.COUNTS: share.counts, LoadTarget.ENTRIES: share.entries}
        for target, data in {**pieces, LoadTarget.CHANNELS: share.channels}.items():
            assert len(data) % element_bytes(target, config) == 0
            command = {"target": target, "offset": 0, "rows": 1, "row_stride": 0, "row_bytes": len(data), "destination": 0}
            command |= {"cluster": cluster, "all_clusters": 0}
            load(command, np.frombuffer(data, np.uint8), on_chip)
        compact[own] = read_row_tiles({**fields, "row_tiles": tiles}, on_chip.clusters[cluster], config)
    packed = operator.layer.packed
    assert operator.kind is Kind.PRODUCT or (chunk.words[:, 1] == 0).all()
    per_tap = operator.source.planes(config.group_size) if operator.kind is Kind.PRODUCT else 1
    whole = np.zeros((chunk.row_tiles, config.rows, packed.pattern.groups, config.group_size), np.int16)
    whole[:, :, chunk.words[:, 0] * per_tap + chunk.words[:, 1]] = compact
    return whole


def check_chunks(operator: Operator, config: Config, spread: Spread = Spread.ROW_TILES) -> list[Chunk]:
    """Hold the chunks of an operator against its packed weights."""
    chunks, packed = cut(operator, config, spread), operator.layer.packed
    total = np.zeros((packed.row_tiles, config.rows, packed.pattern.groups, config.group_size), np.int16)
    for chunk in chunks:
        tiles = slice(chunk.first, chunk.first + chunk.row_tiles)
        part = rebuild(operator, chunk, config)
        assert not (total[tiles].any() and (part.astype(bool) & total[tiles].astype(bool)).any()), "each weight once"
        total[tiles] += part
        assert chunk.fields["window_words"] == len(chunk.words) > 0
        assert chunk.tile_steps.sum() == sum(share.num_steps for share in chunk.shares)
        for name, need in DEPTHS.items():
            assert need(chunk) <= getattr(config, name), name
    wanted = np.zeros((packed.row_tiles * config.rows, packed.pattern.groups * config.group_size), np.int16)
    matrix = unpack(packed)
    wanted[: matrix.shape[0], : matrix.shape[1]] = matrix
    np.testing.assert_array_equal(total.reshape(len(wanted), -1), wanted)
    return chunks


def used_words(operator: Operator, chunk: Chunk) -> np.ndarray:
    """Return the groups of K that blocks of a whole chunk keep."""
    pattern = operator.layer.packed.pattern
    tiles = operator.layer.packed.block_tiles
    kept = pattern.kept[chunk.first // tiles : (chunk.first + chunk.row_tiles - 1) // tiles + 1].any(axis=0)
    return np.flatnonzero(np.repeat(kept, pattern.column_groups))


@given(
    channels=st.integers(1, 20),
    outputs=st.integers(1, 70),
    kernel=st.sampled_from([1, 3]),
    density=st.sampled_from([0.2, 0.5, 1.0]),
    block=st.sampled_from([16, 32]),
    weight_depth=st.sampled_from([400, 2048]),
    seed=st.integers(0, 99),
)
def test_products(channels: int, outputs: int, kernel: int, density: float, block: int, weight_depth: int, seed: int) -> None:
    config = dataclasses.replace(TINY, weight_buffer_depth=weight_depth, entry_buffer_depth=24)
    net = Builder(config, (9, 9, channels), seed)
    net.conv("input", outputs, kernel=(kernel, kernel), density=density, block=block)
    (operator,) = select(net)
    chunks = check_chunks(operator, config)
    assert [chunk.first for chunk in chunks] == list(itertools.accumulate((chunk.row_tiles for chunk in chunks[:-1]), initial=0))
    per_tap = operator.source.planes(config.group_size)
    for chunk in chunks:
        np.testing.assert_array_equal(chunk.words[:, 0] * per_tap + chunk.words[:, 1], used_words(operator, chunk))
        assert not chunk.is_open
        assert chunk.part == 0
    packed = operator.layer.packed
    if packed.pattern.row_steps.max() * packed.block_tiles <= weight_depth // 2 and packed.pattern.kept.sum(axis=1).max() <= 12:
        assert all(need(chunk) <= getattr(config, name) // 2 for chunk in chunks for name, need in DEPTHS.items())


@given(
    channels=st.integers(1, 20),
    outputs=st.integers(1, 70),
    density=st.sampled_from([0.2, 0.5, 1.0]),
    block=st.sampled_from([4, 8, 16, 32]),
    weight_depth=st.sampled_from([200, 400, 2048]),
    clusters=st.sampled_from([2, 4, 8]),
    spread=st.sampled_from(Spread),
    seed=st.integers(0, 99),
)
def test_products_of_clusters(
    channels: int, outputs: int, density: float, block: int, weight_depth: int, clusters: int, spread: Spread, seed: int
) -> None:
    """Each weight once, in the buffers of its cluster, whichever side of a block is longer: its rows, or a row tile of every cluster."""
    config = dataclasses.replace(TINY, weight_buffer_depth=weight_depth, entry_buffer_depth=64, clusters=clusters)
    net = Builder(config, (9, 9, channels), seed)
    net.conv("input", outputs, kernel=(3, 3), density=density, block=block)
    (operator,) = select(net)
    for chunk in check_chunks(operator, config, spread):
        assert chunk.spread is spread
        assert len(chunk.shares) == (clusters if spread is Spread.ROW_TILES else 1)


def test_equal_chunks() -> None:
    """Nine blocks of rows of which four fit half a buffer are three chunks of three, not four, four and one."""
    config = dataclasses.replace(TINY, channel_buffer_depth=128)
    net = Builder(config, (3, 3, 4))
    net.conv("input", 9 * 16)
    (operator,) = select(net)
    assert [chunk.row_tiles for chunk in cut(operator, config)] == [12, 12, 12]


def test_chunks_end_with_a_block_row_that_they_begin_within() -> None:
    """Entries are counted in block rows from a chunk's first row tile: here three of eight row tiles fit."""
    net = Builder(TINY, (9, 9, 16))
    net.conv("input", 33, kernel=(3, 3), block=32)
    config = dataclasses.replace(TINY, weight_buffer_depth=2 * 3 * 16 * 9)
    (operator,) = select(net)
    assert [(chunk.first, chunk.row_tiles) for chunk in check_chunks(operator, config)] == [(0, 3), (3, 3), (6, 2), (8, 1)]


def test_what_is_dense_needs_no_offsets() -> None:
    net = Builder(TINY, (3, 3, 8))
    net.conv(net.conv("input", 16), 16, density=0.5)
    dense, sparse = (cut(operator, TINY)[0] for operator in select(net))
    assert dense.is_dense
    assert not sparse.is_dense
    (one,), (other,) = dense.shares, sparse.shares
    assert len(one.steps) == one.num_steps * TINY.rows
    assert len(other.steps) == (other.num_steps + other.num_steps // 4) * TINY.rows
    assert dense.weight_bytes == len(one.steps) + len(one.counts) + len(one.entries) + len(one.channels)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise(kernel: int, stride: int) -> None:
    """A row tile a plane; row s M + c of one is channel c of the s-th output row, whose taps lie s strides lower."""
    config = Config(rows=16, columns=4, channel_buffer_depth=64)
    net = Builder(config, (12, 12, 10))
    net.depthwise("input", kernel=(kernel, kernel), stride=(stride, stride))
    (operator,) = select(net)
    chunks = check_chunks(operator, config)
    assert [(chunk.first, chunk.row_tiles) for chunk in chunks] == [(0, 2), (2, 1)]
    assert [chunk.fields["block_tiles"] for chunk in chunks] == [2, 1]
    (node,) = net.nodes
    weights = node.weights.reshape(10, kernel, kernel)
    matrix = unpack(operator.layer.packed).reshape(3, 4, 4, len(operator.taps), 4)
    for plane, below, channel in np.ndindex(3, 4, 4):
        if plane * 4 + channel < 10:
            wanted = {
                (row + below * stride, column): weights[plane * 4 + channel, row, column]
                for row in range(kernel)
                for column in range(kernel)
            }
            found = {tap: matrix[plane, below, channel, number, channel] for number, tap in enumerate(operator.taps)}
            assert {tap: value for tap, value in found.items() if value} == {tap: value for tap, value in wanted.items() if value}
            others = np.delete(matrix[plane, below, channel], channel, axis=1)
            assert not others.any()


def long_k(pixels: int) -> Builder:
    """Return a layer whose K takes more than half of every buffer: 72 words, 288 steps a row tile and 18 entries."""
    config = dataclasses.replace(TINY, weight_buffer_depth=300, column_buffer_depth=80, entry_buffer_depth=32)
    net = Builder(config, (1, pixels, 32 * 9))
    net.conv("input", 8, density=1.0)
    return net


def test_k_in_parts() -> None:
    """Parts of one row tile, all open but the last; two at a time fit every buffer."""
    net = long_k(4)
    (operator,) = select(net)
    chunks = check_chunks(operator, net.config)
    assert len({chunk.first for chunk in chunks}) == 2
    for first in range(2):
        parts = [chunk for chunk in chunks if chunk.first == first]
        assert [chunk.part for chunk in parts] == list(range(len(parts)))
        assert [chunk.is_open for chunk in parts] == [True] * (len(parts) - 1) + [False]
        for name, need in DEPTHS.items():
            assert max(map(need, parts)) <= getattr(net.config, name) // 2, name
        words = np.concatenate([chunk.words[:, 1] for chunk in parts])
        np.testing.assert_array_equal(words, np.arange(72))


def test_k_stays_whole_where_sums_would_have_to_wait() -> None:
    """More pixels than columns would be more sums than the array holds."""
    net = long_k(5)
    (operator,) = select(net)
    chunks = check_chunks(operator, net.config)
    assert [(chunk.first, chunk.row_tiles, chunk.is_open) for chunk in chunks] == [(0, 1, False), (1, 1, False)]


def test_what_does_not_fit() -> None:
    net = long_k(5)
    config = dataclasses.replace(net.config, column_buffer_depth=71)
    (operator,) = select(net)
    message = "conv0: a row tile needs column_buffer_depth of 72, but the configuration has 71; choose a larger configuration"
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        cut(operator, config)


def test_maximum() -> None:
    net = Builder(TINY, (8, 8, 9))
    net.maximum("input", kernel=(2, 3))
    (operator,) = select(net)
    (chunk,) = cut(operator, TINY)
    assert (chunk.first, chunk.row_tiles, chunk.shares, chunk.weight_bytes) == (0, 3, (Share(),), 0)
    assert chunk.words.tolist() == [[tap, 0] for tap in range(6)]


# Runs.


def expand(runs: bytes) -> list[tuple[int, int, int, int]]:
    """Return row, column, place and first plane of every word of the window that runs list, planes counted in words."""
    fields = RUN.unpack_array(np.frombuffer(runs, "<u8"))
    assert fields["last"].tolist() == [0] * (len(fields["last"]) - 1) + [1]
    words = []
    for dy, dx, pixels, plane, length in zip(*(fields[name] for name in ("dy", "dx", "pixels", "plane", "words_minus_1")), strict=True):
        words += [(int(dy), int(dx), int(pixels), (int(plane), number)) for number in range(int(length) + 1)]
    return words


@pytest.mark.parametrize("density", [0.3, 1.0])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2)])
def test_runs_list_the_words_of_a_window(kernel: int, dilation: int, density: float) -> None:
    net = Builder(TINY, (9, 7, 24), seed=3)
    net.conv("input", 32, kernel=(kernel, kernel), dilation=(dilation, dilation), padding=(1, 1), density=density)
    (operator,) = select(net)
    home = Home(base=100, width=7, line=7, rows=9, pitch=63, planes=6)
    for chunk in cut(operator, TINY):
        words = expand(window_runs(operator, chunk, home))
        wanted = [(operator.taps[tap], plane * 63) for tap, plane in chunk.words]
        assert [((dy, dx), plane + number * 63) for dy, dx, _, (plane, number) in words] == wanted
        assert all(pixels == dy * 7 + dx for dy, dx, pixels, _ in words)
        assert chunk.num_runs == len(window_runs(operator, chunk, home)) // 8 < max(2, len(words))


def test_long_runs_are_cut() -> None:
    """A run tells at most 512 words."""
    config = dataclasses.replace(TINY, column_buffer_depth=4096, weight_buffer_depth=32768)
    net = Builder(config, (1, 1, 4 * 1030))
    net.conv("input", 4)
    operator = dataclasses.replace(select(net)[0], output=dataclasses.replace(select(net)[0].output, width=5))
    (chunk,) = cut(operator, config)
    runs = window_runs(operator, chunk, Home(0, 1, 1, 1, 1, 1030))
    assert (RUN.unpack_array(np.frombuffer(runs, "<u8"))["words_minus_1"] + 1).tolist() == [512, 512, 6]
    assert chunk.num_runs == 3
    assert [plane + number for _, _, _, (plane, number) in expand(runs)] == list(range(1030))


@pytest.mark.parametrize("padding", [0, 1])
def test_split_columns(padding: int) -> None:
    """Even columns lie before odd ones: the place of a tap is its half's begin and half its column."""
    net = Builder(TINY, (6, 8, 4))
    net.maximum("input", kernel=(3, 3), stride=(2, 2), padding=(padding, padding))
    (operator,) = select(net)
    (chunk,) = cut(operator, TINY)
    words = expand(window_runs(operator, chunk, Home(0, 8, 8, 6, 48, 1, phases=2)))
    for dy, dx, pixels, _ in words:
        for pixel in range(1, 3):
            column = pixel * 2 + dx - padding
            place = column % 2 * 4 + column // 2
            assert pixels - dy * 8 + pixel == place


def test_planes_as_pixels() -> None:
    """A global average's taps are pixels, one a run; its windows have no borders."""
    net = Builder(TINY, (3, 4, 8))
    net.global_average("input")
    (operator,) = select(net)
    (chunk,) = cut(operator, TINY)
    words = expand(window_runs(operator, chunk, Home(0, 4, 4, 3, 13, 2)))
    assert words == [(0, 0, pixel, (0, 0)) for pixel in range(12)]
