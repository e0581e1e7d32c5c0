"""Chunk widener: several chunks of a row to a wider one."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH

__all__ = ["WORDS_WIDTH", "ChunkWidener", "chunk_layout"]

#: Bits of a number of words, all of the largest activation buffer.
WORDS_WIDTH = ACTIVATION_ADDRESS_WIDTH + 1


def chunk_layout(chunk_bytes: int) -> data.StructLayout:
    """Lay out some bytes of a row: the row's address and words, whether they are its last, and the last of all.

    Address and words are those of the whole row and the same in all its chunks; the last chunk may have more bytes than the row.
    """
    return data.StructLayout({
        "data": unsigned(8 * chunk_bytes),
        "address": unsigned(ACTIVATION_ADDRESS_WIDTH),
        "words": unsigned(WORDS_WIDTH),
        "last": 1,
        "final": 1,
    })  # fmt: skip


class ChunkWidener(wiring.Component):
    """Collect chunks of a row until a wider one is full, or the row ends; the bytes behind the end are those of any chunk.

    Latency: none from the chunk that completes a wider one. Throughput: a chunk a cycle, from row to row too. Flow control: streams; a
    chunk that completes none is taken at any time.

    Parameters
    ----------
    chunk_bytes, wide_bytes : int
        Bytes of a chunk at the input and at the output; powers of two.

    Members
    -------
    i_chunk, o_chunk : In and Out, streams
        Rows, in order.
    """

    LATENCY = 0

    def __init__(self, *, chunk_bytes: int, wide_bytes: int):
        if wide_bytes < chunk_bytes:
            raise ValueError(f"wide_bytes must be at least chunk_bytes = {chunk_bytes}, not {wide_bytes}")
        self.chunk_bytes = chunk_bytes
        self.wide_bytes = wide_bytes
        super().__init__({
            "i_chunk": In(stream.Signature(chunk_layout(chunk_bytes))),
            "o_chunk": Out(stream.Signature(chunk_layout(wide_bytes))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        chunk, wide = self.i_chunk, self.o_chunk
        number = self.wide_bytes // self.chunk_bytes
        place = Signal(range(number))
        completes = Signal()
        takes = Signal()
        m.d.comb += completes.eq((place == number - 1) | chunk.payload.last)
        m.d.comb += [wide.valid.eq(chunk.valid & completes), chunk.ready.eq(wide.ready | ~completes)]
        m.d.comb += takes.eq(chunk.valid & chunk.ready)

        held = [Signal(8 * self.chunk_bytes, name=f"held_{index}") for index in range(number - 1)]
        for index, earlier in enumerate(held):
            with m.If(takes & (place == index)):
                m.d.sync += earlier.eq(chunk.payload.data)
        with m.If(takes):
            m.d.sync += place.eq(Mux(completes, 0, place + 1))

        contents = [Mux(place == index, chunk.payload.data, earlier) for index, earlier in enumerate(held)]
        m.d.comb += wide.payload.data.eq(Cat(*contents, chunk.payload.data))
        m.d.comb += [wide.payload[name].eq(chunk.payload[name]) for name in ("address", "words", "last", "final")]
        return m
