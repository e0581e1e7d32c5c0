"""Requantization lane: accumulators of one column to int8. The golden model is ``crisp.golden.requantize``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import CHANNEL, LAYER

from .layouts import word_layout

__all__ = ["Requantize", "output_layout"]


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

        # 3: shift right; the bit below the point and whether any lower one is set decide the rounding.
        shifted = Cat(0, product).as_signed()
        sticky = 0
        for level, bit in reversed(list(enumerate(shift_2))):
            distance = 1 << level
            sticky = sticky | (bit & shifted[:distance].any())
            narrowed = Signal(signed(50), name=f"shifted_{distance}")
            m.d.comb += narrowed.eq(Mux(bit, shifted >> distance, shifted))
            shifted = narrowed
        floor = Signal(signed(49))
        half = Signal()
        below_half = Signal()
        m.d.sync += [floor.eq(shifted >> 1), half.eq(shifted[0]), below_half.eq(sticky)]

        # 4: round half to even, add the zero point, clamp. What exceeds 10 bits is clamped in any case.
        limited = Signal(signed(10))
        with m.If(floor[9:].all() | ~floor[9:].any()):
            m.d.comb += limited.eq(floor)
        with m.Else():
            m.d.comb += limited.eq(Mux(floor[-1], -512, 511))
        up = half & (below_half | floor[0])
        value = Signal(signed(12))
        output = self.i_output
        m.d.comb += value.eq(limited + up + output.output_zero_point)
        with m.If(value < output.clamp_min):
            m.d.sync += self.o_value.eq(output.clamp_min)
        with m.Elif(value > output.clamp_max):
            m.d.sync += self.o_value.eq(output.clamp_max)
        with m.Else():
            m.d.sync += self.o_value.eq(value)
        return m
