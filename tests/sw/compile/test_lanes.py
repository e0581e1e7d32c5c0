"""Lanes: walks, and banks that lanes share, against a count lane by lane."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.compile.integer_networks import Builder, select

from crisp.arch import Config
from crisp.compile.lanes import Lanes, serving_cycles, source_lanes


def count(lanes: Lanes, columns: int, banks: int) -> Counter[tuple[int, ...]]:
    """Return how many tiles there are of each kind, by going from lane to lane."""
    kinds: Counter[tuple[int, ...]] = Counter()
    for first in range(0, lanes.pixels, columns):
        kind = []
        for dy, dx in lanes.taps:
            met: Counter[int] = Counter()
            for pixel in range(first, min(first + columns, lanes.pixels)):
                row, place = divmod(pixel, lanes.width)
                y, x = lanes.first[0] + row * lanes.stride[0] + dy, lanes.first[1] + place * lanes.stride[1] + dx
                if 0 <= y < lanes.image[0] and 0 <= x < lanes.image[1]:
                    met[(row * lanes.row_step + place * lanes.step) % banks] += 1
            kind.append(max([1, *met.values()]))
        kinds[tuple(kind)] += 1
    return kinds


@given(
    st.builds(
        Lanes,
        pixels=st.integers(1, 60),
        width=st.integers(1, 20),
        step=st.integers(1, 9),
        row_step=st.integers(0, 99),
        image=st.tuples(st.integers(1, 12), st.integers(1, 12)),
        first=st.tuples(st.integers(-3, 3), st.integers(-3, 3)),
        stride=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        taps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4).map(tuple),
    ),
    st.sampled_from([(3, 4), (4, 4), (14, 16), (16, 16)]),
)
def test_cycles_of_every_tap(lanes: Lanes, size: tuple[int, int]) -> None:
    cycles, tiles = serving_cycles(lanes, *size)
    assert {tuple(kind): number for kind, number in zip(cycles.tolist(), tiles.tolist(), strict=True)} == count(lanes, *size)


def test_neighbours_never_meet() -> None:
    cycles, tiles = serving_cycles(Lanes(pixels=128, width=16, step=1, row_step=16, image=(8, 16), stride=(1, 1)), 16, 16)
    np.testing.assert_array_equal(cycles, [[1]])
    np.testing.assert_array_equal(tiles, [8])


@pytest.mark.parametrize(("phases", "step"), [((1, 1), 2), ((2, 1), 1), ((1, 2), 4), ((2, 2), 2)])
def test_split_columns_halve_the_step(phases: tuple[int, int], step: int) -> None:
    net = Builder(Config.preset("tiny"), (8, 8, 4))
    net.conv("input", 8, kernel=(3, 3), stride=(2, 2), padding=(1, 1))
    (operator,) = select(net)
    lanes = source_lanes(operator, 1, 4, group=4, pitch=64, line=8, source_phases=phases[0], output_phases=phases[1])
    assert (lanes.step, lanes.row_step, lanes.width, lanes.pixels) == (step, 16, 4 // phases[1], 3 * 4 // phases[1])
    assert (lanes.first, lanes.stride) == ((1, -1), (2, 2 * phases[1]))


def test_rows_below_each_other() -> None:
    net = Builder(Config(rows=16, columns=4), (9, 8, 12))
    net.depthwise("input")
    net.global_average("input")
    depthwise, mean = select(net)
    walked = [source_lanes(depthwise, first, 9, group=4, pitch=72, line=8) for first in (0, 4)]
    assert [lanes.pixels for lanes in walked] == [3 * 8, 2 * 8]  # four rows at a time
    assert walked[1].row_step == 4 * 8
    planes = source_lanes(mean, 0, 1, group=4, pitch=73, line=8)
    assert (planes.pixels, planes.step) == (3, 73)
