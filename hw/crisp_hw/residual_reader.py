"""Residual reader: fetches what is added to a command's results, ahead of them. The golden model is in ``crisp.golden.vector_unit``."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE

from .layouts import read_request_layout, read_response_signature, slot_layout, word_layout
from .slot_addresses import SlotAddresses

__all__ = ["ResidualReader"]


class ResidualReader(wiring.Component):
    """Read the residual of every slot of a command, in their order, as far ahead as there is room for.

    No residual depends on a result of its command, but for the one that takes its very place, so to read ahead is safe. It may well depend
    on a command before, whose results must be in the buffer at ``i_start``.

    Latency: ``columns + SlotAddresses.LATENCY`` cycles from ``i_start`` to the first request, then that of the buffer, and one.
    Throughput: a slot a cycle, if the buffer answers within ``depth - 2`` cycles. Flow control: streams; a request is
    made only if there is room for what it brings, since the response has no backpressure.

    Parameters
    ----------
    columns, group_size : int
        Size of the array, and of a word.
    tile_words : int
        Words of a pixel in a row tile of a product.
    words : int
        Words of the activation buffer.
    depth : int
        Slots that may be requested and not yet taken.

    Members
    -------
    i_command : In
        The `EXECUTE`; constant from ``i_start`` on until its last slot was taken.
    i_start : In
        Begin; not while a command is under way.
    o_request : Out, stream
        To the activation buffer.
    i_response : In
        Its answers, in the order of requests.
    o_slots : Out, stream
        Residual of each slot; of lanes and words that do not exist, 0.
    """

    def __init__(self, *, columns: int, group_size: int, tile_words: int, words: int, depth: int):
        self.addresses = SlotAddresses(tensor="residual", columns=columns, tile_words=tile_words, words=words)
        self.depth = depth
        self.slot_layout = slot_layout(columns, group_size)
        super().__init__({
            "i_command": In(word_layout(EXECUTE)),
            "i_start": In(1),
            "o_request": Out(stream.Signature(read_request_layout(columns, words))),
            "i_response": In(read_response_signature(columns, group_size)),
            "o_slots": Out(stream.Signature(self.slot_layout)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.addresses = addresses = self.addresses
        m.d.comb += [addresses.i_command.eq(self.i_command), addresses.i_start.eq(self.i_start)]

        # Requests, as long as there is room.
        reserved = Signal(range(self.depth + 1))
        has_room = reserved != self.depth
        slots = addresses.o_slots
        m.d.comb += self.o_request.valid.eq(slots.valid & has_room)
        m.d.comb += slots.ready.eq(self.o_request.ready & has_room)
        m.d.comb += self.o_request.payload.eq(slots.payload.request)
        requested = self.o_request.valid & self.o_request.ready
        taken = self.o_slots.valid & self.o_slots.ready
        m.d.sync += reserved.eq(reserved + requested - taken)

        # Answers.
        m.submodules.queue = queue = SyncFIFO(width=self.slot_layout.size, depth=self.depth)
        m.d.comb += [queue.w_en.eq(self.i_response.valid), queue.w_data.eq(self.i_response.payload)]
        m.d.comb += [self.o_slots.valid.eq(queue.r_rdy), self.o_slots.payload.eq(queue.r_data), queue.r_en.eq(self.o_slots.ready)]
        return m
