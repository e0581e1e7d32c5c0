"""Max pool: the largest of the words of each window, byte by byte. The golden model is ``crisp.golden.max_pool``."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import slot_layout, window_word_layout

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """Reduce windows to slots: ``slot[lane][byte] = max(word[lane][byte] for word in window)``, signed. One word is copied.

    Latency: one cycle from a window's last word to its slot. Throughput: a word a cycle.
    Flow control: streams; words wait while a slot does.

    Parameters
    ----------
    columns : int
        Lanes.
    group_size : int
        M, bytes of a word.

    Members
    -------
    i_word : In, stream
        Words of windows.
    o_slot : Out, stream
        A slot a window.
    """

    LATENCY = 1

    def __init__(self, *, columns: int, group_size: int):
        self.columns = columns
        self.group_size = group_size
        super().__init__({
            "i_word": In(stream.Signature(window_word_layout(columns, group_size))),
            "o_slot": Out(stream.Signature(slot_layout(columns, group_size))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        word = self.i_word.payload
        slot = self.o_slot.payload
        m.d.comb += self.i_word.ready.eq(~self.o_slot.valid | self.o_slot.ready)
        is_first = Signal(init=1)
        with m.If(self.i_word.ready):
            m.d.sync += self.o_slot.valid.eq(self.i_word.valid & word.last)
        with m.If(self.i_word.valid & self.i_word.ready):
            m.d.sync += is_first.eq(word.last)
            for lane in range(self.columns):
                for largest, byte in zip(slot[lane], word.data[lane], strict=True):
                    m.d.sync += largest.eq(Mux(is_first | (byte > largest), byte, largest))
        return m
