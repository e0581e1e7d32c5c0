"""Scoreboard: how many commands of each queue have begun and are complete, and so who may begin."""

from amaranth import Cat, Module, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .command_layouts import COUNT_WIDTH, QUEUES, waits_layout

__all__ = ["Scoreboard"]


class Scoreboard(wiring.Component):
    """Tell whether what a command waits for is complete: ``(completed - wait) mod 2^16 < 2^15`` for each of the three queues.

    Waits only count commands that stand before (`crisp.arch.command_rules`), so the oldest command that is not complete never waits
    for long, and there is no standstill.

    Latency: a pulse is in the counts in the next cycle; the answer to waits is combinational. Flow control: none.

    Parameters
    ----------
    waiting : int
        Commands that ask at the same time.

    Members
    -------
    i_clear : In
        Counts begin at 0 in the next cycle.
    i_issue, i_complete : In, a bit for each of `QUEUES`
        A command was put into the queue; the oldest one is complete.
    i_waits : In, array of ``waiting``
        What commands wait for.
    o_ready : Out, ``waiting`` bits
        It is complete.
    o_issued, o_completed : Out, array
        Counts, those of commands complete in 32 bits for the host.
    o_empty : Out
        All that were issued are complete.
    """

    def __init__(self, *, waiting: int):
        self.waiting = waiting
        num_queues = len(QUEUES)
        super().__init__({
            "i_clear": In(1),
            "i_issue": In(num_queues),
            "i_complete": In(num_queues),
            "i_waits": In(waits_layout()).array(waiting),
            "o_ready": Out(waiting),
            "o_issued": Out(data.ArrayLayout(unsigned(COUNT_WIDTH), num_queues)),
            "o_completed": Out(data.ArrayLayout(unsigned(32), num_queues)),
            "o_empty": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        for queue in range(len(QUEUES)):
            m.d.sync += self.o_issued[queue].eq(self.o_issued[queue] + self.i_issue[queue])
            m.d.sync += self.o_completed[queue].eq(self.o_completed[queue] + self.i_complete[queue])
        with m.If(self.i_clear):
            m.d.sync += [self.o_issued.eq(0), self.o_completed.eq(0)]

        counts = [completed[:COUNT_WIDTH] for completed in self.o_completed]
        m.d.comb += self.o_empty.eq(Cat(count == issued for count, issued in zip(counts, self.o_issued, strict=True)).all())
        for asks in range(self.waiting):
            late = Signal(len(QUEUES), name=f"late_{asks}")
            for queue, opcode in enumerate(QUEUES):
                ahead = Signal(COUNT_WIDTH, name=f"ahead_{asks}_{opcode.name.lower()}")
                m.d.comb += ahead.eq(counts[queue] - self.i_waits[asks][f"wait_{opcode.name.lower()}"])
                m.d.comb += late[queue].eq(ahead[-1])
            m.d.comb += self.o_ready[asks].eq(~late.any())
        return m
