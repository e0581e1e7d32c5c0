"""Residual addition: results of one column and what is added to them. The golden model is in ``crisp.golden.vector_unit``."""

from amaranth import Module, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .rounding_shift import RoundingShift

__all__ = ["ResidualAdd", "scales_layout"]

#: Bits of the sum of two products, each of 9 bits with a sign and 16 without: 2 x 255 x 65535 is less than 2^25.
SUM_WIDTH = 26


def scales_layout() -> data.StructLayout:
    """Lay out what two tensors are added with, named as in the command.

    With a result multiplier of 1 and everything else 0 but the clamp, results stay what they are.
    """
    return data.StructLayout({
        "result_zero_point": signed(8),
        "residual_zero_point": signed(8),
        "result_multiplier": unsigned(16),
        "residual_multiplier": unsigned(16),
        "sum_shift": unsigned(6),
        "sum_zero_point": signed(8),
        "sum_clamp_min": signed(8),
        "sum_clamp_max": signed(8),
    })  # fmt: skip


class ResidualAdd(wiring.Component):
    """Add residuals to results, byte by byte, each with its zero point and multiplier; the sum is exact and rounded once.

    ``clamp(round(((v - zv) * mv + (r - zr) * mr) / 2**shift) + zero_point)``, half to even.

    Latency: `LATENCY` cycles. Throughput: ``num_bytes`` bytes a cycle. Flow control: none; whatever stands at the input is
    computed, and the one behind knows when to look.

    Parameters
    ----------
    num_bytes : int
        Bytes at a time.

    Members
    -------
    i_values : In, array of ``num_bytes`` signed 8
        Results.
    i_residuals : In, array of ``num_bytes`` signed 8
        What is added to each.
    i_scales : In
        How they are added; constant while bytes are under way.
    o_values : Out, array of ``num_bytes`` signed 8
        Sums.
    """

    LATENCY = 3 + RoundingShift.LATENCY

    def __init__(self, *, num_bytes: int):
        self.num_bytes = num_bytes
        values = data.ArrayLayout(signed(8), num_bytes)
        super().__init__({
            "i_values": In(values),
            "i_residuals": In(values),
            "i_scales": In(scales_layout()),
            "o_values": Out(values),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        scales = self.i_scales
        for number in range(self.num_bytes):
            # 1: take the zero points off.
            value = Signal(signed(9), name=f"value_{number}")
            residual = Signal(signed(9), name=f"residual_{number}")
            m.d.sync += value.eq(self.i_values[number] - scales.result_zero_point)
            m.d.sync += residual.eq(self.i_residuals[number] - scales.residual_zero_point)

            # 2: multiply, exactly.
            scaled_value = Signal(signed(25), name=f"scaled_value_{number}")
            scaled_residual = Signal(signed(25), name=f"scaled_residual_{number}")
            m.d.sync += scaled_value.eq(value * scales.result_multiplier)
            m.d.sync += scaled_residual.eq(residual * scales.residual_multiplier)

            # 3: add, exactly.
            total = Signal(signed(SUM_WIDTH), name=f"total_{number}")
            m.d.sync += total.eq(scaled_value + scaled_residual)

            # 4, 5: shift, round, add the zero point, clamp.
            m.submodules[f"rounding_shift_{number}"] = rounding_shift = RoundingShift(product_width=SUM_WIDTH)
            output = rounding_shift.i_output
            m.d.comb += [rounding_shift.i_product.eq(total), rounding_shift.i_shift.eq(scales.sum_shift)]
            m.d.comb += output.output_zero_point.eq(scales.sum_zero_point)
            m.d.comb += [output.clamp_min.eq(scales.sum_clamp_min), output.clamp_max.eq(scales.sum_clamp_max)]
            m.d.comb += self.o_values[number].eq(rounding_shift.o_value)
        return m
