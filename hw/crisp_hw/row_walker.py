"""Row walker: the addresses of rows that lie a stride apart."""

from amaranth import Module, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RowWalker", "row_layout", "walk_rows_layout"]

ROWS_WIDTH = 16


def walk_rows_layout(address_width: int, size_width: int) -> data.StructLayout:
    """Lay out a walk: address of the first row, distance to the next, size of each, and their number, at least 1."""
    return data.StructLayout({
        "address": unsigned(address_width),
        "stride": unsigned(min(32, address_width)),
        "size": unsigned(size_width),
        "rows": unsigned(ROWS_WIDTH),
    })  # fmt: skip


def row_layout(address_width: int, size_width: int) -> data.StructLayout:
    """Lay out a row, and whether it is the walk's last."""
    return data.StructLayout({"address": unsigned(address_width), "size": unsigned(size_width), "last": 1})


class RowWalker(wiring.Component):
    """List rows: row r begins at ``address + r * stride``.

    Latency: one cycle. Throughput: a row a cycle, from walk to walk too. Flow control: streams.

    Parameters
    ----------
    address_width : int
        Bits of an address.
    size_width : int
        Bits of a row's size, which is only handed on.

    Members
    -------
    i_walk : In, stream
        What to list.
    o_row : Out, stream
        The rows, in order.
    """

    LATENCY = 1

    def __init__(self, *, address_width: int, size_width: int):
        self.address_width = address_width
        self.size_width = size_width
        super().__init__({
            "i_walk": In(stream.Signature(walk_rows_layout(address_width, size_width))),
            "o_row": Out(stream.Signature(row_layout(address_width, size_width))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        walk, row = self.i_walk.payload, self.o_row.payload
        stride = Signal.like(walk.stride)
        rows_left = Signal(ROWS_WIDTH)
        m.d.comb += row.last.eq(rows_left == 1)
        m.d.comb += self.i_walk.ready.eq(~self.o_row.valid | (self.o_row.ready & row.last))
        with m.If(self.o_row.ready):
            m.d.sync += [row.address.eq(row.address + stride), rows_left.eq(rows_left - 1)]
        with m.If(self.i_walk.ready):
            m.d.sync += self.o_row.valid.eq(self.i_walk.valid)
            m.d.sync += [row.address.eq(walk.address), row.size.eq(walk.size), stride.eq(walk.stride), rows_left.eq(walk.rows)]
        return m
