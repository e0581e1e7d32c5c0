"""Vector unit: adds residuals to results and looks them up in a table. The golden model is ``crisp.golden.vector_unit``."""

import itertools

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .activation_table import ActivationTable
from .layouts import slot_layout
from .residual_add import ResidualAdd, scales_layout

__all__ = ["VectorUnit"]

#: Scales under which results stay what they are.
IDENTITY = {"result_multiplier": 1, "sum_clamp_min": -128, "sum_clamp_max": 127}


class VectorUnit(wiring.Component):
    """Finish slots of results: ``v = residual ? add(v, r) : v``, then ``v = table ? table[v + 128] : v``, byte by byte.

    A slot is worked on in ``group_size / num_bytes`` cycles, ``num_bytes`` bytes of all lanes at a time.

    Latency: `LATENCY` cycles from the last bytes of a slot to the output. Throughput: a slot in ``group_size / num_bytes`` cycles.
    Flow control: streams. A slot is begun only if there is room for it behind the pipeline, which therefore never stands still.

    Parameters
    ----------
    columns, group_size : int
        Lanes, and bytes of a slot in each.
    num_bytes : int
        Bytes of a lane at a time; divides ``group_size``.

    Members
    -------
    i_enable : In
        Slots may be taken. What follows must be constant from the cycle before it rises until the last slot has left.
    i_residual : In
        Add residuals.
    i_scales : In
        How.
    i_table : In
        Look up.
    i_slots : In, stream
        Results.
    i_residuals : In, stream
        As many residuals, where they are added.
    i_write : In
        Entry of the table to write.
    o_slots : Out, stream
        What the results became.
    """

    #: Cycles from a part that is taken to what it became.
    PIPELINE = 1 + ResidualAdd.LATENCY + ActivationTable.LATENCY
    #: And one in the queue.
    LATENCY = PIPELINE + 1

    def __init__(self, *, columns: int, group_size: int, num_bytes: int):
        if group_size % num_bytes:
            raise ValueError(f"num_bytes must divide group_size = {group_size}, not {num_bytes}")
        self.columns = columns
        self.num_bytes = num_bytes
        self.slot_cycles = group_size // num_bytes
        self.slot_layout = slot_layout(columns, group_size)
        self.table = ActivationTable(num_values=columns * num_bytes)
        # As many as are under way at full speed, and one that waits.
        self.depth = -(-self.LATENCY // self.slot_cycles) + 2
        super().__init__({
            "i_enable": In(1),
            "i_residual": In(1),
            "i_scales": In(scales_layout()),
            "i_table": In(1),
            "i_slots": In(stream.Signature(self.slot_layout)),
            "i_residuals": In(stream.Signature(self.slot_layout)),
            "i_write": In(self.table.i_write.shape()),
            "o_slots": Out(stream.Signature(self.slot_layout)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        part_layout = data.ArrayLayout(signed(8), self.num_bytes)

        # Take a slot part by part, with its residual.
        phase = Signal(range(self.slot_cycles))
        is_last = phase == self.slot_cycles - 1
        reserved = Signal(range(self.depth + 1))
        takes = Signal()
        ends = Signal()
        m.d.comb += takes.eq(self.i_enable & self.i_slots.valid & (self.i_residuals.valid | ~self.i_residual) & (reserved != self.depth))
        m.d.comb += [ends.eq(takes & is_last), self.i_slots.ready.eq(ends), self.i_residuals.ready.eq(ends & self.i_residual)]
        with m.If(takes):
            m.d.sync += phase.eq(Mux(is_last, 0, phase + 1))
        leaves = self.o_slots.valid & self.o_slots.ready
        m.d.sync += reserved.eq(reserved + ends - leaves)

        # Add. Without a residual, results times one are results.
        scales = Signal(scales_layout())
        m.d.sync += scales.eq(Mux(self.i_residual, self.i_scales, scales_layout().const(IDENTITY)))
        table = m.submodules.table = self.table
        for lane in range(self.columns):
            m.submodules[f"residual_add_{lane}"] = add = ResidualAdd(num_bytes=self.num_bytes)
            for port, source in ((add.i_values, self.i_slots.payload[lane]), (add.i_residuals, self.i_residuals.payload[lane])):
                part = Signal.like(port)
                m.d.sync += part.as_value().eq(source.as_value().word_select(phase, part_layout.size))
                m.d.comb += port.eq(part)
            m.d.comb += add.i_scales.eq(scales)
            for number in range(self.num_bytes):
                m.d.comb += table.i_values[lane * self.num_bytes + number].eq(add.o_values[number])

        # Look up.
        m.d.comb += [table.i_write.eq(self.i_write), table.i_enable.eq(self.i_table)]

        # Put the parts together again.
        arrives = Signal(self.PIPELINE)
        completes = Signal.like(arrives)
        m.d.sync += [arrives.eq(Cat(takes, arrives)), completes.eq(Cat(ends, completes))]
        m.submodules.queue = queue = SyncFIFO(width=self.slot_layout.size, depth=self.depth)
        finished = Signal(self.slot_layout)
        for lane in range(self.columns):
            newest = Cat(table.o_values[lane * self.num_bytes + number] for number in range(self.num_bytes))
            parts = [Signal(part_layout.size, name=f"part_{lane}_{number}") for number in range(self.slot_cycles - 1)] + [newest]
            with m.If(arrives[-1]):
                m.d.sync += [older.eq(newer) for older, newer in itertools.pairwise(parts)]
            m.d.comb += finished[lane].eq(Cat(parts))
        m.d.comb += [queue.w_en.eq(completes[-1]), queue.w_data.eq(finished)]
        m.d.comb += [self.o_slots.valid.eq(queue.r_rdy), self.o_slots.payload.eq(queue.r_data), queue.r_en.eq(self.o_slots.ready)]
        return m
