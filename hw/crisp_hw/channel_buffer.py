"""Channel buffer: bias and scale of every output channel, handed to the lanes as sums arrive."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp.arch import CHANNEL

from .layouts import word_layout

__all__ = ["ChannelBuffer"]


class ChannelBuffer(wiring.Component):
    """Hold the parameters of output channels, one RAM for each drain bank.

    Bank b holds rows ``b * bank_rows`` and following of every row tile. A pulse of ``i_tiles[b]`` makes it hand out the
    next ``bank_rows`` channels, one a cycle; after the last tile of a window it begins again.

    Latency: `LATENCY` cycles from ``i_tiles`` to the first channel, then one a cycle. Pulses must be at least
    ``bank_rows`` cycles apart. Flow control: ``i_channel`` fills the buffer while ``i_load`` is high; reading has none.

    Parameters
    ----------
    banks, bank_rows : int
        Drain banks, and rows of each.
    depth : int
        Output channels.

    Members
    -------
    i_channel : In, stream
        Parameters in the order of output channels.
    i_load : In
        High while they may be taken; low takes the next to channel 0 again.
    i_tiles : In, one bit a bank
        The first row of a tile is about to arrive.
    i_window_ends : In, one bit a bank
        With ``i_tiles``: this tile is its window's last.
    o_channels : Out, array of ``banks``
        Parameters of the row at hand.
    """

    LATENCY = 2

    def __init__(self, *, banks: int, bank_rows: int, depth: int):
        self.banks = banks
        self.bank_rows = bank_rows
        self.depth = depth
        super().__init__({
            "i_channel": In(stream.Signature(word_layout(CHANNEL))),
            "i_load": In(1),
            "i_tiles": In(banks),
            "i_window_ends": In(banks),
            "o_channels": Out(data.ArrayLayout(word_layout(CHANNEL), banks)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # Load, bank by bank.
        bank_depth = self.depth // self.banks
        pointer = Signal(range(bank_depth + 1))
        bank_pointer = Signal(range(self.banks))
        row_pointer = Signal(range(self.bank_rows))
        tile_pointer = Signal(range(bank_depth + 1))
        transfer = Signal()
        m.d.comb += self.i_channel.ready.eq(self.i_load & (tile_pointer != bank_depth))
        m.d.comb += transfer.eq(self.i_channel.valid & self.i_channel.ready)
        m.d.comb += pointer.eq(tile_pointer + row_pointer)
        with m.If(transfer):
            m.d.sync += row_pointer.eq(row_pointer + 1)
            with m.If(row_pointer == self.bank_rows - 1):
                m.d.sync += [row_pointer.eq(0), bank_pointer.eq(bank_pointer + 1)]
                with m.If(bank_pointer == self.banks - 1):
                    m.d.sync += [bank_pointer.eq(0), tile_pointer.eq(tile_pointer + self.bank_rows)]
        with m.If(~self.i_load):
            m.d.sync += [row_pointer.eq(0), bank_pointer.eq(0), tile_pointer.eq(0)]

        for bank in range(self.banks):
            m.submodules[f"bank_{bank}"] = memory = Memory(shape=word_layout(CHANNEL), depth=bank_depth, init=[])
            write = memory.write_port()
            m.d.comb += write.en.eq(transfer & (bank_pointer == bank))
            m.d.comb += write.addr.eq(pointer)
            m.d.comb += write.data.eq(self.i_channel.payload)

            # Hand out the channels of a tile.
            address = Signal(range(bank_depth), name=f"address_{bank}")
            rows_left = Signal(range(self.bank_rows), name=f"rows_left_{bank}")
            window_end = Signal(name=f"window_end_{bank}")
            busy = self.i_tiles[bank] | (rows_left != 0)
            is_last_row = rows_left == 1 if self.bank_rows > 1 else self.i_tiles[bank]
            ends_window = window_end if self.bank_rows > 1 else self.i_window_ends[bank]
            with m.If(busy):
                m.d.sync += address.eq(address + 1)
            with m.If(is_last_row & ends_window):
                m.d.sync += address.eq(0)
            with m.If(self.i_tiles[bank]):
                m.d.sync += rows_left.eq(self.bank_rows - 1)
                m.d.sync += window_end.eq(self.i_window_ends[bank])
            with m.Elif(rows_left != 0):
                m.d.sync += rows_left.eq(rows_left - 1)

            read = memory.read_port()
            m.d.comb += read.addr.eq(address)
            m.d.sync += self.o_channels[bank].eq(read.data)
        return m
