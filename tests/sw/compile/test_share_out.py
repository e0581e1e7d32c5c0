"""Share out: row tiles in turn where they suffice for all clusters, else pixel tiles; and cycles by the number of clusters."""

import dataclasses

import pytest
from tests.sw.compile.integer_networks import Builder, check_program, random_network, select

from crisp.arch import Config, Spread
from crisp.compile.chunks import Chunk, cut
from crisp.compile.cost import array_cycles
from crisp.compile.lanes import source_lanes
from crisp.compile.operator import Operator
from crisp.compile.share_out import cut_for_clusters

TINY = Config.preset("tiny")  # 4 x 4


def shared(outputs: int, clusters: int, *, size: int = 8, kernel: int = 3) -> tuple[Operator, list[Chunk], Config]:
    """Return a convolution of 8 channels over ``size`` x ``size`` pixels, as it is shared out."""
    config = dataclasses.replace(TINY, clusters=clusters)
    net = Builder(config, (size, size, 8))
    net.conv("input", outputs, kernel=(kernel, kernel), padding=(kernel // 2, kernel // 2))
    (operator,) = select(net)
    return operator, cut_for_clusters(operator, config), config


def cycles(operator: Operator, chunk: Chunk, config: Config) -> int:
    """Return the cycles of a chunk for all rows."""
    source = operator.source
    lanes = source_lanes(operator, 0, operator.output.height, group=4, pitch=source.pixels, line=source.width)
    return array_cycles(operator, chunk, lanes, config)


@pytest.mark.parametrize(
    ("outputs", "clusters", "spread"),
    [
        (32, 2, Spread.ROW_TILES),
        (32, 4, Spread.ROW_TILES),
        (4, 2, Spread.PIXEL_TILES),  # one row tile
        (20, 4, Spread.PIXEL_TILES),  # five row tiles: four clusters would take two each
        (4, 1, Spread.ROW_TILES),
    ],
)
def test_choice(outputs: int, clusters: int, spread: Spread) -> None:
    operator, (chunk,), config = shared(outputs, clusters)
    assert chunk.spread is spread
    # 18 words of N = 4 for each row tile, 16 pixel tiles.
    assert cycles(operator, chunk, config) == 72 * (outputs // 4) * 16 // clusters


def test_one_pixel_tile_has_row_tiles_only() -> None:
    _, (chunk,), _ = shared(12, 2, size=2)
    assert chunk.spread is Spread.ROW_TILES


def test_one_word_a_cycle_is_gathered() -> None:
    """Few steps a word: clusters wait for windows, however many they are."""
    operator, (chunk,), config = shared(4, 8, kernel=1)
    assert cycles(operator, chunk, config) == 2 * 16


def test_one_slot_a_cycle_is_written() -> None:
    """Short tiles of many clusters wait for their slots: a word of each pixel in a cycle, or in as many as it has bytes."""
    operator, _, config = shared(64, 8, kernel=1)
    config = dataclasses.replace(config, rows=4, group_size=4)
    (chunk,) = cut(operator, config)
    # 16 row tiles of 8 steps are 16 cycles of two tiles each, and 16 slots.
    assert cycles(operator, chunk, config) == 16 * 16
    slow = dataclasses.replace(config, clusters=2)
    (chunk,) = cut(operator, slow)
    assert cycles(operator, chunk, slow) == 16 * 64


@pytest.mark.parametrize("clusters", [2, 4, 8])
@pytest.mark.parametrize("seed", range(6))
def test_random_networks(seed: int, clusters: int) -> None:
    """The network's integers, for one image and for several, with much memory and with little."""
    depth = 4096 if seed % 2 else 96
    config = dataclasses.replace(TINY, clusters=clusters, activation_buffer_depth=depth)
    check_program(random_network(config, seed, length=5), config, batch=1 + seed % 3)
