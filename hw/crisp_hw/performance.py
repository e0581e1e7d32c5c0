"""Performance counters: where every cycle of a command went."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import COUNTERS, EXECUTE

from .layouts import word_layout
from .step_issuer import Cause

__all__ = ["PerformanceCounters"]


class PerformanceCounters(wiring.Component):
    """Count each command's cycles, one cause each, so that active and idle causes add up to the total.

    A command's account opens in the first cycle in which it is the oldest one with steps to issue. It closes when all its steps are
    issued and either the next command is at hand, or no result is under way any more: the tail belongs to the last of several
    commands that follow each other. So every cycle in which there is work belongs to one command.

    Latency: a cycle is in the counters in the next one. Flow control: none.

    Members
    -------
    i_command : In
        There is a command whose steps are not all issued.
    i_command_end : In
        The last step of the oldest one is issued.
    i_cause : In
        What this cycle went to.
    i_empty : In
        No result is under way behind this cycle.
    i_block_end, i_list_end, i_window_end : In
        The step issued is the last of a kept block, of those of a row tile, of a window.
    i_block_columns : In
        Blocks that a row tile would have if all were kept.
    o_counters : Out
        The counters.
    o_valid : Out
        Those are a command's whole account; once a command, in order.
    o_busy : Out
        This cycle is counted.
    """

    def __init__(self):
        super().__init__({
            "i_command": In(1),
            "i_command_end": In(1),
            "i_cause": In(Cause),
            "i_empty": In(1),
            "i_block_end": In(1),
            "i_list_end": In(1),
            "i_window_end": In(1),
            "i_block_columns": In(word_layout(EXECUTE)["block_columns"].shape),
            "o_counters": Out(word_layout(COUNTERS)),
            "o_valid": Out(1),
            "o_busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # Open and close accounts.
        is_tail = Signal()  # all steps of the account's command are issued
        is_over = Signal()  # and no result is under way
        is_new = Signal(init=1)  # the next cycle with a command opens an account
        m.d.comb += self.o_valid.eq(is_tail & (self.i_command | is_over))
        m.d.comb += self.o_busy.eq(self.i_command | (is_tail & ~is_over))
        with m.If(self.i_command):
            m.d.sync += [is_new.eq(self.i_command_end), is_tail.eq(self.i_command_end), is_over.eq(0)]
        with m.Elif(is_tail):
            m.d.sync += [is_tail.eq(~is_over), is_over.eq(self.i_empty)]

        # Count.
        counters = self.o_counters
        increments = {
            "total": self.o_busy,
            "active": self.o_busy & (self.i_cause == Cause.ACTIVE),
            "idle_weights": self.o_busy & (self.i_cause == Cause.WEIGHTS),
            "idle_windows": self.o_busy & (self.i_cause == Cause.WINDOWS),
            "idle_drain": self.o_busy & (self.i_cause == Cause.DRAIN),
            "idle_output": self.o_busy & (self.i_cause == Cause.OUTPUT),
            "idle_tail": self.o_busy & (self.i_cause == Cause.TAIL),
            "blocks_walked": self.i_block_end,
            "blocks_skipped": Mux(self.i_list_end, self.i_block_columns, 0) - self.i_block_end,
            "windows": self.i_window_end,
        }
        for name, increment in increments.items():
            m.d.sync += counters[name].eq(Mux(self.i_command & is_new, 0, counters[name]) + increment)
        return m
