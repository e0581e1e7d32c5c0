"""Write collector: chunks of bytes to requests that write as many neighbouring words of the activation buffer as one can."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH

from .layouts import write_request_layout

__all__ = ["WORDS_WIDTH", "WriteCollector", "chunk_layout", "wide_lanes"]

#: Bits of a number of words, all of the largest activation buffer.
WORDS_WIDTH = ACTIVATION_ADDRESS_WIDTH + 1


def wide_lanes(columns: int) -> int:
    """Return the lanes that carry neighbouring words between memory and activation buffer: columns, rounded down to a power of two."""
    return 1 << (columns.bit_length() - 1)


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


class WriteCollector(wiring.Component):
    """Collect the words of a row until a request is full, and write them.

    A request carries a power of two of words, so that it is a whole number of chunks or part of one. The last of a row carries what
    is left.

    Latency: one cycle from the chunk that completes a request. Throughput: a chunk or a request a cycle, whichever is the larger, from
    row to row too. Flow control: streams.

    Parameters
    ----------
    chunk_bytes : int
        Bytes of a chunk, a power of two.
    columns : int
        Lanes of the activation buffer.
    group_size : int
        M, bytes of a word.
    words : int
        Words of the activation buffer.

    Members
    -------
    i_chunk : In, stream
        The bytes of rows, from the first word on.
    o_write : Out, stream
        Requests.
    o_final : Out
        The request at the output is the last of all.
    """

    LATENCY = 1

    def __init__(self, *, chunk_bytes: int, columns: int, group_size: int, words: int):
        self.chunk_bytes = chunk_bytes
        self.columns = columns
        self.group_size = group_size
        self.words = words
        super().__init__({
            "i_chunk": In(stream.Signature(chunk_layout(chunk_bytes))),
            "o_write": Out(stream.Signature(write_request_layout(columns, group_size, words))),
            "o_final": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        chunk, write = self.i_chunk.payload, self.o_write.payload
        lanes = wide_lanes(self.columns)
        request_bytes = lanes * self.group_size

        # Where the request begins, and the words that are left from there on.
        begins_row = Signal(init=1)
        next_address = Signal(ACTIVATION_ADDRESS_WIDTH)
        next_left = Signal(WORDS_WIDTH)
        address = Signal.like(next_address)
        left = Signal.like(next_left)
        m.d.comb += address.eq(Mux(begins_row, chunk.address, next_address))
        m.d.comb += left.eq(Mux(begins_row, chunk.words, next_left))

        # The bytes of the request: those collected with the chunk at hand behind them, or a part of that chunk.
        content = Signal(8 * request_bytes)
        completes = Signal()  # the chunk at hand makes a request
        empties = Signal()  # and nothing of it is left then
        free = Signal()
        takes = Signal()
        m.d.comb += free.eq(~self.o_write.valid | self.o_write.ready)
        number = max(1, request_bytes // self.chunk_bytes)
        parts = max(1, self.chunk_bytes // request_bytes)
        place = Signal(range(number))
        part = Signal(range(parts))
        collected = [Signal(8 * self.chunk_bytes, name=f"collected_{index}") for index in range(number - 1)]
        if parts == 1:
            m.d.comb += content.eq(Cat(*(Mux(place == index, chunk.data, held) for index, held in enumerate(collected)), chunk.data))
            m.d.comb += [completes.eq((place == number - 1) | chunk.last), empties.eq(1)]
        else:
            m.d.comb += content.eq(chunk.data.word_select(part, 8 * request_bytes))
            m.d.comb += [completes.eq(1), empties.eq((part == parts - 1) | (chunk.last & (left <= lanes)))]
        m.d.comb += takes.eq(self.i_chunk.valid & (free | ~completes))
        m.d.comb += self.i_chunk.ready.eq((free | ~completes) & empties)
        for index, held in enumerate(collected):
            with m.If(takes & (place == index)):
                m.d.sync += held.eq(chunk.data)
        with m.If(takes):
            m.d.sync += [place.eq(Mux(completes, 0, place + 1)), part.eq(Mux(empties, 0, part + 1))]

        # The request.
        with m.If(free):
            m.d.sync += self.o_write.valid.eq(0)
        with m.If(takes & completes):
            m.d.sync += begins_row.eq(chunk.last & empties)
            m.d.sync += [next_address.eq(address + lanes), next_left.eq(left - lanes)]
            m.d.sync += self.o_write.valid.eq(1)
            m.d.sync += self.o_final.eq(chunk.last & chunk.final & empties)
            for lane in range(lanes):
                m.d.sync += write.addresses[lane].eq(address + lane)
                m.d.sync += write.enables[lane].eq(left > lane)
                m.d.sync += write.data[lane].as_value().eq(content.word_select(lane, 8 * self.group_size))
        return m
