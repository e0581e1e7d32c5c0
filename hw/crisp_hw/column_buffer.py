"""Column buffer: windows of activations in a ring, one RAM for each column of the array."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import group_layout, window_word_layout
from .skewed_memory import SkewedMemory

__all__ = ["ColumnBuffer"]


class ColumnBuffer(wiring.Component):
    """Hold the windows of some pixel tiles and feed a group a cycle to the columns, column c skewed by c cycles.

    A window is the K-vector of every pixel of a tile, or what of it the weights meet: word w of lane c is group w of pixel c. Words are
    appended to a ring as they come, window after window and command after command; as many windows are held as fit: two for a long K
    (ping-pong), many for a short one. Words are addressed relative to the first one of the oldest window.

    Latency: `LATENCY` cycles from ``i_word`` to column 0, one of them to find the word's place in the ring. Throughput: one word read and
    one written a cycle.
    Flow control: ``i_window`` waits while the ring is full. The read side has none, but says whether a word has come, so a window may be
    used while it is still arriving. The words of a released window are overwritten only after the last lane has read them.

    Parameters
    ----------
    columns : int
        Columns of the array.
    group_size : int
        M, activations of a group.
    depth : int
        Words of a lane.

    Members
    -------
    i_window : In, stream
        Words of windows. Which is a window's last is known from ``i_window_words``, as words come without a gap.
    i_window_words : In
        Words of the oldest window.
    o_complete : Out
        All of them have come.
    o_arrived : Out
        The one at ``i_word`` has.
    i_release : In
        The oldest window, which is complete, is read for the last time in this cycle.
    i_word : In
        Word of the oldest window, for column 0.
    o_groups : Out, array of ``columns``
        A group for each column, skewed.
    """

    LATENCY = 1 + SkewedMemory.LATENCY

    def __init__(self, *, columns: int, group_size: int, depth: int):
        self.columns = columns
        self.group_size = group_size
        self.depth = depth
        super().__init__({
            "i_window": In(stream.Signature(window_word_layout(columns, group_size))),
            "i_window_words": In(range(depth + 1)),
            "o_complete": Out(1),
            "o_arrived": Out(1),
            "i_release": In(1),
            "i_word": In(range(max(2, depth))),
            "o_groups": Out(data.ArrayLayout(group_layout(group_size), columns)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = SkewedMemory(lanes=self.columns, shape=group_layout(self.group_size), depth=self.depth)

        def place(first: Value, distance: Value) -> Value:
            """Place of the ring that lies ``distance``, at most ``depth``, behind another one."""
            total = first + distance
            return Mux(total >= self.depth, total - self.depth, total)[: len(memory.i_address)]

        # Append a word.
        write_place = Signal.like(memory.i_write_address)
        write = Signal()
        occupied = Signal(range(self.depth + 1))
        m.d.comb += self.i_window.ready.eq(occupied != self.depth)
        m.d.comb += write.eq(self.i_window.valid & self.i_window.ready)
        m.d.comb += [memory.i_write.eq(write), memory.i_write_address.eq(write_place)]
        m.d.comb += memory.i_write_data.eq(self.i_window.payload.data)
        with m.If(write):
            m.d.sync += write_place.eq(place(write_place, 1))

        # What is there: words from the oldest window's first on.
        first_place = Signal.like(memory.i_address)
        arrived = Signal(range(self.depth + 1))
        released = Signal.like(self.i_window_words)
        m.d.comb += released.eq(Mux(self.i_release, self.i_window_words, 0))
        m.d.sync += arrived.eq(arrived + write - released)
        with m.If(self.i_release):
            m.d.sync += first_place.eq(place(first_place, self.i_window_words))
        m.d.comb += self.o_complete.eq(arrived >= self.i_window_words)
        m.d.comb += self.o_arrived.eq(self.i_word < arrived)

        # The last lane reads `columns` cycles after the word was addressed: its place is free after that.
        for _ in range(self.columns):
            delayed = Signal.like(released, name="released")
            m.d.sync += delayed.eq(released)
            released = delayed
        m.d.sync += occupied.eq(occupied + write - released)

        # Read.
        m.d.sync += memory.i_address.eq(place(first_place, self.i_word))
        m.d.comb += self.o_groups.eq(memory.o_data)
        return m
