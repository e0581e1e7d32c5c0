"""Supervisor: starts and ends a program, keeps the first error, watches for standstill, and resets safely."""

import enum

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import UNIT_BYTES, ErrorCode

from .axi import ADDRESS_WIDTH
from .command_layouts import UNITS_WIDTH, fault_layout, tag_layout

__all__ = ["Supervisor", "status_layout"]


class Phase(enum.Enum):
    """What the machine is at."""

    IDLE = 0  #: Everything is in reset; what the host reads stands.
    RUN = 1  #: A program runs.
    DRAIN = 2  #: Nothing new is begun; the bus runs empty.


def status_layout() -> data.StructLayout:
    """Lay out the fields of register STATUS."""
    return data.StructLayout(dict.fromkeys(("busy", "done", "error", "resetting", "bus_stuck"), 1))


class Supervisor(wiring.Component):
    """Lead the machine through ``IDLE -> RUN -> DRAIN -> IDLE``.

    A start ends the reset that everything is in while idle. A program's end, an error or a soft reset put all but the ends of the memory
    bus back into reset at once; these begin nothing more, and are reset when nothing is under way any more. So whatever state
    the machine was in, it is as after reset when it is idle again, and the bus has seen whole transactions only.

    The first error is kept: code, number of its command, address. One that comes while the bus runs empty is not the first. When nothing
    moves for as many cycles as the watchdog allows, that is an error too; while the bus runs empty it is told as ``bus_stuck``, for
    the machine must not forget transactions that it began.

    Latency: an error stops the machine in the second cycle. Flow control: none.

    Parameters
    ----------
    sources : int
        Where errors may come from.

    Members
    -------
    i_start, i_soft_reset : In
        The host's orders; a start counts when idle and without error.
    i_finished : In
        The program is complete.
    i_faults : In, array of ``sources``
        Errors, see `fault_layout`; of several in one cycle the first counts.
    i_progress : In
        Something moves.
    i_watchdog : In
        Cycles without progress; 0 is forever.
    i_oldest : In
        The oldest command that is not complete.
    i_first_address : In
        Address of the command list.
    i_bus_idle : In
        Nothing is under way on the bus.
    o_begin : Out
        The cycle before the first of a program: clear what the host reads.
    o_run : Out
        A program runs.
    o_reset : Out
        Reset for all but the ends of the bus.
    o_reset_bus : Out
        Reset for these.
    o_stop : Out
        They must begin nothing more; low only while a program runs, for reset reaches them late.
    o_forget : Out
        A soft reset: forget events.
    o_status : Out
        For register STATUS.
    o_error_code, o_error_command, o_error_address : Out
        The first error.
    o_done_event, o_error_event : Out
        What may raise the interrupt.
    """

    def __init__(self, *, sources: int):
        self.sources = sources
        super().__init__({
            "i_start": In(1),
            "i_soft_reset": In(1),
            "i_finished": In(1),
            "i_faults": In(fault_layout()).array(sources),
            "i_progress": In(1),
            "i_watchdog": In(32),
            "i_oldest": In(tag_layout()),
            "i_first_address": In(ADDRESS_WIDTH),
            "i_bus_idle": In(1),
            "o_begin": Out(1),
            "o_run": Out(1),
            "o_reset": Out(1),
            "o_reset_bus": Out(1),
            "o_stop": Out(1),
            "o_forget": Out(1),
            "o_status": Out(status_layout()),
            "o_error_code": Out(ErrorCode),
            "o_error_command": Out(UNITS_WIDTH),
            "o_error_address": Out(ADDRESS_WIDTH),
            "o_done_event": Out(1),
            "o_error_event": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        phase = Signal(Phase)
        status = self.o_status

        # Cycles without progress.
        quiet_cycles = Signal.like(self.i_watchdog)
        is_still = Signal()
        m.d.comb += is_still.eq((self.i_watchdog != 0) & (quiet_cycles >= self.i_watchdog))
        m.d.sync += quiet_cycles.eq(Mux(self.i_progress | (phase == Phase.IDLE) | is_still, 0, quiet_cycles + 1))

        # The first fault of this cycle, kept for a cycle until it stops the machine.
        fault = Signal(fault_layout())
        m.d.sync += [fault.code.eq(ErrorCode.WATCHDOG), fault.tag.eq(self.i_oldest), fault.on_bus.eq(0)]
        for source in reversed(self.i_faults):
            with m.If(source.valid):
                m.d.sync += fault.eq(source)
        m.d.sync += fault.valid.eq((phase == Phase.RUN) & (is_still | Cat(source.valid for source in self.i_faults).any()))

        # What happens. A fault found in the cycle in which the program was complete counts still.
        fails = Signal()
        ends_well = Signal()
        m.d.comb += ends_well.eq((phase == Phase.DRAIN) & ~status.error & ~status.resetting)
        m.d.comb += fails.eq(((phase == Phase.RUN) | ends_well) & fault.valid)
        with m.If(fails):
            m.d.comb += self.o_error_event.eq(1)
            m.d.sync += [status.error.eq(1), self.o_error_code.eq(fault.code), self.o_error_command.eq(fault.tag.index)]
            m.d.sync += self.o_error_address.eq(Mux(fault.on_bus, fault.address, self.i_first_address + fault.tag.unit * UNIT_BYTES))
        with m.Switch(phase):
            with m.Case(Phase.IDLE):
                with m.If(self.i_start & ~status.error & ~self.i_soft_reset):
                    m.d.comb += self.o_begin.eq(1)
                    m.d.sync += [phase.eq(Phase.RUN), status.busy.eq(1), status.done.eq(0)]
            with m.Case(Phase.RUN):
                with m.If(fails | self.i_finished):
                    m.d.sync += phase.eq(Phase.DRAIN)
            with m.Case(Phase.DRAIN):
                with m.If(self.i_bus_idle):
                    m.d.sync += [phase.eq(Phase.IDLE), status.busy.eq(0), status.resetting.eq(0), status.bus_stuck.eq(0)]
                    with m.If(ends_well & ~fails & ~self.i_soft_reset):
                        m.d.comb += self.o_done_event.eq(1)
                        m.d.sync += status.done.eq(1)
                with m.Elif(is_still & ~status.bus_stuck):
                    m.d.comb += self.o_error_event.eq(1)
                    m.d.sync += status.bus_stuck.eq(1)

        # A soft reset forgets what was, at any time.
        m.d.comb += self.o_forget.eq(self.i_soft_reset)
        with m.If(self.i_soft_reset):
            m.d.sync += [status.done.eq(0), status.error.eq(0)]
            m.d.sync += [self.o_error_code.eq(ErrorCode.NONE), self.o_error_command.eq(0), self.o_error_address.eq(0)]
            with m.If(phase != Phase.IDLE):
                m.d.sync += [phase.eq(Phase.DRAIN), status.busy.eq(1), status.resetting.eq(1)]

        # What follows from the phase.
        m.d.comb += [self.o_run.eq(phase == Phase.RUN), self.o_stop.eq(phase != Phase.RUN)]
        m.d.comb += [self.o_reset.eq(phase != Phase.RUN), self.o_reset_bus.eq(phase == Phase.IDLE)]
        return m
