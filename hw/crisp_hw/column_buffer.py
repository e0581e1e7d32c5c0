"""Column buffer: windows of activations, one RAM for each column of the array."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import group_layout, window_layout
from .skewed_memory import SkewedMemory

__all__ = ["ColumnBuffer"]


class ColumnBuffer(wiring.Component):
    """Hold the windows of some pixel tiles and feed a group a cycle to the columns, column c skewed by c cycles.

    A window is the K-vector of every pixel of a tile: word g of lane c is group g of pixel c. Windows lie one after the
    other, ``i_windows`` of them in turn: two for a long K (ping-pong), many for a short one, so that a short tile need
    not wait for the slot of the tile before it. A block index is simply an address in the window.

    Latency: `LATENCY` cycles from ``i_address`` to column 0. Throughput: one word read and one written a cycle.
    Flow control: ``i_window`` waits for a free slot while ``i_load`` is high. The read side has none, but says whether a word
    has come: the words of a window come in ascending order, so a window may be used while it is still arriving.

    Parameters
    ----------
    columns : int
        Columns of the array.
    group_size : int
        M, activations of a group.
    depth : int
        Words of a lane.
    slots : int
        Largest number of windows.

    Members
    -------
    i_window : In, stream
        Words of windows: place in the window, data, last word of the window.
    i_load : In
        High while a layer runs; low empties the buffer.
    i_window_words, i_windows : In
        Words from one window to the next, and number of windows that fit.
    o_complete : Out
        The oldest window is complete.
    o_arrived : Out
        It is, or at least its word at ``i_address`` and those before have come.
    i_release : In
        The last word of the oldest window, which is complete, is addressed in this cycle.
    i_address : In
        Address for column 0.
    o_groups : Out, array of ``columns``
        A group for each column, skewed.
    """

    LATENCY = SkewedMemory.LATENCY

    def __init__(self, *, columns: int, group_size: int, depth: int, slots: int):
        self.columns = columns
        self.group_size = group_size
        self.depth = depth
        self.slots = slots
        address_shape = range(depth)
        super().__init__({
            "i_window": In(stream.Signature(window_layout(columns, group_size, len(Signal(address_shape))))),
            "i_load": In(1),
            "i_window_words": In(range(depth + 1)),
            "i_windows": In(range(slots + 1)),
            "o_complete": Out(1),
            "o_arrived": Out(1),
            "i_release": In(1),
            "i_address": In(address_shape),
            "o_groups": Out(data.ArrayLayout(group_layout(group_size), columns)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = SkewedMemory(lanes=self.columns, shape=group_layout(self.group_size), depth=self.depth)

        # Slots: filled ones wait for their last use, occupied ones until the last lane has read them too.
        filled = Signal(range(self.slots + 1))
        occupied = Signal(range(self.slots + 1))
        slot = Signal(range(self.slots))
        base = Signal(range(self.depth))

        # Write a word; the last one of a window hands it over.
        word = self.i_window.payload
        m.d.comb += self.i_window.ready.eq(self.i_load & (occupied != self.i_windows))
        m.d.comb += memory.i_write.eq(self.i_window.valid & self.i_window.ready)
        m.d.comb += memory.i_write_address.eq(base + word.address)
        m.d.comb += memory.i_write_data.eq(word.data)
        complete = Signal()
        m.d.comb += complete.eq(memory.i_write & word.last)

        # The last lane reads `columns - 1` cycles after the first: release that much later.
        release = self.i_release
        for _ in range(self.columns - 1):
            delayed = Signal(name="release")
            m.d.sync += delayed.eq(release & self.i_load)
            release = delayed

        m.d.sync += filled.eq(filled + complete - self.i_release)
        m.d.sync += occupied.eq(occupied + complete - release)
        with m.If(complete):
            with m.If(slot == self.i_windows - 1):
                m.d.sync += slot.eq(0)
                m.d.sync += base.eq(0)
            with m.Else():
                m.d.sync += slot.eq(slot + 1)
                m.d.sync += base.eq(base + self.i_window_words)
        with m.If(~self.i_load):
            m.d.sync += [filled.eq(0), occupied.eq(0), slot.eq(0), base.eq(0)]

        # How far the window that is arriving has come; it is the oldest when no complete one is left.
        arriving = Signal()
        arrived_address = Signal.like(self.i_address)
        with m.If(memory.i_write):
            m.d.sync += arriving.eq(~word.last)
            m.d.sync += arrived_address.eq(memory.i_write_address)
        with m.Elif(~self.i_load):
            m.d.sync += arriving.eq(0)
        m.d.comb += self.o_complete.eq(filled != 0)
        m.d.comb += self.o_arrived.eq(self.o_complete | (arriving & (self.i_address <= arrived_address)))

        # Read.
        m.d.comb += memory.i_address.eq(self.i_address)
        m.d.comb += self.o_groups.eq(memory.o_data)
        return m
