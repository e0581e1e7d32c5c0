"""Stream register: parts the paths of both sides of a stream that need not be fast."""

from amaranth import Module
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamRegister"]


class StreamRegister(wiring.Component):
    """Hold one payload: neither data nor ready pass through within a cycle.

    Latency: one cycle. Throughput: one transfer every two cycles. Flow control: streams.

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
        super().__init__({"i_data": In(stream.Signature(shape)), "o_data": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i_data.ready.eq(~self.o_data.valid)
        with m.If(~self.o_data.valid):
            m.d.sync += [self.o_data.valid.eq(self.i_data.valid), self.o_data.payload.eq(self.i_data.payload)]
        with m.Elif(self.o_data.ready):
            m.d.sync += self.o_data.valid.eq(0)
        return m
