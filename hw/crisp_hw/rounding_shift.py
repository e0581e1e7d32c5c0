"""Rounding shift: the end of every scaling, from an exact product to int8. The golden model is in ``crisp.golden.requantize``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundingShift", "output_layout"]

#: Bits of a rounded result before zero point and clamp: what exceeds them is clamped in any case.
RESULT_WIDTH = 10

SHIFT_WIDTH = 6


def output_layout() -> data.StructLayout:
    """Lay out what turns a rounded result into an output."""
    return data.StructLayout({"output_zero_point": signed(8), "clamp_min": signed(8), "clamp_max": signed(8)})


class RoundingShift(wiring.Component):
    """Shift a product right and make it int8: ``clamp(round(product / 2**shift) + zero_point)``, half to even.

    Latency: `LATENCY` cycles. Throughput: one product a cycle. Flow control: none; whatever stands at the input is
    computed, and the one behind knows when to look.

    Parameters
    ----------
    product_width : int
        Bits of the product.

    Members
    -------
    i_product : In, signed
        Product, or sum of products.
    i_shift : In, unsigned 6
        Right shift, with the product.
    i_output : In
        Zero point and clamp; looked at ``LATENCY - 1`` cycles later than the product, so constant while products are under way.
    o_value : Out, signed 8
        Result.
    """

    LATENCY = 2

    def __init__(self, *, product_width: int):
        self.product_width = product_width
        super().__init__({
            "i_product": In(signed(product_width)),
            "i_shift": In(unsigned(SHIFT_WIDTH)),
            "i_output": In(output_layout()),
            "o_value": Out(signed(8)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # 1: shift right, from the longest distance down. A bit below the result is half, those below it are sticky. The result
        # is clamped to 8 bits in the end, so 10 bits hold all that matters: each level keeps only the bits that the shorter
        # distances still need, and a bit that is dropped above them and is no copy of the sign means that it overflows.
        distances = [1 << level for level in reversed(range(SHIFT_WIDTH))]
        sign = self.i_product[-1]
        shifted = Cat(0, self.i_product, sign.replicate(RESULT_WIDTH + sum(distances) - self.product_width))
        sticky = 0
        over = 0
        for distance in distances:
            bit = self.i_shift[distance.bit_length() - 1]
            kept = len(shifted) - distance
            sticky = sticky | (bit & shifted[:distance].any())
            over = over | (~bit & (shifted[kept:] ^ sign.replicate(distance)).any())
            narrowed = Signal(kept, name=f"shifted_{distance}")
            m.d.comb += narrowed.eq(Mux(bit, shifted[distance:], shifted[:kept]))
            shifted = narrowed
        floor = Signal(signed(RESULT_WIDTH))
        half = Signal()
        below_half = Signal()
        overflows = Signal()
        negative = Signal()
        m.d.sync += [half.eq(shifted[0]), floor.eq(shifted[1:]), below_half.eq(sticky)]
        m.d.sync += [overflows.eq(over | (shifted[-1] ^ sign)), negative.eq(sign)]

        # 2: round half to even, add the zero point, clamp. The limits move instead of the sum, so that both go at once.
        output = self.i_output
        limited = Signal(signed(RESULT_WIDTH))
        rounded = Signal(signed(RESULT_WIDTH + 1))
        limit = 1 << (RESULT_WIDTH - 1)
        m.d.comb += limited.eq(Mux(overflows, Mux(negative, -limit, limit - 1), floor))
        m.d.comb += rounded.eq(limited + (half & (below_half | floor[0])))
        with m.If(rounded < output.clamp_min - output.output_zero_point):
            m.d.sync += self.o_value.eq(output.clamp_min)
        with m.Elif(rounded > output.clamp_max - output.output_zero_point):
            m.d.sync += self.o_value.eq(output.clamp_max)
        with m.Else():
            m.d.sync += self.o_value.eq(rounded + output.output_zero_point)
        return m
