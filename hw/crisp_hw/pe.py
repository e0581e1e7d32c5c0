"""Processing element: one multiplier behind an M:1 operand select, and one accumulator."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .layouts import group_layout, weight_layout

__all__ = ["ProcessingElement"]


class ProcessingElement(wiring.Component):
    """Multiply a weight with the activation that its offset selects, and accumulate.

    ``sum += value * group[offset]``. The weight that carries ``last`` ends a tile: its sum appears at ``o_sum``, and
    the next weight starts from zero, in the very next cycle if it comes then.

    Latency: `LATENCY` cycles from a ``last`` weight to its sum. Throughput: one weight a cycle.
    Flow control: none, by design. The array never stalls; a cycle without work carries value 0, which adds nothing, so
    there is neither valid nor enable in the array.

    Parameters
    ----------
    group_size : int
        M, activations of a group.

    Members
    -------
    i_weight : In
        Value, offset and ``last``, from the west.
    i_group : In
        M activations, from the north.
    o_weight, o_group : Out
        The same a cycle later, to the east and to the south.
    o_sum : Out, signed 32
        The sum in the one cycle in which it is final, else 0, so that a drain tree may simply OR.
    """

    LATENCY = 2

    def __init__(self, *, group_size: int):
        super().__init__({
            "i_weight": In(weight_layout(group_size)),
            "i_group": In(group_layout(group_size)),
            "o_weight": Out(weight_layout(group_size)),
            "o_group": Out(group_layout(group_size)),
            "o_sum": Out(signed(32)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # Pass both operands on.
        m.d.sync += self.o_weight.eq(self.i_weight)
        m.d.sync += self.o_group.eq(self.i_group)

        # Select and multiply.
        product = Signal(signed(16))
        product_last = Signal()
        m.d.sync += product.eq(self.i_weight.value * self.i_group[self.i_weight.offset])
        m.d.sync += product_last.eq(self.i_weight.last)

        # Accumulate. One flag both ends a tile and starts the next.
        accumulator = Signal(signed(32))
        final = Signal()
        m.d.sync += accumulator.eq(Mux(final, 0, accumulator) + product)
        m.d.sync += final.eq(product_last)

        m.d.comb += self.o_sum.eq(Mux(final, accumulator, 0))
        return m
