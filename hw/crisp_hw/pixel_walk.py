"""Pixel walk: leads the lanes from output pixel to output pixel, and from row to row. The golden model is ``crisp.golden.pixel_walk``."""

import enum

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE

from .layouts import walk_layout, word_layout

__all__ = ["PixelWalk"]


class Phase(enum.Enum):
    """What the walk is at."""

    IDLE = 0  #: Nothing.
    SETTLE = 1  #: Lanes compute their steps from the command.
    FILL = 2  #: A lane a cycle gets its first pixel.
    WALK = 3  #: Lanes stand at the pixels of a tile.


class PixelWalk(wiring.Component):
    """Tell `LaneRing` and `LaneCoordinate` when to go to which pixel: lane l of a tile stands l pixels behind its first one.

    Pixels are walked in the order of rows of ``width`` pixels; a pixel is followed by its right neighbour, or, at the end of a row, by the
    first pixel of the next one. The walk itself knows columns only, and runs them a tile ahead, so that it is known in time who wraps:
    ``column' = column + tile_columns``, and ``width`` less where that is not within the row.

    Latency: ``columns + SETTLING + 2`` cycles from ``i_start`` to ``o_ready``. Throughput: a tile a cycle.
    Flow control: ``i_advance`` may be high while ``o_ready`` is.

    Parameters
    ----------
    columns : int
        Columns of the array, and lanes.

    Members
    -------
    i_start : In
        Begin. Those that follow must keep their values from this cycle on until the walk ends.
    i_pixels, i_width, i_first_column, i_tile_columns : In
        The fields of `EXECUTE`.
    i_advance : In
        Go to the next tile, or end the walk.
    o_walk : Out
        What lanes do in this cycle.
    o_ready : Out
        Lanes stand at a tile.
    o_valids : Out, ``columns`` bits
        Lanes that stand at a pixel; those beyond the last pixel do not.
    o_last : Out
        The tile is the last.
    """

    #: Cycles for lanes to turn the fields of a command into the steps that they take.
    SETTLING = 2

    def __init__(self, *, columns: int):
        if columns < 1:
            raise ValueError(f"columns must be at least 1, not {columns}")
        self.columns = columns
        shapes = word_layout(EXECUTE).members
        super().__init__({
            "i_start": In(1),
            "i_pixels": In(shapes["pixels"]),
            "i_width": In(shapes["width"]),
            "i_first_column": In(shapes["first_column"]),
            "i_tile_columns": In(shapes["tile_columns"]),
            "i_advance": In(1),
            "o_walk": Out(walk_layout(columns)),
            "o_ready": Out(1),
            "o_valids": Out(columns),
            "o_last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        load = Signal()
        fill = Signal()
        advance = Signal()

        # Settle, load the seed, fill lane by lane, bring the columns a tile ahead, walk.
        phase = Signal(Phase)
        time = Signal(range(max(self.SETTLING, self.columns + 1)))
        goes_ahead = (phase == Phase.FILL) & (time == self.columns)
        m.d.comb += load.eq((phase == Phase.SETTLE) & (time == self.SETTLING - 1))
        m.d.comb += fill.eq((phase == Phase.FILL) & (time != self.columns))
        m.d.comb += self.o_ready.eq(phase == Phase.WALK)
        m.d.comb += advance.eq(self.o_ready & self.i_advance)
        m.d.sync += time.eq(time + 1)
        with m.If(load):
            m.d.sync += [phase.eq(Phase.FILL), time.eq(0)]
        with m.If(goes_ahead):
            m.d.sync += phase.eq(Phase.WALK)
        with m.If(advance & self.o_last):
            m.d.sync += phase.eq(Phase.IDLE)
        with m.If(self.i_start):
            m.d.sync += [phase.eq(Phase.SETTLE), time.eq(0)]

        # Pixels that are left, those of this tile included. The lanes of the next tile are counted out before the walk goes on.
        pixels_left = Signal.like(self.i_pixels)
        with m.If(load):
            m.d.sync += pixels_left.eq(self.i_pixels)
        with m.Elif(advance):
            m.d.sync += pixels_left.eq(pixels_left - self.columns)
        for condition, behind in ((fill, 0), (advance, self.columns)):
            with m.If(condition):
                m.d.sync += self.o_valids.eq(Cat(pixels_left > behind + lane for lane in range(self.columns)))
                m.d.sync += self.o_last.eq(pixels_left <= behind + self.columns)

        # The seed's column, and whether it is its row's last.
        seed = Signal.like(self.i_width)
        next_seed = Signal.like(self.i_width)
        last_column = Signal.like(self.i_width)
        lane_wrap = Signal()
        m.d.sync += last_column.eq(self.i_width - 1)
        m.d.comb += next_seed.eq(Mux(load, self.i_first_column, Mux(lane_wrap, 0, seed + 1)))
        with m.If(load | fill):
            m.d.sync += [seed.eq(next_seed), lane_wrap.eq(next_seed == last_column)]

        # Columns of the lanes: with and without a wrap side by side, of which the former is negative where the latter lies in the row.
        tile_wraps = Signal(self.columns)
        step_and_wrap = Signal(signed(len(self.i_width) + 1))
        m.d.sync += step_and_wrap.eq(self.i_tile_columns - self.i_width)
        columns = [Signal.like(self.i_width, name=f"column_{lane}") for lane in range(self.columns)]
        for lane, (column, above) in enumerate(zip(columns, [*columns[1:], seed], strict=True)):
            stays = Signal.like(column, name=f"stays_{lane}")
            wraps = Signal.like(step_and_wrap, name=f"wraps_{lane}")
            m.d.comb += [stays.eq(column + self.i_tile_columns), wraps.eq(column + step_and_wrap)]
            with m.If(fill):
                m.d.sync += column.eq(above)
            with m.Elif(goes_ahead | advance):
                m.d.sync += [column.eq(Mux(wraps < 0, stays, wraps)), tile_wraps[lane].eq(wraps >= 0)]

        walk = self.o_walk
        m.d.comb += [walk.load.eq(load), walk.fill.eq(fill), walk.advance.eq(advance)]
        m.d.comb += [walk.lane_wrap.eq(lane_wrap), walk.tile_wraps.eq(tile_wraps)]
        return m
