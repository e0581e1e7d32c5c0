"""Segments: each operator once, never more than the buffer holds, and no sequence of what is tried is cheaper."""

import dataclasses
import functools
import re

import pytest
from tests.sw.compile.integer_networks import Builder, plan_of, random_network

from crisp.arch import Config
from crisp.compile import CompileError
from crisp.compile.operator import Kind
from crisp.compile.plan import Plan
from crisp.compile.segments import Choice, Segment, choose_segments

TINY = Config.preset("tiny")
SAME = {"kernel": (3, 3), "padding": (1, 1)}


def chain(length: int = 4) -> Plan:
    """Return 3x3 convolutions of 16 channels over 16 x 16 pixels: 1024 words a tensor."""
    net = Builder(TINY, (16, 16, 4))
    last = "input"
    for _ in range(length):
        last = net.conv(last, 16, **SAME)
    return plan_of(net)


def check_segments(network: Plan, segments: list[Segment], capacity: int) -> None:
    """Follow every tensor through the segments: where it lies, and how many words are taken."""
    on_chip: dict[str, int] = {}
    memory = set(network.external)
    assert [segment.first for segment in segments] == [0, *(segment.end for segment in segments[:-1])]
    assert segments[-1].end == len(network.operators)
    for segment in segments:
        assert segment.loaded <= memory
        tiles = segment.tiles
        own = {
            name: tiles.words(network, name) if tiles else network.words(name, rows)
            for name, rows in segment.plan.rings.items()
            if segment.plan.homes[name] == name
        }
        if segment.parts == 1:
            assert sum(on_chip.values()) + sum(own.values()) <= capacity
        for operator in network.operators[segment.first : segment.end]:
            assert all(name in segment.plan.rings or name in on_chip for name in operator.inputs), operator.name
        memory |= segment.stored
        for name in segment.kept:
            home = segment.plan.homes[name]
            on_chip[name] = own.get(home) or on_chip.pop(home)
            assert segment.plan.rings[name] >= network.tensors[name].height
        on_chip = {name: words for name, words in on_chip.items() if network.last_use.get(name, -1) >= segment.end}
    assert network.operators[-1].output.name in memory


@pytest.mark.parametrize("capacity", [200, 400, 800, 1600, 16384])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_needed_is_there_and_fits(seed: int, capacity: int) -> None:
    network = plan_of(random_network(TINY, seed, length=8))
    try:
        segments = choose_segments(network, capacity)
    except CompileError:
        assert capacity < 800
        return
    check_segments(network, segments, capacity)


@pytest.mark.parametrize("capacity", [700, 1500, 2500])
@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_is_cheaper(seed: int, capacity: int) -> None:
    """Against all sequences of all candidates, state by state."""
    net = Builder(TINY, (14, 14, 4), seed)
    first = net.conv("input", 16, **SAME)
    net.conv(net.add(net.conv(net.conv(first, 8), 16, **SAME), first), 8, stride=(2, 2))
    network = plan_of(net)
    choice, total = Choice(network, capacity), len(network.operators)

    @functools.cache
    def cheapest(begin: int, state: frozenset[str]) -> float:
        if begin == total:
            return 0.0
        ways = (segment for end in range(begin + 1, total + 1) for segment in choice.candidates(begin, end, state))
        return min((segment.cost + cheapest(segment.end, segment.after) for segment in ways), default=float("inf"))

    segments = choose_segments(network, capacity)
    check_segments(network, segments, capacity)
    assert sum(segment.cost for segment in segments) == pytest.approx(cheapest(0, frozenset()))


def test_where_there_is_room_operators_stand_alone() -> None:
    network = chain()
    segments = choose_segments(network, 16384)
    assert [(segment.first, segment.end) for segment in segments] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert all(not segment.stored for segment in segments[:-1])
    assert all(segment.plan.stripes == 1 for segment in segments[1:-1])


