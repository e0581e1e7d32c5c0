"""Channel buffer: bias and scale of every output channel, handed to the lanes as sums arrive."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp.arch import CHANNEL

from .layouts import word_layout, write_port_layout

__all__ = ["ChannelBuffer"]


class ChannelBuffer(wiring.Component):
    """Hold the parameters of output channels, one RAM for each drain bank.

    Bank b holds rows ``b * bank_rows`` and following of every row tile: channel ``(tile * banks + b) * bank_rows + row`` lies at its
    place ``tile * bank_rows + row``. A pulse of ``i_tiles[b]`` makes it hand out the channels from ``i_places[b]`` on, one a cycle.

    Latency: `LATENCY` cycles from ``i_tiles`` to the first channel. Throughput: one channel a cycle and bank.
    Flow control: none. Whoever writes knows that the channel is not in use.

    Parameters
    ----------
    banks, bank_rows : int
        Drain banks, and rows of each; powers of two.
    depth : int
        Output channels, a multiple of ``banks * bank_rows``.

    Members
    -------
    i_write : In, write port
        A channel to be held.
    i_tiles : In, one bit a bank
        The first row of a tile is about to arrive.
    i_places : In, array of ``banks``
        With ``i_tiles``: place of its channel.
    o_channels : Out, array of ``banks``
        Parameters of the row at hand.
    """

    LATENCY = 2

    def __init__(self, *, banks: int, bank_rows: int, depth: int):
        self.banks = banks
        self.bank_rows = bank_rows
        self.depth = depth
        self.bank_depth = depth // banks
        super().__init__({
            "i_write": In(write_port_layout(word_layout(CHANNEL), depth)),
            "i_tiles": In(banks),
            "i_places": In(data.ArrayLayout(range(max(2, self.bank_depth)), banks)),
            "o_channels": Out(data.ArrayLayout(word_layout(CHANNEL), banks)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        row_width = (self.bank_rows - 1).bit_length()
        bank_width = (self.banks - 1).bit_length()
        row, bank_and_tile = self.i_write.address[:row_width], self.i_write.address[row_width:]
        write_bank, tile = bank_and_tile[:bank_width], bank_and_tile[bank_width:]

        for bank in range(self.banks):
            m.submodules[f"bank_{bank}"] = memory = Memory(shape=word_layout(CHANNEL), depth=self.bank_depth, init=[])
            write = memory.write_port()
            m.d.comb += write.en.eq(self.i_write.enable & (write_bank == bank))
            m.d.comb += write.addr.eq(Cat(row, tile))
            m.d.comb += write.data.eq(self.i_write.data)

            # Begin at a tile's first channel, and go on from there.
            place = Signal(range(max(2, self.bank_depth)), name=f"place_{bank}")
            next_place = Signal.like(place, name=f"next_place_{bank}")
            m.d.comb += place.eq(Mux(self.i_tiles[bank], self.i_places[bank], next_place))
            m.d.sync += next_place.eq(place + 1)

            read = memory.read_port()
            m.d.comb += read.addr.eq(place)
            m.d.sync += self.o_channels[bank].eq(read.data)
        return m
