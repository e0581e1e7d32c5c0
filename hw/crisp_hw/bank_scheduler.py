"""Bank scheduler: serves a request of many lanes in as many cycles as its fullest bank needs."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BankScheduler"]


class BankScheduler(wiring.Component):
    """Grant each lane of a request the bank that it wants, and each bank to one lane a cycle, the lowest first.

    Latency: one cycle. Throughput: a request a cycle where no two lanes want one bank; else as many cycles as lanes want the same bank.
    Flow control: a request waits for the one before it; grants cannot be held back.

    Parameters
    ----------
    lanes : int
        Lanes of a request.
    banks : int
        Banks.

    Members
    -------
    i_wanted : In, stream
        For each lane the bank that it wants, one-hot, or 0 where it wants none.
    o_valid : Out
        A request is served.
    o_grants : Out, array of ``lanes``
        For each lane the bank that it gets in this cycle, one-hot, or 0.
    o_first, o_last : Out
        It is the request's first, or last, cycle.
    """

    LATENCY = 1

    def __init__(self, *, lanes: int, banks: int):
        self.lanes = lanes
        self.banks = banks
        self.wanted_layout = data.ArrayLayout(unsigned(banks), lanes)
        super().__init__({
            "i_wanted": In(stream.Signature(self.wanted_layout)),
            "o_valid": Out(1),
            "o_grants": Out(self.wanted_layout),
            "o_first": Out(1),
            "o_last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # What is left of the request at work goes before the next one.
        rest = [Signal(self.banks, name=f"rest_{lane}") for lane in range(self.lanes)]
        has_rest = Signal()
        serves = Signal()
        m.d.comb += self.i_wanted.ready.eq(~has_rest)
        m.d.comb += serves.eq(has_rest | self.i_wanted.valid)
        wanted = [Signal(self.banks, name=f"wanted_{lane}") for lane in range(self.lanes)]
        m.d.comb += [lane.eq(Mux(has_rest, left, new)) for lane, left, new in zip(wanted, rest, self.i_wanted.payload, strict=True)]

        # A lane gets its bank unless a lower one wants it too.
        left = []
        for lane, lower in enumerate(exclusive_prefixes(m, wanted)):
            m.d.sync += self.o_grants[lane].eq(Mux(serves, wanted[lane] & ~lower, 0))
            left.append(wanted[lane] & lower)
        m.d.sync += [register.eq(lane) for register, lane in zip(rest, left, strict=True)]
        leaves_rest = Signal()
        m.d.comb += leaves_rest.eq(Cat(left).any())
        m.d.sync += has_rest.eq(serves & leaves_rest)
        m.d.sync += [self.o_valid.eq(serves), self.o_first.eq(~has_rest), self.o_last.eq(~leaves_rest)]
        return m


def exclusive_prefixes(m: Module, values: list[Signal]) -> list[Signal]:
    """Return for each value the OR of all before it, by a tree of few levels (Sklansky's)."""
    prefixes = list(values)
    span = 1
    while span < len(values):
        for lane in range(len(values)):
            if lane & span:
                merged = Signal.like(values[0], name=f"merged_{span}_{lane}")
                m.d.comb += merged.eq(prefixes[lane] | prefixes[lane // span * span - 1])
                prefixes[lane] = merged
        span *= 2
    return [Signal.like(values[0], name="none"), *prefixes[:-1]]
