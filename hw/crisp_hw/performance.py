"""Performance counters: where every cycle of a layer went."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import COUNT, COUNTERS

from .layouts import word_layout
from .step_issuer import Cause

__all__ = ["PerformanceCounters"]


class PerformanceCounters(wiring.Component):
    """Count a layer's cycles, one cause each, so that active and idle causes add up to the total.

    Latency: a cycle is in the counters in the next one. Flow control: none.

    Members
    -------
    i_start : In
        Clear; the cycle itself counts.
    i_run : In
        A layer runs: count.
    i_cause : In
        What this cycle went to.
    i_window : In
        The last step of a pixel tile is issued.
    i_walked, i_skipped : In
        A kept block was listed; absent blocks passed over for it.
    o_counters : Out
        The counters.
    """

    def __init__(self):
        super().__init__({
            "i_start": In(1),
            "i_run": In(1),
            "i_cause": In(Cause),
            "i_window": In(1),
            "i_walked": In(1),
            "i_skipped": In(COUNT.fields[0].width),
            "o_counters": Out(word_layout(COUNTERS)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        counters = self.o_counters
        increments = {
            "total": self.i_run,
            "active": self.i_run & (self.i_cause == Cause.ACTIVE),
            "idle_weights": self.i_run & (self.i_cause == Cause.WEIGHTS),
            "idle_windows": self.i_run & (self.i_cause == Cause.WINDOWS),
            "idle_drain": self.i_run & (self.i_cause == Cause.DRAIN),
            "idle_output": self.i_run & (self.i_cause == Cause.OUTPUT),
            "idle_tail": self.i_run & (self.i_cause == Cause.TAIL),
            "blocks_walked": self.i_walked,
            "blocks_skipped": self.i_skipped,
            "windows": self.i_window,
        }
        for name, increment in increments.items():
            with m.If(self.i_start):
                m.d.sync += counters[name].eq(increment)
            with m.Else():
                m.d.sync += counters[name].eq(counters[name] + increment)
        return m
