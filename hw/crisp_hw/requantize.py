"""Requantization lane: accumulators of one column to int8. The golden model is ``crisp.golden.requantize``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import CHANNEL, LAYER

from .layouts import word_layout

__all__ = ["Requantize", "output_layout"]

#: Bits of a rounded result before zero point and clamp: what exceeds them is clamped in any case.
RESULT_WIDTH = 10


def output_layout() -> data.StructLayout:
    """Lay out the three parameters that hold for a whole layer."""
    layer = word_layout(LAYER)
    names = ("output_zero_point", "clamp_min", "clamp_max")
    return data.StructLayout({name: layer[name].shape for name in names})


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

    LATENCY = 4

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
        total = Signal(signed(33))
        multiplier = Signal.like(channel.multiplier)
        shift_1 = Signal.like(channel.shift)
        m.d.sync += [total.eq(self.i_sum + channel.bias), multiplier.eq(channel.multiplier), shift_1.eq(channel.shift)]

        # 2: multiply, exactly.
        product = Signal(signed(49))
        shift_2 = Signal.like(channel.shift)
        m.d.sync += [product.eq(total * multiplier), shift_2.eq(shift_1)]

        # 3: shift right, from the longest distance down. A bit below the result is half, those below it are sticky. The result
        # is clamped to 8 bits in the end, so 10 bits hold all that matters: each level keeps only the bits that the shorter
        # distances still need, and a bit that is dropped above them and is no copy of the sign means that it overflows.
        distances = [1 << level for level in reversed(range(len(shift_2)))]
        sign = product[-1]
        shifted = Cat(0, product, sign.replicate(RESULT_WIDTH + 1 + sum(distances) - len(product) - 1))
        sticky = 0
        over = 0
        for distance in distances:
            bit = shift_2[distance.bit_length() - 1]
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

        # 4: round half to even, add the zero point, clamp. The limits move instead of the sum, so that both go at once.
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
