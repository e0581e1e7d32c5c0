# amaranth: UnusedElaboratable=no
"""Pixel walk with its lanes against the closed form: every geometry, rows shorter than a tile, one tile a cycle."""

import cocotb
import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tests.hw.bench import Process
from tests.hw.executes import convolution, random_convolution

from crisp.arch import EXECUTE
from crisp.golden.pixel_walk import pixel_positions
from crisp_hw.lane_coordinate import COORDINATE, LaneCoordinate
from crisp_hw.lane_ring import PLACE, LaneRing
from crisp_hw.layouts import word_layout
from crisp_hw.pixel_walk import PixelWalk
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec


class Walker(wiring.Component):
    """A walk with the lanes that a gather has: place, row, column."""

    def __init__(self, *, columns: int):
        self.columns = columns
        super().__init__({
            "i_start": In(1),
            "i_advance": In(1),
            "i_command": In(word_layout(EXECUTE)),
            "o_ready": Out(1),
            "o_valids": Out(columns),
            "o_last": Out(1),
            "o_q": Out(data.ArrayLayout(PLACE, columns)),
            "o_y": Out(data.ArrayLayout(COORDINATE, columns)),
            "o_x": Out(data.ArrayLayout(COORDINATE, columns)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        command = self.i_command
        m.submodules.walk = walk = PixelWalk(columns=self.columns)
        m.submodules.q = q = LaneRing(columns=self.columns)
        m.submodules.y = y = LaneCoordinate(columns=self.columns)
        m.submodules.x = x = LaneCoordinate(columns=self.columns)
        m.d.comb += [walk.i_start.eq(self.i_start), walk.i_advance.eq(self.i_advance), walk.i_pixels.eq(command.pixels)]
        m.d.comb += [walk.i_width.eq(command.width), walk.i_first_column.eq(command.first_column)]
        m.d.comb += walk.i_tile_columns.eq(command.tile_columns)
        m.d.comb += [lane.i_walk.eq(walk.o_walk) for lane in (q, y, x)]
        m.d.comb += [q.i_first.eq(command.first_q), q.i_lane_step.eq(command.lane_dq), q.i_tile_step.eq(command.tile_dq)]
        m.d.comb += [q.i_wrap_step.eq(command.wrap_dq), q.i_ring.eq(command.input_ring)]
        m.d.comb += [y.i_first.eq(command.first_y), y.i_tile_step.eq(command.tile_dy), y.i_wrap_step.eq(command.wrap_dy)]
        m.d.comb += [x.i_first.eq(command.first_x), x.i_lane_step.eq(command.lane_dx)]
        m.d.comb += [x.i_tile_step.eq(command.tile_dx), x.i_wrap_step.eq(command.wrap_dx)]
        m.d.comb += [self.o_ready.eq(walk.o_ready), self.o_valids.eq(walk.o_valids), self.o_last.eq(walk.o_last)]
        m.d.comb += [self.o_q.eq(q.o_places), self.o_y.eq(y.o_values), self.o_x.eq(x.o_values)]
        return m


class Tiles(Process):
    """Advance at random, and note where the valid lanes stood."""

    def __init__(self, bench: Bench, pause: float) -> None:
        super().__init__(bench)
        self.pause = pause
        self.random = np.random.default_rng([bench.seed, bench.cycle])
        columns = parameters()["columns"]
        shapes = {"o_y": COORDINATE, "o_x": COORDINATE, "o_q": PLACE}
        self.decoders = {name: layout_codec(data.ArrayLayout(shape, columns))[1] for name, shape in shapes.items()}
        self.positions: list[tuple[int, ...]] = []
        self.cycles: list[int] = []
        self.done = False

    def step(self) -> None:
        dut = self.dut
        if int(dut.o_ready.value) and int(dut.i_advance.value):
            valids = int(dut.o_valids.value)
            lanes = zip(*(decode(int(getattr(dut, name).value)) for name, decode in self.decoders.items()), strict=True)
            self.positions += [lane for number, lane in enumerate(lanes) if valids >> number & 1]
            self.cycles.append(self.bench.cycle)
            self.done = bool(int(dut.o_last.value))
            assert valids & (valids + 1) == 0, f"valid lanes must be the first ones, not {valids:b}"
            assert valids
        dut.i_advance.value = int(self.random.random() >= self.pause)


async def walk(bench: Bench, command: dict[str, int], *, pause: float) -> Tiles:
    """Walk a command, compare all positions, and check that the walk ends."""
    bench.dut.i_command.value = layout_codec(word_layout(EXECUTE))[0]({"reserved": 0, **command})
    bench.dut.i_start.value = 1
    await bench.wait(1)
    tiles = Tiles(bench, pause)
    begin = bench.cycle
    bench.dut.i_start.value = 0
    await bench.until(lambda: tiles.done, progress=lambda: len(tiles.cycles), what=lambda: f"{len(tiles.cycles)} tiles came")
    tiles.stop()
    await bench.wait(1)
    assert not int(bench.dut.o_ready.value)
    assert tiles.positions == list(zip(*(values.tolist() for values in pixel_positions(command)), strict=True))
    if not pause:
        assert tiles.cycles[0] - begin == parameters()["columns"] + PixelWalk.SETTLING + 2
        assert np.diff(tiles.cycles).tolist() == [1] * (len(tiles.cycles) - 1)
    return tiles


@cocotb.test()
async def walks_convolutions(dut) -> None:
    """Some convolutions, without pauses and with."""
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    for _ in range(150):
        command, _ = random_convolution(rng, columns=parameters()["columns"], words=5000)
        await walk(bench, command, pause=float(rng.choice([0.0, 0.5])))


@cocotb.test()
async def walks_large_images(dut) -> None:
    """Fields near their largest values: long rows, all rows, a ring of a million places."""
    bench = await Bench.start(dut)
    columns = parameters()["columns"]
    command, _ = convolution(columns=columns, height=5, width=16382, kernel=(3, 3), padding=1, first_row=2, first_column=16300, pixels=300)
    await walk(bench, command, pause=0.0)
    command, _ = convolution(columns=columns, height=16383, width=64, kernel=(1, 1), first_row=16383 - 4)
    await walk(bench, command, pause=0.0)
    command, _ = convolution(columns=columns, height=4, width=1, kernel=(1, 1))
    await walk(bench, command, pause=0.0)


@cocotb.test()
async def starts_anew(dut) -> None:
    """A start gives up the walk that is under way."""
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    for cycles in range(12):
        dut.i_advance.value = 1
        dut.i_start.value = 1
        await bench.wait(1)
        dut.i_start.value = 0
        await bench.wait(cycles)
        command, _ = random_convolution(rng, columns=parameters()["columns"], words=5000)
        await walk(bench, command, pause=0.0)


@pytest.mark.parametrize(
    ("columns", "simulator"), [(1, "verilator"), (3, "verilator"), (4, "icarus"), (14, "verilator"), (16, "verilator")]
)
def test_pixel_walk(columns: int, simulator: str) -> None:
    simulate(Walker(columns=columns), __file__, name="pixel_walk", parameters={"columns": columns}, simulator=simulator)


def test_needs_a_column() -> None:
    with pytest.raises(ValueError, match=r"^columns must be at least 1, not 0$"):
        PixelWalk(columns=0)
