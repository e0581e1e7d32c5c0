"""Lane coordinate: the row or column of the input where each lane of a pixel walk stands; golden is ``crisp.golden.pixel_walk``."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .layouts import walk_layout

__all__ = ["COORDINATE", "LaneCoordinate"]

#: Shape of a coordinate: that of ``first_y`` and ``first_x``, and one bit for lanes that have walked out of the image.
COORDINATE = signed(16)


class LaneCoordinate(wiring.Component):
    """Keep a coordinate of each lane: ``value' = value + step + wrap * wrap_step``, per pixel and per tile, modulo 2^16.

    Latency: a lane has gone in the cycle after ``i_walk`` says so; steps take `PixelWalk.SETTLING` cycles from the inputs.
    Throughput: a tile a cycle. Flow control: that of the walk.

    Parameters
    ----------
    columns : int
        Lanes.

    Members
    -------
    i_walk : In
        What to do, from `PixelWalk`.
    i_first : In
        Coordinate of the first pixel.
    i_lane_step, i_tile_step, i_wrap_step : In
        What a pixel, a tile, and a wrap add.
    o_values : Out, array of ``columns``
        Coordinate of each lane.
    """

    def __init__(self, *, columns: int):
        self.columns = columns
        super().__init__({
            "i_walk": In(walk_layout(columns)),
            "i_first": In(COORDINATE),
            "i_lane_step": In(COORDINATE),
            "i_tile_step": In(COORDINATE),
            "i_wrap_step": In(COORDINATE),
            "o_values": Out(data.ArrayLayout(COORDINATE, columns)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        walk = self.i_walk
        lane_wrap_step = Signal(COORDINATE)
        tile_wrap_step = Signal(COORDINATE)
        m.d.sync += lane_wrap_step.eq(self.i_lane_step + self.i_wrap_step)
        m.d.sync += tile_wrap_step.eq(self.i_tile_step + self.i_wrap_step)

        # The seed goes from pixel to pixel, and the lanes from tile to tile.
        seed = Signal(COORDINATE)
        with m.If(walk.load):
            m.d.sync += seed.eq(self.i_first)
        with m.Elif(walk.fill):
            m.d.sync += seed.eq(seed + Mux(walk.lane_wrap, lane_wrap_step, self.i_lane_step))
        for lane in range(self.columns):
            value = self.o_values[lane]
            with m.If(walk.fill):
                m.d.sync += value.eq(self.o_values[lane + 1] if lane + 1 < self.columns else seed)
            with m.Elif(walk.advance):
                m.d.sync += value.eq(value + Mux(walk.tile_wraps[lane], tile_wrap_step, self.i_tile_step))
        return m
