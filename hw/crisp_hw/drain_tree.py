"""Drain tree: takes the finished sums of one column out of the array, in the order of its rows."""

from amaranth import Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DrainTree"]


class DrainTree(wiring.Component):
    """OR the sums of a column's rows, of which at most one is not 0 in any cycle.

    In a skewed array row r of a column is final one cycle after row r - 1, and every element shows its sum only in that
    cycle. So an OR is a complete drain: no shadow registers, no shifting, and rows leave in order, one a cycle, as long
    as tiles follow each other no faster than one in ``rows`` cycles.

    Latency: ``latency(rows)`` cycles. Throughput: one sum a cycle. Flow control: none, see above.

    Parameters
    ----------
    rows : int
        Rows that share the tree.

    Members
    -------
    i_sums : In, array of ``rows`` signed 32
        Sums, each 0 but for one cycle a tile.
    o_sum : Out, signed 32
        The one that is not 0.
    """

    RADIX = 16

    def __init__(self, *, rows: int):
        self.rows = rows
        super().__init__({"i_sums": In(data.ArrayLayout(signed(32), rows)), "o_sum": Out(signed(32))})

    @classmethod
    def latency(cls, rows: int) -> int:
        """Levels of registers that ``rows`` rows need."""
        return 1 if rows <= cls.RADIX else 1 + cls.latency(-(-rows // cls.RADIX))

    def elaborate(self, platform):
        m = Module()
        level = [self.i_sums[row] for row in range(self.rows)]
        for number in range(self.latency(self.rows)):
            joined = []
            for start in range(0, len(level), self.RADIX):
                total = Signal(signed(32), name=f"level_{number}_{start // self.RADIX}")
                either = level[start]
                for other in level[start + 1 : start + self.RADIX]:
                    either = either | other
                m.d.sync += total.eq(either)
                joined.append(total)
            level = joined
        m.d.comb += self.o_sum.eq(level[0])
        return m
