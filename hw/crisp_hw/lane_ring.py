"""Lane ring: where in a ring of places each lane of a pixel walk stands. The golden model is ``crisp.golden.pixel_walk.places``."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH

from .layouts import walk_layout

__all__ = ["PLACE", "LaneRing", "go_on", "ring_step_layout"]

#: Shape of a place in a ring, and of the ring's size.
PLACE = unsigned(ACTIVATION_ADDRESS_WIDTH)


def ring_step_layout() -> data.StructLayout:
    """Lay out a step in a ring: places, and places less the ring, so that `go_on` need not subtract after it has added."""
    return data.StructLayout({"step": ACTIVATION_ADDRESS_WIDTH, "less_ring": signed(ACTIVATION_ADDRESS_WIDTH + 1)})


def go_on(place: Value, step: data.View) -> Value:
    """Return ``(place + step) mod ring``, where ``place < ring`` and ``0 <= step <= ring``."""
    around = place + step.less_ring
    return Mux(around < 0, place + step.step, around)[: len(place)]


class LaneRing(wiring.Component):
    """Keep the place of each lane in a ring: ``place' = (place + step + wrap * wrap_step) mod ring``, per pixel and per tile.

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
        Place of the first pixel.
    i_lane_step, i_tile_step : In
        Places from a pixel to the next, and from a tile to the next; at most ``i_ring``, as their sums with ``i_wrap_step`` must be
        less than twice as much.
    i_wrap_step : In
        Places that a wrap adds, less than ``i_ring``.
    i_ring : In
        Places of the ring.
    o_places : Out, array of ``columns``
        Place of each lane.
    """

    def __init__(self, *, columns: int):
        self.columns = columns
        super().__init__({
            "i_walk": In(walk_layout(columns)),
            "i_first": In(PLACE),
            "i_lane_step": In(PLACE),
            "i_tile_step": In(PLACE),
            "i_wrap_step": In(PLACE),
            "i_ring": In(PLACE),
            "o_places": Out(data.ArrayLayout(PLACE, columns)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        walk = self.i_walk

        # Steps without a wrap and with one.
        steps = {}
        for name, step in (("lane", self.i_lane_step), ("tile", self.i_tile_step)):
            wrap_step = Signal(PLACE, name=f"{name}_wrap_step")
            total = step + self.i_wrap_step
            m.d.sync += wrap_step.eq(Mux(total < self.i_ring, total, total - self.i_ring))
            steps[name] = Signal(ring_step_layout(), name=f"{name}_steps_0"), Signal(ring_step_layout(), name=f"{name}_steps_1")
            for pair, places in zip(steps[name], (step, wrap_step), strict=True):
                m.d.sync += [pair.step.eq(places), pair.less_ring.eq(places - self.i_ring)]

        # The seed goes from pixel to pixel, and the lanes from tile to tile.
        seed = Signal(PLACE)
        with m.If(walk.load):
            m.d.sync += seed.eq(self.i_first)
        with m.Elif(walk.fill):
            m.d.sync += seed.eq(go_on(seed, choose(walk.lane_wrap, steps["lane"])))
        for lane in range(self.columns):
            place = self.o_places[lane]
            with m.If(walk.fill):
                m.d.sync += place.eq(self.o_places[lane + 1] if lane + 1 < self.columns else seed)
            with m.Elif(walk.advance):
                m.d.sync += place.eq(go_on(place, choose(walk.tile_wraps[lane], steps["tile"])))
        return m


def choose(wraps: Value, steps: tuple[data.View, data.View]) -> data.View:
    """Return the step without a wrap, or with one."""
    return data.View(ring_step_layout(), Mux(wraps, steps[1].as_value(), steps[0].as_value()))
