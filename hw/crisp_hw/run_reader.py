"""Run reader: the list of runs that a window is gathered from, read ahead again and again."""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE, RUN

from .layouts import word_layout, write_port_layout

__all__ = ["RunReader"]


class RunReader(wiring.Component):
    """Hold runs and list those of some windows over and over, from ``i_start`` to ``i_stop``.

    Where the list ends is written in its last run only. So the first time it is read on beyond the end, and what came too much is
    dropped; from then on the end is known, and the next list follows without a gap.

    Latency: `LATENCY` cycles from ``i_start`` to the first run; the list's second reading begins one less behind the end of its first.
    Throughput: a run a cycle.
    Flow control: ``o_run`` is prefetched; writes are taken in every cycle.

    Parameters
    ----------
    depth : int
        Runs.

    Members
    -------
    i_write : In
        Write a run.
    i_start : In
        Begin at ``i_base``, in the next cycle.
    i_base, i_windows : In
        First run, and windows whose runs make the list; kept until ``i_stop``.
    i_stop : In
        End, and forget the runs that are prefetched.
    o_run : Out, stream
        Runs.
    o_error : Out
        The buffer ends before the list does, which ends reading too.
    """

    LATENCY = 4
    PREFETCH = 8

    def __init__(self, *, depth: int):
        self.depth = depth
        command = word_layout(EXECUTE).members
        super().__init__({
            "i_write": In(write_port_layout(word_layout(RUN), depth)),
            "i_start": In(1),
            "i_base": In(command["run_base"]),
            "i_windows": In(command["row_tiles"]),
            "i_stop": In(1),
            "o_run": Out(stream.Signature(word_layout(RUN))),
            "o_error": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.runs = runs = Memory(shape=word_layout(RUN), depth=self.depth, init=[])
        write = runs.write_port()
        m.d.comb += [write.en.eq(self.i_write.enable), write.addr.eq(self.i_write.address), write.data.eq(self.i_write.data)]

        # Read whenever the FIFO has room for what is on its way and one more.
        restarts = self.i_start | self.i_stop
        m.submodules.prefetch = prefetch = ResetInserter(restarts)(SyncFIFO(width=RUN.width, depth=self.PREFETCH))
        reading = Signal()
        address = Signal(range(max(self.depth, 1 << len(self.i_base)) + 1))
        ends_buffer = address >= self.depth
        issue = Signal()
        m.d.comb += issue.eq(reading & ~ends_buffer & (prefetch.level <= self.PREFETCH - self.LATENCY + 1))
        read = runs.read_port()
        m.d.comb += read.addr.eq(address)

        # RAM and register.
        come = Signal()
        come_address = Signal.like(address)
        arrived = Signal()
        arrived_address = Signal.like(address)
        run = Signal(word_layout(RUN))
        m.d.sync += [come.eq(issue), come_address.eq(address)]
        m.d.sync += [arrived.eq(come), arrived_address.eq(come_address), run.eq(read.data)]
        m.d.comb += [prefetch.w_en.eq(arrived), prefetch.w_data.eq(run)]
        m.d.comb += [self.o_run.valid.eq(prefetch.r_rdy), self.o_run.payload.as_value().eq(prefetch.r_data)]
        m.d.comb += prefetch.r_en.eq(self.o_run.ready)

        # Go on, and from the list's end to its begin, once the end is known.
        end = Signal.like(address)
        knows_end = Signal()
        windows_left = Signal.like(self.i_windows)
        with m.If(issue):
            m.d.sync += address.eq(Mux(knows_end & (address == end), self.i_base, address + 1))
        with m.If(arrived & run.last & ~knows_end):
            m.d.sync += windows_left.eq(windows_left - 1)
            with m.If(windows_left == 1):
                m.d.sync += [knows_end.eq(1), end.eq(arrived_address), address.eq(self.i_base)]
                m.d.sync += [come.eq(0), arrived.eq(0)]
        m.d.comb += self.o_error.eq(reading & ends_buffer & ~come & ~arrived)
        with m.If(self.o_error):
            m.d.sync += reading.eq(0)
        with m.If(restarts):
            m.d.sync += [reading.eq(self.i_start), come.eq(0), arrived.eq(0)]
            m.d.sync += [address.eq(self.i_base), knows_end.eq(0), windows_left.eq(self.i_windows)]
        return m
