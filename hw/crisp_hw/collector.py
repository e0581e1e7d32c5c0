"""Collector: turns the rows that leave a drain bank into channels-last words, one output pixel a word."""

import itertools

from amaranth import Cat, Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

__all__ = ["Collector"]


class Collector(wiring.Component):
    """Gather the ``bank_rows`` results of every column into a word, and queue the words.

    Columns are skewed by a cycle, so their words complete in turn: up to ``bank_rows`` columns share one output
    without ever meeting.

    Latency: one cycle from a column's last row to its word at the output. Throughput: a tile in ``bank_rows`` cycles.
    Flow control: outputs are streams. A tile is reserved with ``i_reserve`` before it enters the array, which may be
    done while ``o_room`` is high; so what is under way always finds its place.

    Parameters
    ----------
    columns : int
        Columns of the array.
    bank_rows : int
        Rows of a drain bank.
    tiles : int
        Tiles that may be reserved at a time.

    Members
    -------
    i_values : In, array of ``columns`` signed 8
        Requantized results, column c skewed by c cycles.
    i_complete : In
        Column 0 shows its last row of a tile.
    i_reserve : In
        A tile will come.
    o_room : Out
        A tile may be reserved.
    o_empty : Out
        All reserved tiles have left, those that leave in this cycle included.
    o_words : Out, array of streams
        Words of ``bank_rows`` channels, for columns ``g * bank_rows`` and following, in ascending order, tile by tile.
    """

    LATENCY = 1

    def __init__(self, *, columns: int, bank_rows: int, tiles: int):
        self.columns = columns
        self.bank_rows = bank_rows
        self.tiles = tiles
        self.lane_groups = [range(first, min(first + bank_rows, columns)) for first in range(0, columns, bank_rows)]
        self.word_layout = data.ArrayLayout(signed(8), bank_rows)
        super().__init__({
            "i_values": In(data.ArrayLayout(signed(8), columns)),
            "i_complete": In(1),
            "i_reserve": In(1),
            "o_room": Out(1),
            "o_empty": Out(1),
            "o_words": Out(stream.Signature(self.word_layout)).array(len(self.lane_groups)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        complete = Signal(self.columns)
        delayed = Signal(self.columns)
        m.d.comb += complete.eq(Cat(self.i_complete, delayed))
        m.d.sync += delayed.eq(complete)

        has_room = Signal(len(self.lane_groups))
        is_empty = Signal(len(self.lane_groups))
        for number, (lanes, output) in enumerate(zip(self.lane_groups, self.o_words, strict=True)):
            # The rows of each lane, oldest first; the lane that is complete goes to the queue.
            word = 0
            for lane in lanes:
                rows = [Signal(signed(8), name=f"row_{lane}_{age}") for age in reversed(range(1, self.bank_rows))]
                rows.append(self.i_values[lane])
                m.d.sync += [older.eq(newer) for older, newer in itertools.pairwise(rows)]
                word = word | (Cat(*rows) & complete[lane].replicate(8 * self.bank_rows))
            m.submodules[f"queue_{number}"] = queue = SyncFIFO(width=8 * self.bank_rows, depth=self.tiles * len(lanes))
            m.d.comb += queue.w_data.eq(word)
            m.d.comb += queue.w_en.eq(complete[lanes.start : lanes.stop].any())
            m.d.comb += output.payload.as_value().eq(queue.r_data)
            m.d.comb += output.valid.eq(queue.r_rdy)
            m.d.comb += queue.r_en.eq(output.ready)

            # Tiles reserved and not yet gone.
            reserved = Signal(range(self.tiles + 1), name=f"reserved_{number}")
            lane = Signal(range(len(lanes)), name=f"lane_{number}")
            transfer = output.valid & output.ready
            tile_leaves = transfer & (lane == len(lanes) - 1)
            with m.If(transfer):
                m.d.sync += lane.eq(lane + 1)
            with m.If(tile_leaves):
                m.d.sync += lane.eq(0)
            m.d.sync += reserved.eq(reserved + self.i_reserve - tile_leaves)
            m.d.comb += has_room[number].eq(reserved != self.tiles)
            m.d.comb += is_empty[number].eq(reserved == tile_leaves)
        m.d.comb += self.o_room.eq(has_room.all())
        m.d.comb += self.o_empty.eq(is_empty.all())
        return m
