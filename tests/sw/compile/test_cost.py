"""Cost: cycles by hand."""

import dataclasses

import pytest
from tests.sw.compile.integer_networks import Builder, select

from crisp.arch import Config
from crisp.compile.chunks import Chunk, cut
from crisp.compile.cost import CHUNK_OVERHEAD, DEPENDENT_OVERHEAD, array_cycles, execute_cycles, walk_pixels
from crisp.compile.operator import Operator

TINY = Config.preset("tiny")  # 4 x 4, a tile of less than 4 steps waits, 4 banks


def one(net: Builder) -> tuple[Operator, Chunk]:
    (operator,) = select(net)
    (chunk,) = cut(operator, net.config)
    return operator, chunk


def product(outputs: int, channels: int) -> Builder:
    net = Builder(TINY, (8, 8, channels))
    net.conv("input", outputs)
    return net


def pooling(kind: str, stride: int, config: Config = TINY) -> Builder:
    net = Builder(config, (8, 8, 8))
    getattr(net, kind)("input", kernel=(2, 2), stride=(stride, stride))
    return net


@pytest.mark.parametrize(
    ("net", "pixels", "phases", "cycles"),
    [
        (product(8, 8), 64, (1, 1), 16 * 2 * 8),  # 16 tiles, 2 row tiles of 8 steps
        (product(8, 8), 61, (1, 1), 16 * 2 * 8),  # the last tile is not full
        (product(8, 8), 60, (1, 1), 15 * 2 * 8),
        (pooling("maximum", 1), 49, (1, 1), 13 * 2 * 4),  # 2 planes, 4 words
        (pooling("maximum", 2), 16, (1, 1), 4 * 2 * 4 * 2),  # lanes two columns apart meet in two of the four banks
        (pooling("maximum", 2), 16, (2, 1), 4 * 2 * 4),  # not where columns are split
        (pooling("maximum", 1), 16, (1, 2), 4 * 2 * 4 * 2),  # where every other column is computed, they are apart again
        (pooling("depthwise", 1), 49, (1, 1), 13 * 2 * 4),  # 4 steps
        (pooling("depthwise", 2), 16, (1, 1), 4 * 2 * 4 * 2),
    ],
)
def test_cycles_of_the_array(net: Builder, pixels: int, phases: tuple[int, int], cycles: int) -> None:
    operator, chunk = one(net)
    assert array_cycles(operator, chunk, pixels, net.config, *phases) == cycles


def test_short_tiles_wait_for_their_way_out() -> None:
    config = Config(rows=16, columns=4, drain_rows=1)
    net = Builder(config, (8, 8, 4))
    net.conv("input", 16)
    operator, chunk = one(net)
    assert chunk.num_steps == 4
    assert array_cycles(operator, chunk, 64, config, 1, 1) == 16 * 16
    quick = dataclasses.replace(config, drain_rows=4)
    assert array_cycles(operator, chunk, 64, quick, 1, 1) == 16 * 4


def test_copies_wait_for_the_vector_unit() -> None:
    """It takes drain_rows bytes a lane and cycle, and a word has M."""
    net = Builder(TINY, (8, 8, 8))
    net.table("input")
    operator, chunk = one(net)
    assert array_cycles(operator, chunk, 64, TINY, 1, 1) == 16 * 2 * 4


def test_pixels_that_are_walked() -> None:
    net = Builder(Config(rows=16, columns=4), (9, 8, 12))
    net.depthwise("input")
    net.global_average("input")
    net.conv("input", 4)
    depthwise, mean, conv = select(net)
    assert walk_pixels(depthwise, 0, 9, 4) == 3 * 8  # four rows at a time
    assert walk_pixels(depthwise, 4, 9, 4) == 2 * 8
    assert walk_pixels(mean, 0, 1, 4) == 3
    assert walk_pixels(conv, 2, 9, 4) == 7 * 8


def test_commands_that_wait_cost_more() -> None:
    """The first chunk of an operator needs what is computed before; the next ones follow at once."""
    operator, chunk = one(product(8, 8))
    assert execute_cycles(operator, chunk, 0, 8, TINY) == 256 + DEPENDENT_OVERHEAD
    assert execute_cycles(operator, dataclasses.replace(chunk, first=2), 0, 8, TINY) == 256 + CHUNK_OVERHEAD
    assert execute_cycles(operator, chunk, 4, 8, TINY) == 128 + DEPENDENT_OVERHEAD
