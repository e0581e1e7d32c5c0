"""Cost: cycles by hand."""

import dataclasses

import pytest
from tests.sw.compile.integer_networks import Builder, select

from crisp.arch import Config
from crisp.compile.chunks import Chunk, cut
from crisp.compile.cost import CHUNK_OVERHEAD, DEPENDENT_OVERHEAD, array_cycles, execute_cycles
from crisp.compile.lanes import Lanes, source_lanes
from crisp.compile.operator import Operator

TINY = Config.preset("tiny")  # 4 x 4, a tile of less than 4 steps waits, 4 banks


def one(net: Builder) -> tuple[Operator, Chunk]:
    (operator,) = select(net)
    (chunk,) = cut(operator, net.config)
    return operator, chunk


def lanes_of(operator: Operator, first: int, end: int, phases: tuple[int, int] = (1, 1)) -> Lanes:
    source, output = phases
    return source_lanes(
        operator, first, end, group=4, pitch=operator.source.pixels, line=operator.source.width, source_phases=source, output_phases=output
    )


def product(outputs: int, channels: int) -> Builder:
    net = Builder(TINY, (8, 8, channels))
    net.conv("input", outputs)
    return net


def pooling(kind: str, stride: int, config: Config = TINY) -> Builder:
    net = Builder(config, (8, 8, 8))
    getattr(net, kind)("input", kernel=(2, 2), stride=(stride, stride))
    return net


@pytest.mark.parametrize(
    ("net", "rows", "phases", "cycles"),
    [
        (product(8, 8), 8, (1, 1), 16 * 2 * 8),  # 16 tiles, 2 row tiles of 8 steps
        (product(8, 8), 7, (1, 1), 14 * 2 * 8),
        (pooling("maximum", 1), 7, (1, 1), (13 + 5) * 2 * 4),  # 2 planes, 4 words; 5 of 13 tiles wrap, and leave out a place
        (pooling("maximum", 2), 4, (1, 1), 4 * 2 * 4 * 2),  # lanes two columns apart meet in two of the four banks
        (pooling("maximum", 2), 4, (2, 1), 4 * 2 * 4),  # not where columns are split
        (pooling("depthwise", 2), 4, (1, 1), 4 * 2 * 4 * 2),
    ],
)
def test_cycles_of_the_array(net: Builder, rows: int, phases: tuple[int, int], cycles: int) -> None:
    operator, chunk = one(net)
    assert array_cycles(operator, chunk, lanes_of(operator, 0, rows, phases), net.config) == cycles


def test_short_tiles_wait_for_their_way_out() -> None:
    config = Config(rows=16, columns=4, drain_rows=1)
    net = Builder(config, (8, 8, 4))
    net.conv("input", 16)
    operator, chunk = one(net)
    assert chunk.shares[0].num_steps == 4
    assert array_cycles(operator, chunk, lanes_of(operator, 0, 8), config) == 16 * 16
    quick = dataclasses.replace(config, drain_rows=4)
    assert array_cycles(operator, chunk, lanes_of(operator, 0, 8), quick) == 16 * 4


def test_copies_wait_for_the_vector_unit() -> None:
    """It takes drain_rows bytes a lane and cycle, and a word has M."""
    net = Builder(TINY, (8, 8, 8))
    net.table("input")
    operator, chunk = one(net)
    assert array_cycles(operator, chunk, lanes_of(operator, 0, 8), TINY) == 16 * 2 * 4


def test_commands_that_wait_cost_more() -> None:
    """The first chunk of an operator needs what is computed before; the next ones follow at once."""
    operator, chunk = one(product(8, 8))
    assert execute_cycles(operator, chunk, lanes_of(operator, 0, 8), 1, TINY) == 256 + DEPENDENT_OVERHEAD
    assert execute_cycles(operator, dataclasses.replace(chunk, first=2), lanes_of(operator, 0, 8), 1, TINY) == 256 + CHUNK_OVERHEAD
    assert execute_cycles(operator, chunk, lanes_of(operator, 4, 8), 1, TINY) == 128 + DEPENDENT_OVERHEAD
