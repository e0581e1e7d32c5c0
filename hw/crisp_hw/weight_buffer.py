"""Weight buffer: the packed steps of a layer, one RAM for each row of the array."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import step_layout, weight_layout
from .skewed_memory import SkewedMemory

__all__ = ["WeightBuffer"]


class WeightBuffer(wiring.Component):
    """Hold packed weights and feed a step a cycle to the rows, row r skewed by r cycles.

    Latency: `LATENCY` cycles from ``i_issue`` to row 0. Throughput: one step a cycle.
    Flow control: ``i_step`` fills the buffer from address 0 while ``i_load`` is high and stalls when it is full; the
    read side has none: without ``i_issue`` rows receive bubbles, which are value 0.

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
    i_step : In, stream
        Steps in the order of the packed form.
    i_load : In
        High while steps may be taken; low takes the next step to address 0 again.
    i_issue : In
        Read the step at ``i_address``.
    i_last : In
        That step is its tile's last.
    i_address : In
        Address of a step.
    o_weights : Out, array of ``rows``
        A weight for each row, skewed.
    """

    LATENCY = SkewedMemory.LATENCY

    def __init__(self, *, rows: int, group_size: int, depth: int):
        self.rows = rows
        self.group_size = group_size
        self.depth = depth
        super().__init__({
            "i_step": In(stream.Signature(step_layout(rows, group_size))),
            "i_load": In(1),
            "i_issue": In(1),
            "i_last": In(1),
            "i_address": In(range(depth)),
            "o_weights": Out(data.ArrayLayout(weight_layout(group_size), rows)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        row_shape = data.StructLayout({
            "value": weight_layout(self.group_size)["value"].shape,
            "offset": weight_layout(self.group_size)["offset"].shape,
        })  # fmt: skip
        m.submodules.memory = memory = SkewedMemory(lanes=self.rows, shape=row_shape, depth=self.depth)

        # Load.
        pointer = Signal(range(self.depth + 1))
        m.d.comb += self.i_step.ready.eq(self.i_load & (pointer != self.depth))
        m.d.comb += memory.i_write.eq(self.i_step.valid & self.i_step.ready)
        m.d.comb += memory.i_write_address.eq(pointer)
        for row in range(self.rows):
            m.d.comb += memory.i_write_data[row].value.eq(self.i_step.payload.values[row])
            m.d.comb += memory.i_write_data[row].offset.eq(self.i_step.payload.offsets[row])
        with m.If(~self.i_load):
            m.d.sync += pointer.eq(0)
        with m.Elif(memory.i_write):
            m.d.sync += pointer.eq(pointer + 1)

        # Read; the flags travel beside the address, and a row without a step gets value 0.
        m.d.comb += memory.i_address.eq(self.i_address)
        issued = Signal(self.rows + self.LATENCY)
        last = Signal(self.rows + self.LATENCY)
        m.d.sync += issued.eq(Cat(self.i_issue, issued))
        m.d.sync += last.eq(Cat(self.i_issue & self.i_last, last))
        for row in range(self.rows):
            arrived = row + self.LATENCY - 1
            with m.If(issued[arrived]):
                m.d.comb += self.o_weights[row].value.eq(memory.o_data[row].value)
            m.d.comb += self.o_weights[row].offset.eq(memory.o_data[row].offset)
            m.d.comb += self.o_weights[row].last.eq(last[arrived])
        return m
