"""Activation table: any function of int8, looked up. The golden model is in ``crisp.golden.vector_unit``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .layouts import write_port_layout

__all__ = ["ActivationTable"]

#: Values of int8.
DEPTH = 256


class ActivationTable(wiring.Component):
    """Replace values by what the table holds for them: value v by entry ``v + 128``. Every value has its own copy of the table.

    Latency: `LATENCY` cycles. Throughput: ``num_values`` values a cycle. Flow control: none. An entry that is written
    holds for values from the next cycle on.

    Parameters
    ----------
    num_values : int
        Values at a time.

    Members
    -------
    i_write : In
        Entry to write, into all copies.
    i_enable : In
        Look values up; else they pass unchanged, as late. Constant while values are under way.
    i_values : In, array of ``num_values`` signed 8
        Values.
    o_values : Out, array of ``num_values`` signed 8
        What became of them.
    """

    LATENCY = 2

    def __init__(self, *, num_values: int):
        self.num_values = num_values
        values = data.ArrayLayout(signed(8), num_values)
        super().__init__({
            "i_write": In(write_port_layout(signed(8), DEPTH)),
            "i_enable": In(1),
            "i_values": In(values),
            "o_values": Out(values),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        for number in range(self.num_values):
            m.submodules[f"table_{number}"] = memory = Memory(shape=unsigned(8), depth=DEPTH, init=[])
            write = memory.write_port()
            m.d.comb += [write.en.eq(self.i_write.enable), write.addr.eq(self.i_write.address), write.data.eq(self.i_write.data)]

            # To add 128 is to flip the sign.
            value = self.i_values[number]
            read = memory.read_port()
            m.d.comb += read.addr.eq(Cat(value[:7], ~value[7]))
            passed = Signal(8, name=f"passed_{number}")
            m.d.sync += passed.eq(value)
            m.d.sync += self.o_values[number].eq(Mux(self.i_enable, read.data, passed))
        return m
