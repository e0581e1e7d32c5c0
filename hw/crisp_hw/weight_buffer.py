"""Weight buffer: packed steps, one RAM for each row of the array."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE

from .layouts import step_layout, weight_layout, word_layout, write_port_layout
from .skewed_memory import SkewedMemory

__all__ = ["WeightBuffer"]


class WeightBuffer(wiring.Component):
    """Hold packed weights and feed a step a cycle to the rows, row r skewed by r cycles.

    A step is read at ``i_base + i_step``: the weights of several layers lie one after the other.

    Latency: `LATENCY` cycles from ``i_issue`` to row 0, one of them for the sum. Throughput: one step read and one written a cycle.
    Flow control: none. Without ``i_issue`` rows receive bubbles, which are value 0. Whoever writes knows that the place is free.

    Parameters
    ----------
    rows : int
        Rows of the array.
    group_size : int
        M, activations of a group.
    depth : int
        Steps.

    Members
    -------
    i_write : In, write port
        A step to be held.
    i_issue : In
        Read a step.
    i_last : In
        That step is its tile's last.
    i_base, i_step : In
        Where its command's steps begin, and which of them it is.
    o_weights : Out, array of ``rows``
        A weight for each row, skewed.
    o_error : Out
        That step lies beyond the end of the buffer.
    """

    LATENCY = 1 + SkewedMemory.LATENCY

    def __init__(self, *, rows: int, group_size: int, depth: int):
        self.rows = rows
        self.group_size = group_size
        self.depth = depth
        super().__init__({
            "i_write": In(write_port_layout(step_layout(rows, group_size), depth)),
            "i_issue": In(1),
            "i_last": In(1),
            "i_base": In(word_layout(EXECUTE)["step_base"].shape),
            "i_step": In(range(depth + 1)),
            "o_weights": Out(data.ArrayLayout(weight_layout(group_size), rows)),
            "o_error": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        row_shape = data.StructLayout({
            "value": weight_layout(self.group_size)["value"].shape,
            "offset": weight_layout(self.group_size)["offset"].shape,
        })  # fmt: skip
        m.submodules.memory = memory = SkewedMemory(lanes=self.rows, shape=row_shape, depth=self.depth)

        # Write.
        m.d.comb += [memory.i_write.eq(self.i_write.enable), memory.i_write_address.eq(self.i_write.address)]
        for row in range(self.rows):
            m.d.comb += memory.i_write_data[row].value.eq(self.i_write.data.values[row])
            m.d.comb += memory.i_write_data[row].offset.eq(self.i_write.data.offsets[row])

        # Read; the flags travel beside the address, and a row without a step gets value 0.
        place = self.i_base + self.i_step
        address = Signal.like(memory.i_address)
        issued = Signal(self.rows + self.LATENCY)
        last = Signal(self.rows + self.LATENCY)
        m.d.sync += address.eq(place)
        m.d.sync += issued.eq(Cat(self.i_issue, issued))
        m.d.sync += last.eq(Cat(self.i_issue & self.i_last, last))
        m.d.comb += memory.i_address.eq(address)
        m.d.comb += self.o_error.eq(self.i_issue & (place >= self.depth))
        for row in range(self.rows):
            arrived = row + self.LATENCY - 1
            with m.If(issued[arrived]):
                m.d.comb += self.o_weights[row].value.eq(memory.o_data[row].value)
            m.d.comb += self.o_weights[row].offset.eq(memory.o_data[row].offset)
            m.d.comb += self.o_weights[row].last.eq(last[arrived])
        return m
