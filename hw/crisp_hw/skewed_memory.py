"""Skewed memory: one RAM a lane, read by an address that travels from lane to lane."""

from amaranth import Module, Signal
from amaranth.hdl import ShapeCastable
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["SkewedMemory"]


class SkewedMemory(wiring.Component):
    """Deliver operands skewed as a systolic array wants them, by delaying the address instead of the data.

    Lane l answers an address l cycles after lane 0 does. All lanes are written at once, at one address.

    Latency: `LATENCY` cycles from address to data in lane 0, one of them a register behind the RAM, which block RAMs
    need to be fast. Throughput: one read and one write a cycle. Flow control: none; the array never stalls.

    Parameters
    ----------
    lanes : int
        RAMs.
    shape : ShapeLike
        Word of a lane.
    depth : int
        Words of a lane.

    Members
    -------
    i_write, i_write_address, i_write_data : In
        Write one word in every lane.
    i_address : In
        Address for lane 0.
    o_data : Out, array of ``lanes``
        A word a lane, lane l skewed by l cycles.
    """

    LATENCY = 2

    def __init__(self, *, lanes: int, shape: ShapeCastable, depth: int):
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes}")
        self.lanes = lanes
        self.shape = shape
        self.depth = depth
        address_shape = range(max(2, depth))
        super().__init__({
            "i_write": In(1),
            "i_write_address": In(address_shape),
            "i_write_data": In(data.ArrayLayout(shape, lanes)),
            "i_address": In(address_shape),
            "o_data": Out(data.ArrayLayout(shape, lanes)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        address = self.i_address
        for lane in range(self.lanes):
            m.submodules[f"lane_{lane}"] = memory = Memory(shape=self.shape, depth=self.depth, init=[])
            write = memory.write_port()
            m.d.comb += write.en.eq(self.i_write)
            m.d.comb += write.addr.eq(self.i_write_address)
            m.d.comb += write.data.eq(self.i_write_data[lane])
            read = memory.read_port()
            m.d.comb += read.addr.eq(address)
            m.d.sync += self.o_data[lane].eq(read.data)

            if lane + 1 < self.lanes:
                delayed = Signal.like(self.i_address, name=f"address_{lane + 1}")
                m.d.sync += delayed.eq(address)
                address = delayed
        return m
