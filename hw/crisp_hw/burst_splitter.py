"""Burst splitter: transfers of any length to bursts of the memory bus."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import ADDRESS_WIDTH, PAGE_BYTES, transfer_layout

__all__ = ["BurstSplitter", "burst_layout"]


def burst_layout(beat_bytes: int) -> data.StructLayout:
    """Lay out a burst: where it begins, beats less one, whether it ends its transfer, and how many bytes the last beat then has.

    ``tail_bytes`` is 0 where the last beat is whole, and says nothing where the burst does not end the transfer.
    """
    return data.StructLayout({
        "address": unsigned(ADDRESS_WIDTH),
        "beats_minus_1": unsigned(8),
        "last": 1,
        "tail_bytes": range(beat_bytes),
    })  # fmt: skip


class BurstSplitter(wiring.Component):
    """Cut transfers into bursts that end at multiples of the longest burst, and so within a page of 4 KiB.

    Only the first burst of a transfer can begin elsewhere, so all others are aligned; a transfer that is not may take one burst more.

    Latency: one cycle. Throughput: one burst a cycle, from transfer to transfer too. Flow control: streams.

    Parameters
    ----------
    beat_bytes : int
        Bytes of a beat.
    max_burst : int
        Beats of the longest burst; a power of two, at most 256, and at most a page.
    bytes_width : int
        Bits of a transfer's length.

    Members
    -------
    i_transfer : In, stream
        Addresses are multiples of the beat; other bits of them are not looked at.
    o_burst : Out, stream
        Bursts in order.

    Raises
    ------
    ValueError
        When the longest burst is none that the standard has.
    """

    LATENCY = 1

    def __init__(self, *, beat_bytes: int, max_burst: int, bytes_width: int):
        longest = min(256, PAGE_BYTES // beat_bytes)
        if not 1 <= max_burst <= longest or max_burst & (max_burst - 1):
            raise ValueError(f"max_burst must be a power of two, at most {longest}, not {max_burst}")
        self.beat_bytes = beat_bytes
        self.max_burst = max_burst
        self.bytes_width = bytes_width
        super().__init__({
            "i_transfer": In(stream.Signature(transfer_layout(bytes_width))),
            "o_burst": Out(stream.Signature(burst_layout(beat_bytes))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        transfer, burst = self.i_transfer.payload, self.o_burst.payload
        byte_bits = (self.beat_bytes - 1).bit_length()
        place_bits = (self.max_burst - 1).bit_length()

        # What is left of the transfer: the aligned block that it is in, the place in the block, and beats less one.
        block = Signal(ADDRESS_WIDTH - byte_bits - place_bits)
        place = Signal(place_bits)
        left_minus_1 = Signal(self.bytes_width - byte_bits)
        tail_bytes = Signal(byte_bits)

        room_minus_1 = Signal(place_bits)
        is_last = Signal()
        m.d.comb += room_minus_1.eq(~place)
        m.d.comb += is_last.eq(left_minus_1 <= room_minus_1)
        m.d.comb += burst.address.eq(Cat(Const(0, byte_bits), place, block))
        m.d.comb += burst.beats_minus_1.eq(Mux(is_last, left_minus_1, room_minus_1))
        m.d.comb += burst.last.eq(is_last)
        m.d.comb += burst.tail_bytes.eq(tail_bytes)

        takes_burst = self.o_burst.valid & self.o_burst.ready
        m.d.comb += self.i_transfer.ready.eq(~self.o_burst.valid | (takes_burst & is_last))
        with m.If(takes_burst):
            m.d.sync += [block.eq(block + 1), place.eq(0)]
            m.d.sync += left_minus_1.eq(left_minus_1 - room_minus_1 - 1)
        with m.If(self.i_transfer.ready):
            beats_minus_1 = (transfer.bytes - 1)[byte_bits : self.bytes_width]
            m.d.sync += self.o_burst.valid.eq(self.i_transfer.valid)
            m.d.sync += Cat(place, block).eq(transfer.address[byte_bits:])
            m.d.sync += left_minus_1.eq(beats_minus_1)
            m.d.sync += tail_bytes.eq(transfer.bytes)
        return m
