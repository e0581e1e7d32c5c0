"""Activity counters: what every cycle of a program went to, and what went over the memory bus."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch.registers import ACTIVITY_COUNTERS, TRAFFIC_COUNTERS

from .step_issuer import Cause

__all__ = ["ActivityCounters", "counters_layout"]

#: Counter of each cause of the engine.
CAUSES = {
    Cause.ACTIVE: "active",
    Cause.WEIGHTS: "idle_weights",
    Cause.WINDOWS: "idle_windows",
    Cause.DRAIN: "idle_drain",
    Cause.OUTPUT: "idle_output",
    Cause.TAIL: "idle_tail",
}


def counters_layout() -> data.StructLayout:
    """Lay out the counters, as the registers have them."""
    names = ("cycles", *(name for name, _ in (*ACTIVITY_COUNTERS, *TRAFFIC_COUNTERS)))
    return data.StructLayout(dict.fromkeys(names, 64))


class ActivityCounters(wiring.Component):
    """Count each cycle of a program under one cause, so that they add up to all cycles, and some things more.

    Latency: two cycles from a cycle to its count. Flow control: none.

    Parameters
    ----------
    beat_bytes : int
        Bytes of a beat on the memory bus.

    Members
    -------
    i_clear : In
        Begin at 0.
    i_run : In
        A program runs: count.
    i_computing, i_cause : In
        The engine is at work, and what this cycle goes to.
    i_executing : In
        An EXECUTE is under way.
    i_moving : In
        A LOAD or STORE is under way.
    i_walked, i_skipped : In
        Blocks to add.
    i_reads : In
        A beat was read.
    i_strobes : In
        Bytes of a beat that is written.
    o_counters : Out
        The counters.
    """

    def __init__(self, *, beat_bytes: int):
        super().__init__({
            "i_clear": In(1),
            "i_run": In(1),
            "i_computing": In(1),
            "i_cause": In(Cause),
            "i_executing": In(1),
            "i_moving": In(1),
            "i_walked": In(32),
            "i_skipped": In(32),
            "i_reads": In(1),
            "i_strobes": In(beat_bytes),
            "o_counters": Out(counters_layout()),
        })  # fmt: skip
        self.beat_bytes = beat_bytes

    def elaborate(self, platform):
        m = Module()
        written = Signal(range(self.beat_bytes + 1))
        m.d.comb += written.eq(sum(self.i_strobes))
        increments = {
            "cycles": 1,
            **{name: self.i_computing & (self.i_cause == cause) for cause, name in CAUSES.items()},
            "idle_pooling": ~self.i_computing & self.i_executing,
            "idle_memory": ~self.i_computing & ~self.i_executing & self.i_moving,
            "idle_command": ~self.i_computing & ~self.i_executing & ~self.i_moving,
            "blocks_walked": self.i_walked,
            "blocks_skipped": self.i_skipped,
            "bytes_read": Mux(self.i_reads, self.beat_bytes, 0),
            "bytes_written": written,
        }
        for name, increment in increments.items():
            counter = self.o_counters[name]
            step = Signal.like(increment, name=f"{name}_step") if name != "cycles" else Signal(name="cycles_step")
            m.d.sync += step.eq(Mux(self.i_run, increment, 0))
            m.d.sync += counter.eq(counter + step)
            with m.If(self.i_clear):
                m.d.sync += counter.eq(0)
        return m
