"""Skid buffer: parts the paths of both sides of a stream that must be fast."""

from amaranth import Module, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer"]


class SkidBuffer(wiring.Component):
    """Hold up to two payloads: neither data nor ready pass through within a cycle.

    Latency: one cycle. Throughput: one transfer a cycle. Flow control: streams.

    Parameters
    ----------
    shape : shape-castable
        Of the payload.

    Members
    -------
    i_data, o_data : stream
        Both sides.
    """

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__({"i_data": In(stream.Signature(shape)), "o_data": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        source, target = self.i_data, self.o_data

        # What came while the output was held waits beside it.
        beside = Signal(self.shape)
        has_beside = Signal()
        moves = ~target.valid | target.ready
        m.d.comb += source.ready.eq(~has_beside)
        with m.If(source.ready):
            m.d.sync += beside.eq(source.payload)
        with m.If(moves):
            m.d.sync += [target.valid.eq(has_beside | source.valid), has_beside.eq(0)]
            with m.If(has_beside):
                m.d.sync += target.payload.eq(beside)
            with m.Else():
                m.d.sync += target.payload.eq(source.payload)
        with m.Elif(source.valid):
            m.d.sync += has_beside.eq(1)
        return m