def test_where_there_is_none_they_share_stripes_or_use_memory() -> None:
    network = chain()
    segments = choose_segments(network, 1500)
    check_segments(network, segments, 1500)
    assert any(segment.end > segment.first + 1 or segment.stored for segment in segments[:-1])
    assert max(segment.plan.stripes for segment in segments) > 1


def test_less_room_costs_not_less() -> None:
    network = chain()
    costs = [sum(segment.cost for segment in choose_segments(network, capacity)) for capacity in (16384, 2100, 1500, 1000)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_a_global_average_in_parts() -> None:
    """A source of 16 planes of 65 words is loaded some planes at a time where 400 words are all there is."""
    net = Builder(TINY, (8, 8, 64))
    net.global_average("input")
    (segment,) = choose_segments(plan_of(net), 400)
    assert (segment.parts, segment.loaded) == (4, {"input"})
    (segment,) = choose_segments(plan_of(net), 16 * 65 + 16)
    assert segment.parts == 1


def test_what_does_not_fit() -> None:
    message = "conv1: does not fit the activation buffer of 16384 words in any way; choose a larger configuration or a smaller image"
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        choose_segments(chain(), 100)


# What is known before.


def test_split_columns() -> None:
    """Only where all that read a tensor step two columns, and only an even width."""

    def split(width: int, *strides: int, kind: str = "maximum") -> bool:
        net = Builder(TINY, (8, width, 4))
        first = net.conv("input", 8)
        for stride in strides:
            getattr(net, kind)(first, kernel=(2, 2), stride=(stride, stride))
        return first in plan_of(net).split

    assert split(8, 2)
    assert split(8, 2, 2, kind="depthwise")
    assert not split(8, 2, 1)
    assert not split(9, 2)
    assert not split(8)


def test_planes_read_side_by_side_have_an_odd_pitch() -> None:
    """So has what a sum may take the place of."""
    net = Builder(TINY, (4, 4, 8))
    first = net.conv("input", 8)
    total = net.add(net.conv(first, 8), first)
    net.global_average(total)
    network = plan_of(net)
    assert network.odd == {total, first}
    assert (network.pitch(total, 4), network.pitch("input", 4), network.words(first, 4)) == (17, 16, 34)


def test_rows_that_begin_at_words_of_the_bus() -> None:
    """Rows of 3 x 4 bytes on a bus of 8 must go in pairs where the host lays them out; in scratch memory they need not."""
    config = Config(rows=4, columns=4, drain_rows=1, axi_data_width=64)
    net = Builder(config, (6, 3, 4))
    middle = net.conv("input", 4)
    last = net.maximum(middle)
    network = plan_of(net)
    assert [network.row_steps(name) for name in ("input", middle, last)] == [2, 1, 2]
    assert network.operators[1].kind is Kind.MAX


def test_rows_that_are_computed_together_begin_at_words_of_the_bus_together() -> None:
    """Four rows of five words of two bytes, whatever the bus asks for: five rows would be no multiple."""
    net = Builder(Config(group_size=2, rows=8, columns=8), (11, 11, 4))
    net.depthwise("input", kernel=(3, 3), stride=(2, 2))
    network = plan_of(net)
    assert network.row_steps("depthwise0") == 8


@pytest.mark.parametrize(("depth", "stay"), [(1871, 3), (2048, 3), (2304, 4)])
def test_weights_that_stay(depth: int, stay: int) -> None:
    """1872 steps in all; in 2048 the third operator's would lie across the middle, so they begin there, and the last ones do not fit."""
    net = Builder(dataclasses.replace(TINY, weight_buffer_depth=depth), (16, 16, 4))
    last = "input"
    for _ in range(4):
        last = net.conv(last, 16, **SAME)
    network = plan_of(net)
    assert [sum(share.num_steps for chunk in chunks for share in chunk.shares) for chunks in network.chunks.values()] == [
        144,
        576,
        576,
        576,
    ]
    assert [network.weights_stay(0, end) for end in (1, 2, 3, 4)] == [end <= stay for end in (1, 2, 3, 4)]
