"""Output-stationary systolic array: rows are output channels, columns are output pixels."""

from amaranth import Module
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .layouts import group_layout, weight_layout
from .pe import ProcessingElement

__all__ = ["SystolicArray"]


class SystolicArray(wiring.Component):
    """Compute ``sum[r][c] = W[r] . X[c]`` in every processing element at once.

    Weights flow east along rows, groups of activations south along columns. Operands arrive skewed: row r is r cycles
    late, column c is c cycles late, so that element (r, c) meets both r + c cycles late.

    Latency: ``ProcessingElement.LATENCY + r + c`` cycles from the unskewed ``last`` weight to the sum of element (r, c).
    Throughput: one step a cycle. Flow control: none, see `ProcessingElement`.

    Parameters
    ----------
    rows, columns : int
        Size of the array.
    group_size : int
        M, activations of a group.

    Members
    -------
    i_weights : In, array of ``rows``
        A weight for each row, skewed.
    i_groups : In, array of ``columns``
        A group for each column, skewed.
    o_sums : Out, array of ``columns`` of ``rows`` signed 32
        Each sum in the one cycle in which it is final, else 0.
    """

    LATENCY = ProcessingElement.LATENCY

    def __init__(self, *, rows: int, columns: int, group_size: int):
        self.rows = rows
        self.columns = columns
        self.group_size = group_size
        super().__init__({
            "i_weights": In(data.ArrayLayout(weight_layout(group_size), rows)),
            "i_groups": In(data.ArrayLayout(group_layout(group_size), columns)),
            "o_sums": Out(data.ArrayLayout(data.ArrayLayout(signed(32), rows), columns)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        groups = [self.i_groups[column] for column in range(self.columns)]
        for row in range(self.rows):
            weight = self.i_weights[row]
            for column in range(self.columns):
                m.submodules[f"pe_{row}_{column}"] = pe = ProcessingElement(group_size=self.group_size)
                m.d.comb += pe.i_weight.eq(weight)
                m.d.comb += pe.i_group.eq(groups[column])
                m.d.comb += self.o_sums[column][row].eq(pe.o_sum)
                weight, groups[column] = pe.o_weight, pe.o_group
        return m
