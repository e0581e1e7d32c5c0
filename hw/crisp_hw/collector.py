"""Collector: turns the rows that leave the drain banks into slots, words of M channels for all columns at once."""

import itertools

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .layouts import slot_layout

__all__ = ["Collector"]


class Collector(wiring.Component):
    """Gather the results of tiles into slots, and queue them in the order of their channels.

    M rows that a bank sends one after the other are a word, and the words of all columns a slot. A tile has ``banks * bank_rows / M``
    slots; bank b fills those from ``b * bank_rows / M`` on. Columns are skewed by a cycle, so each has a RAM of its own, and the place
    that is written travels from column to column: a slot is whole when the last column has written, and no result is delayed.

    Latency: one cycle from the last column's last row to its slot. Throughput: one slot a cycle, so with at most M banks a tile in
    ``bank_rows`` cycles.
    Flow control: ``o_slots`` is a stream. A tile is reserved with ``i_reserve`` before it enters the array, which may be done while
    ``o_room`` is high; so what is under way always finds its place.

    Parameters
    ----------
    columns : int
        Columns of the array.
    group_size : int
        M, at least 2: rows of a word.
    banks, bank_rows : int
        Drain banks, and rows of each, a multiple of ``group_size``; powers of two.
    tiles : int
        Tiles that may be reserved at a time.

    Members
    -------
    i_values : In, array of ``banks`` of ``columns`` signed 8
        Requantized results, column c skewed by c cycles.
    i_starts : In, one bit a bank
        Column 0 shows its first row of a tile; the others follow in the next cycles.
    i_reserve : In
        A tile will come.
    o_room : Out
        A tile may be reserved.
    o_empty : Out
        All reserved tiles have left, those that leave in this cycle included.
    o_slots : Out, stream
        Slots, tile by tile.
    """

    LATENCY = 1

    def __init__(self, *, columns: int, group_size: int, banks: int, bank_rows: int, tiles: int):
        if group_size < 2 or bank_rows % group_size:
            raise ValueError(f"bank_rows must be a multiple of group_size, which is at least 2, not {bank_rows} and {group_size}")
        self.columns = columns
        self.group_size = group_size
        self.banks = banks
        self.bank_rows = bank_rows
        self.tiles = tiles
        super().__init__({
            "i_values": In(data.ArrayLayout(data.ArrayLayout(signed(8), columns), banks)),
            "i_starts": In(banks),
            "i_reserve": In(1),
            "o_room": Out(1),
            "o_empty": Out(1),
            "o_slots": Out(stream.Signature(slot_layout(columns, group_size))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bank_words = self.bank_rows // self.group_size
        depth = self.tiles * bank_words

        def advance(place: Signal) -> Mux:
            """The next place of a bank's queue."""
            return Mux(place == depth - 1, 0, place + 1)

        # The slot that leaves next: the same place in every bank's queue.
        read_place = Signal(range(max(2, depth)))
        bank_place = Signal(range(max(2, depth)))  # where this tile's slots begin
        word = Signal(range(max(2, bank_words)))
        bank = Signal(range(max(2, self.banks)))
        whole = Signal(self.banks)
        m.d.comb += self.o_slots.valid.eq(whole.bit_select(bank, 1))
        transfer = self.o_slots.valid & self.o_slots.ready
        is_last_word = word == bank_words - 1
        is_last_bank = bank == self.banks - 1
        tile_leaves = transfer & is_last_word & is_last_bank
        with m.If(transfer):
            m.d.sync += [word.eq(word + 1), read_place.eq(advance(read_place))]
            with m.If(is_last_word):
                m.d.sync += [word.eq(0), bank.eq(bank + 1), read_place.eq(bank_place)]
        with m.If(tile_leaves):
            m.d.sync += [bank.eq(0), read_place.eq(advance(read_place)), bank_place.eq(advance(read_place))]

        for number in range(self.banks):
            # A word is complete with every M-th row of a tile.
            rows_left = Signal(range(max(2, self.bank_rows)), name=f"rows_left_{number}")
            write_place = Signal(range(max(2, depth)), name=f"write_place_{number}")
            with m.If(self.i_starts[number]):
                m.d.sync += rows_left.eq(self.bank_rows - 1)
            with m.Elif(rows_left != 0):
                m.d.sync += rows_left.eq(rows_left - 1)
            complete = rows_left[: (self.group_size - 1).bit_length()] == 1
            with m.If(complete):
                m.d.sync += write_place.eq(advance(write_place))

            # Each column keeps its rows, oldest first, and writes them when its word is complete.
            for column in range(self.columns):
                rows = [Signal(signed(8), name=f"row_{number}_{column}_{age}") for age in reversed(range(1, self.group_size))]
                rows.append(self.i_values[number][column])
                m.d.sync += [older.eq(newer) for older, newer in itertools.pairwise(rows)]
                m.submodules[f"queue_{number}_{column}"] = queue = Memory(shape=8 * self.group_size, depth=depth, init=[])
                write = queue.write_port()
                m.d.comb += [write.en.eq(complete), write.addr.eq(write_place), write.data.eq(Cat(*rows))]
                read = queue.read_port(domain="comb")
                m.d.comb += read.addr.eq(read_place)
                with m.If(bank == number):
                    m.d.comb += self.o_slots.payload[column].as_value().eq(read.data)

                if column + 1 < self.columns:
                    delayed = Signal(name=f"complete_{number}_{column + 1}")
                    delayed_place = Signal.like(write_place, name=f"write_place_{number}_{column + 1}")
                    m.d.sync += [delayed.eq(complete), delayed_place.eq(write_place)]
                    complete, write_place = delayed, delayed_place

            # Whole slots that have not left.
            held = Signal(range(depth + 1), name=f"held_{number}")
            m.d.sync += held.eq(held + complete - (transfer & (bank == number)))
            m.d.comb += whole[number].eq(held != 0)

        # Tiles reserved and not yet gone.
        reserved = Signal(range(self.tiles + 1))
        m.d.sync += reserved.eq(reserved + self.i_reserve - tile_leaves)
        m.d.comb += self.o_room.eq(reserved != self.tiles)
        m.d.comb += self.o_empty.eq(reserved == tile_leaves)
        return m
