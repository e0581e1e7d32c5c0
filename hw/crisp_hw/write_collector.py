"""Write collector: chunks of bytes to requests that write as many neighbouring words of the activation buffer as one can."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .chunk_widener import ChunkWidener, chunk_layout
from .layouts import write_request_layout
from .skid_buffer import SkidBuffer

__all__ = ["WriteCollector", "exceeds", "wide_lanes"]


def wide_lanes(columns: int) -> int:
    """Return the lanes that carry neighbouring words between memory and activation buffer: columns, rounded down to a power of two."""
    return 1 << (columns.bit_length() - 1)


def exceeds(number: Value, lanes: int) -> list[Value]:
    """Tell for each of a power of two of lanes whether an unsigned number exceeds the lane's, with one comparison of the high bits."""
    low_bits = (lanes - 1).bit_length()
    is_high = number[low_bits:].any()
    return [is_high | (number[:low_bits] > lane) for lane in range(lanes)]


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
        self.request_layout = data.StructLayout({"write": write_request_layout(columns, group_size, words), "final": 1})
        super().__init__({
            "i_chunk": In(stream.Signature(chunk_layout(chunk_bytes))),
            "o_write": Out(stream.Signature(self.request_layout["write"].shape)),
            "o_final": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        lanes = wide_lanes(self.columns)
        request_bytes = lanes * self.group_size
        wide_bytes = max(self.chunk_bytes, request_bytes)
        parts = wide_bytes // request_bytes

        # Chunks that fill a request, or several.
        m.submodules.widener = widener = ChunkWidener(chunk_bytes=self.chunk_bytes, wide_bytes=wide_bytes)
        wiring.connect(m, wiring.flipped(self.i_chunk), widener.i_chunk)
        chunk = widener.o_chunk.payload

        # Where the request begins, and the words that are left from there on.
        begins_row = Signal(init=1)
        next_address = Signal.like(chunk.address)
        next_left = Signal.like(chunk.words)
        address = Signal.like(chunk.address)
        left = Signal.like(chunk.words)
        left_in_lane = exceeds(left, lanes)
        m.d.comb += address.eq(Mux(begins_row, chunk.address, next_address))
        m.d.comb += left.eq(Mux(begins_row, chunk.words, next_left))

        # The request.
        part = Signal(range(parts))
        ends_chunk = Signal()
        makes = Signal()
        m.d.comb += ends_chunk.eq((part == parts - 1) | (chunk.last & (left <= lanes)))
        m.submodules.requests = requests = SkidBuffer(self.request_layout)
        m.d.comb += [makes.eq(widener.o_chunk.valid & requests.i_data.ready), requests.i_data.valid.eq(widener.o_chunk.valid)]
        m.d.comb += widener.o_chunk.ready.eq(requests.i_data.ready & ends_chunk)
        with m.If(makes):
            m.d.sync += part.eq(Mux(ends_chunk, 0, part + 1))
            m.d.sync += begins_row.eq(chunk.last & ends_chunk)
            m.d.sync += [next_address.eq(address + lanes), next_left.eq(left - lanes)]
        made = requests.i_data.payload
        m.d.comb += made.final.eq(chunk.last & chunk.final & ends_chunk)
        content = chunk.data.word_select(part, 8 * request_bytes)
        for lane in range(lanes):
            m.d.comb += made.write.addresses[lane].eq(address + lane)
            m.d.comb += made.write.enables[lane].eq(left_in_lane[lane])
            m.d.comb += made.write.data[lane].as_value().eq(content.word_select(lane, 8 * self.group_size))

        # It leaves; who takes it, and when, nothing before depends on.
        m.d.comb += [self.o_write.payload.eq(requests.o_data.payload.write), self.o_final.eq(requests.o_data.payload.final)]
        m.d.comb += [self.o_write.valid.eq(requests.o_data.valid), requests.o_data.ready.eq(self.o_write.ready)]
        return m
