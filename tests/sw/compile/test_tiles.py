"""Row tiles one after the other: weights come once, planes leave before the next ones, and the bytes stay what they are."""

import dataclasses
from collections import Counter

import pytest
from tests.sw.compile.integer_networks import Builder, check_program, plan_of

from crisp.arch import Config, LoadTarget, MemoryWindow, Opcode
from crisp.compile.compile import Compilation
from crisp.compile.segments import Choice, Work
from crisp.compile.tiles import Tiles

TINY = Config.preset("tiny")
SAME = {"kernel": (3, 3), "padding": (1, 1)}


def of(depth: int, image: tuple[int, int, int], **fields: int) -> Builder:
    return Builder(dataclasses.replace(TINY, activation_buffer_depth=depth, **fields), image)


def tiles_of(compilation: Compilation) -> dict[str, Tiles]:
    return {segment.tiles.operator.name: segment.tiles for segment in compilation.scheduler.segments if segment.tiles}


def loaded(compilation: Compilation, label: str) -> Counter[tuple[int, int, int]]:
    """Return how often each place in memory is loaded for a layer or tensor."""
    loads = (command for command in compilation.scheduler.stream.commands if command.opcode is Opcode.LOAD and command.label == label)
    return Counter((load.fields["window"], load.fields["target"], load.fields["offset"]) for load in loads)


def test_a_result_larger_than_the_chip() -> None:
    """16 x 16 pixels of 4 channels become 64: four times the buffer; the source comes once, each part of the weights once."""
    net = of(256, (16, 16, 4))
    net.conv("input", 64, **SAME)
    compilation = check_program(net, net.config)
    (tiles,) = tiles_of(compilation).values()
    assert tiles.most < 16
    assert tiles.is_cut("conv0")
    assert not tiles.is_cut("input")
    assert set(loaded(compilation, "conv0").values()) == {1}
    assert set(loaded(compilation, "input").values()) == {1}


def test_weights_that_do_not_stay_are_loaded_once() -> None:
    """They would be loaded in every stripe."""
    net = of(400, (12, 12, 32), weight_buffer_depth=600)
    net.conv("input", 64, **SAME)
    compilation = check_program(net, net.config)
    assert tiles_of(compilation)
    weights = [count for (window, _, _), count in loaded(compilation, "conv0").items() if window == MemoryWindow.PROGRAM]
    assert set(weights) == {1}


@pytest.mark.parametrize("kind", ["depthwise", "maximum"])
def test_planes_that_need_only_their_own(kind: str) -> None:
    """Neither all planes nor a stripe of them fit; each plane of the source comes once, with its halo."""
    net = of(48, (12, 12, 32))
    getattr(net, kind)("input", **SAME)
    compilation = check_program(net, net.config)
    (tiles,) = tiles_of(compilation).values()
    assert tiles.is_cut("input")
    rows = Counter(
        (load.fields["offset"], load.fields["row_bytes"])
        for load in compilation.scheduler.stream.commands
        if load.opcode is Opcode.LOAD and load.fields["target"] == LoadTarget.ACTIVATIONS
    )
    assert set(rows.values()) == {1}


def test_sums() -> None:
    """What is added comes part by part as well, unless the product needs all of it."""
    net = of(420, (12, 12, 4))
    first = net.conv("input", 32, **SAME)
    net.add(net.conv(net.conv(first, 8), 32, **SAME), first)
    check_program(net, net.config)
    net = of(400, (9, 6, 4))
    first = net.conv("input", 12, **SAME)
    net.add(net.conv(first, 12, **SAME), first)
    check_program(net, dataclasses.replace(net.config, activation_buffer_depth=80))


def test_a_sum_in_the_place_of_what_lies_on_chip_is_not_cut() -> None:
    """All planes of it are there, and a part would be written over others that are still to be added."""
    net = of(96, (8, 8, 16))
    net.add(net.table("input"), net.table("input"))
    plan = plan_of(net)
    addition = plan.operators[-1]
    source, residual, name = addition.source.name, addition.residual, addition.output.name
    assert residual is not None
    choice, last = Choice(plan, 384), len(plan.operators) - 1
    work = Work(last, last + 1, frozenset({source}), frozenset({name}), frozenset(), frozenset({residual}))
    assert choice.layout(work, 1, True).plan.homes[name] == residual
    assert list(choice.cut_segments(work, frozenset(), 200)) == []
    assert list(
        choice.cut_segments(dataclasses.replace(work, loaded=frozenset({source, residual}), resident=frozenset()), frozenset(), 200)
    )
    check_program(net, net.config)


@pytest.mark.parametrize("block", [4, 8, 16])
def test_block_rows_of_several_row_tiles(block: int) -> None:
    """A part that begins within a block row ends there."""
    net = of(256, (16, 16, 8))
    net.conv("input", 48, density=0.5, block=block, **SAME)
    compilation = check_program(net, net.config)
    for tiles in tiles_of(compilation).values():
        for chunk in compilation.plan.parts(tiles.operator, tiles.most):
            assert chunk.row_tiles <= tiles.most
            start, end = chunk.first, chunk.first + chunk.row_tiles
            assert start % (block // 4) == 0 or start // (block // 4) == (end - 1) // (block // 4)
