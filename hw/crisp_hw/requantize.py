"""Requantization lane: accumulators of one column to int8. The golden model is ``crisp.golden.requantize``."""

from amaranth import Module, Signal
from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import CHANNEL

from .layouts import word_layout
from .rounding_shift import RoundingShift, output_layout

__all__ = ["Requantize", "output_layout"]

#: Bits of a sum with its bias, and of their product with a multiplier.
TOTAL_WIDTH = 33
PRODUCT_WIDTH = TOTAL_WIDTH + 16


class Requantize(wiring.Component):
    """Scale a sum to int8: ``clamp(round((sum + bias) * multiplier / 2**shift) + zero_point)``, half to even.

    Latency: `LATENCY` cycles. Throughput: one sum a cycle. Flow control: none; whatever stands at the input is
    computed, and the one behind knows when to look. The channel's parameters come with the sum and go on to the next
    lane a cycle later, as sums of neighbouring columns are skewed by a cycle.

    Members
    -------
    i_sum : In, signed 32
        Accumulator.
    i_channel : In
        Bias, multiplier and shift of its output channel.
    i_output : In
        Zero point and clamp of the layer; constant while a layer runs.
    o_channel : Out
        ``i_channel`` a cycle later.
    o_value : Out, signed 8
        Result.
    """

    LATENCY = 2 + RoundingShift.LATENCY

    def __init__(self):
        super().__init__({
            "i_sum": In(signed(32)),
            "i_channel": In(word_layout(CHANNEL)),
            "i_output": In(output_layout()),
            "o_channel": Out(word_layout(CHANNEL)),
            "o_value": Out(signed(8)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        channel = self.i_channel
        m.d.sync += self.o_channel.eq(channel)

        # 1: add the bias, exactly.
        total = Signal(signed(TOTAL_WIDTH))
        multiplier = Signal.like(channel.multiplier)
        shift_1 = Signal.like(channel.shift)
        m.d.sync += [total.eq(self.i_sum + channel.bias), multiplier.eq(channel.multiplier), shift_1.eq(channel.shift)]

        # 2: multiply, exactly.
        product = Signal(signed(PRODUCT_WIDTH))
        shift_2 = Signal.like(channel.shift)
        m.d.sync += [product.eq(total * multiplier), shift_2.eq(shift_1)]

        # 3, 4: shift, round, add the zero point, clamp.
        m.submodules.rounding_shift = rounding_shift = RoundingShift(product_width=PRODUCT_WIDTH)
        m.d.comb += [rounding_shift.i_product.eq(product), rounding_shift.i_shift.eq(shift_2)]
        m.d.comb += [rounding_shift.i_output.eq(self.i_output), self.o_value.eq(rounding_shift.o_value)]
        return m
