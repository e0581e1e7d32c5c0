"""Shift multiplier: a product whose first factor has few bits, one of them a cycle."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ShiftMultiplier"]


class ShiftMultiplier(wiring.Component):
    """Compute ``product = addend + factor * step``, adding ``step`` doubled again and again.

    Latency: as many cycles as ``factor`` has bits up to its highest 1, from the cycle after ``i_start``.
    Flow control: none; the product stays until the next start.

    Parameters
    ----------
    factor_width, step_width, addend_width : int
        Bits of the factors, and of the addend.

    Members
    -------
    i_start : In
        Take what follows.
    i_factor, i_step, i_addend : In
        Factors and addend.
    o_done : Out
        ``o_product`` is the product.
    o_product : Out
        The product.
    """

    def __init__(self, *, factor_width: int, step_width: int, addend_width: int):
        super().__init__({
            "i_start": In(1),
            "i_factor": In(factor_width),
            "i_step": In(step_width),
            "i_addend": In(addend_width),
            "o_done": Out(1),
            "o_product": Out(max(factor_width + step_width, addend_width) + 1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bits = Signal.like(self.i_factor)
        step = Signal.like(self.o_product)
        m.d.sync += [bits.eq(bits >> 1), step.eq(step << 1)]
        m.d.sync += self.o_product.eq(self.o_product + Mux(bits[0], step, 0))
        with m.If(self.i_start):
            m.d.sync += [bits.eq(self.i_factor), step.eq(self.i_step), self.o_product.eq(self.i_addend)]
        m.d.comb += self.o_done.eq(bits == 0)
        return m
