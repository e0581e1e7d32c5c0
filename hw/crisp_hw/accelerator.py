"""Accelerator: the whole machine, between a host's registers and memory. The golden model is ``crisp.golden.machine``."""

from amaranth import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Component, Out, connect

from crisp.arch import EXECUTE, LOAD, STORE, Config, ErrorCode, MemoryWindow

from .activation_buffer import ActivationBuffer
from .activity_counters import ActivityCounters
from .axi import AxiSignature, connect_flat, flat_members
from .axi_reader import AxiReader
from .axi_writer import AxiWriter
from .command_check import CommandCheck, windows_layout
from .command_fetch import CommandFetch
from .command_layouts import fault_layout, tag_layout
from .command_queue import CommandQueue
from .csr import RegisterFile
from .execute_unit import ExecuteUnit, trace_signature
from .load_unit import LOAD_BYTES_WIDTH, LoadUnit
from .scoreboard import Scoreboard
from .skid_buffer import SkidBuffer
from .store_unit import STORE_BYTES_WIDTH, StoreUnit
from .supervisor import Supervisor

__all__ = ["Accelerator"]

#: Beats of the longest burst.
MAX_BURST = 16

#: Beats that are read ahead: commands, and what LOADs bring.
READ_DEPTHS = (2 * MAX_BURST, 8 * MAX_BURST)


class Accelerator(Component):
    """Run programs: LOADs, EXECUTEs and STOREs that work at the same time, as far as their waits allow.

    ::

        s_axi <-> csr <-> supervisor
        m_axi <-> reader -> command_fetch -> command_check -> queues LOAD | EXECUTE | STORE, by the scoreboard
                  reader -> load_unit ------+-> buffers of weights, blocks, channels, runs, table
                                            +-> activation_buffer <-> execute_unit (gather, engine, pooling, results)
                  writer <- store_unit <------- activation_buffer

    It touches no memory outside the windows that the host has opened, reports the first error and stops, and is as after reset
    after a soft reset at any time; see `Supervisor`.

    Flow control: AXI4 manager, AXI4-Lite subordinate.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    m_axi_* : AXI4, manager
        Memory.
    s_axi_* : AXI4-Lite, subordinate
        Registers, see docs/registers.md.
    interrupt : Out
        High while an event that is enabled waits to be cleared.
    o_trace : Out
        A record of each EXECUTE that is complete, see `trace_signature`; may be left open.
    """

    def __init__(self, config: Config):
        self.config = config
        self.csr = RegisterFile(digest=config.digest)
        super().__init__({
            **flat_members("m_axi", Out(AxiSignature(data_width=config.axi_data_width))),
            **flat_members("s_axi", self.csr.signature.members["s_axi"]),
            "interrupt": Out(1),
            "o_trace": Out(trace_signature()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config

        # Host. All but registers and supervisor is in reset unless a program runs, the ends of the bus until they are quiet.
        m.submodules.csr = csr = self.csr
        m.submodules.supervisor = supervisor = Supervisor(sources=5)
        connect_flat(m, self, "s_axi", csr.s_axi)
        in_program = ResetInserter(supervisor.o_reset)
        on_bus = ResetInserter(supervisor.o_reset_bus)
        host = csr.o_host
        windows = Signal(windows_layout())
        for window in MemoryWindow:
            name = window.name.lower()
            m.d.comb += [windows[window].base.eq(host[f"{name}_base"]), windows[window].size.eq(host[f"{name}_size"])]

        # Memory.
        reader = AxiReader(data_width=config.axi_data_width, depths=READ_DEPTHS, max_burst=MAX_BURST, bytes_width=LOAD_BYTES_WIDTH)
        writer = AxiWriter(data_width=config.axi_data_width, max_burst=MAX_BURST, bytes_width=STORE_BYTES_WIDTH)
        m.submodules.reader, m.submodules.writer = on_bus(reader), on_bus(writer)
        connect_flat(m, self, "m_axi", reader.bus)
        connect_flat(m, self, "m_axi", writer.bus)
        m.d.comb += [reader.i_stop.eq(supervisor.o_stop), writer.i_stop.eq(supervisor.o_stop)]
        to_fetch, to_load = range(2)

        # Commands, checked.
        fetch = CommandFetch(config, bytes_width=LOAD_BYTES_WIDTH)
        check = CommandCheck(config)
        m.submodules.command_fetch, m.submodules.command_check = in_program(fetch), in_program(check)
        m.d.comb += [fetch.i_offset.eq(host.command_offset), fetch.i_units.eq(host.command_units)]
        m.d.comb += [fetch.i_base.eq(host.program_base), fetch.i_size.eq(host.program_size), check.i_windows.eq(windows)]
        connect(m, fetch.o_transfer, reader.i_transfers[to_fetch])
        m.submodules.command_beats = in_program(command_beats := SkidBuffer(reader.o_beats[to_fetch].payload.shape()))
        connect(m, reader.o_beats[to_fetch], command_beats.i_data)
        connect(m, command_beats.o_data, fetch.i_beats)
        connect(m, fetch.o_command, check.i_command)

        # Queues, and who may begin.
        loads = CommandQueue(word=LOAD, depth=4, under_way=4)
        executes = CommandQueue(word=EXECUTE, depth=1, under_way=8)
        stores = CommandQueue(word=STORE, depth=4, under_way=4)
        queues = (loads, executes, stores)
        m.submodules.loads, m.submodules.executes, m.submodules.stores = (in_program(queue) for queue in queues)
        m.submodules.scoreboard = scoreboard = Scoreboard(waiting=4)
        m.d.comb += check.i_issued.eq(scoreboard.o_issued)
        m.d.comb += scoreboard.i_clear.eq(supervisor.o_begin)
        for number, (port, queue) in enumerate(zip((check.o_load, check.o_execute, check.o_store), queues, strict=True)):
            connect(m, port, queue.i_command)
            m.d.comb += scoreboard.i_issue[number].eq(port.valid & port.ready)
            m.d.comb += [scoreboard.i_waits[number].eq(queue.o_waits), queue.i_ready.eq(scoreboard.o_ready[number])]
            m.d.comb += queue.i_complete.eq(scoreboard.i_complete[number])
        m.d.comb += scoreboard.i_waits[3].eq(check.o_end_waits)

        # LOAD, EXECUTE, STORE, and the tensors between them.
        load_unit, execute_unit, store_unit = LoadUnit(config), ExecuteUnit(config), StoreUnit(config)
        activations = ActivationBuffer(
            columns=config.columns, group_size=config.group_size, banks=config.banks, depth=config.activation_buffer_depth
        )
        m.submodules.load_unit, m.submodules.execute_unit = in_program(load_unit), in_program(execute_unit)
        m.submodules.store_unit, m.submodules.activation_buffer = in_program(store_unit), in_program(activations)
        for queue, unit in ((loads, load_unit), (stores, store_unit)):
            command, fields = unit.i_command.payload, queue.o_command.payload.fields
            m.d.comb += [unit.i_command.valid.eq(queue.o_command.valid), queue.o_command.ready.eq(unit.i_command.ready)]
            m.d.comb += [command.fields[name].eq(fields[name]) for name, _ in command.fields.shape()]
            m.d.comb += command.base.eq(windows[fields.window].base)
        connect(m, executes.o_command, execute_unit.i_command)
        m.d.comb += scoreboard.i_complete.eq(Cat(load_unit.o_done, execute_unit.o_complete, store_unit.o_done))

        connect(m, load_unit.o_transfer, reader.i_transfers[to_load])
        m.submodules.beats = in_program(beats := SkidBuffer(reader.o_beats[to_load].payload.shape()))
        connect(m, reader.o_beats[to_load], beats.i_data)
        connect(m, beats.o_data, load_unit.i_beats)
        for name in ("clusters", "step", "count", "entry", "channel", "run", "table"):
            m.d.comb += getattr(execute_unit, f"i_{name}").eq(getattr(load_unit, f"o_{name}"))
        connect(m, execute_unit.o_reads[0], activations.i_reads[0])
        connect(m, execute_unit.o_reads[1], activations.i_reads[1])
        connect(m, store_unit.o_read, activations.i_reads[2])
        connect(m, activations.o_reads[0], execute_unit.i_reads[0])
        connect(m, activations.o_reads[1], execute_unit.i_reads[1])
        connect(m, activations.o_reads[2], store_unit.i_read)
        connect(m, execute_unit.o_write, activations.i_writes[0])
        connect(m, load_unit.o_write, activations.i_writes[1])
        m.d.comb += [execute_unit.i_writing.eq(activations.o_writing[0]), load_unit.i_writing.eq(activations.o_writing[1])]
        connect(m, store_unit.o_transfer, writer.i_transfer)
        connect(m, store_unit.o_data, writer.i_data)
        m.d.comb += store_unit.i_done.eq(writer.o_done)

        # Start, end, errors.
        m.d.comb += [supervisor.i_start.eq(csr.o_pulses.control_start), supervisor.i_soft_reset.eq(csr.o_pulses.control_soft_reset)]
        m.d.comb += supervisor.i_finished.eq(check.o_end & scoreboard.o_ready[3] & scoreboard.o_empty & ~execute_unit.o_busy)
        m.d.comb += supervisor.i_first_address.eq(fetch.i_base + fetch.i_offset)
        m.d.comb += [supervisor.i_watchdog.eq(host.watchdog), supervisor.i_bus_idle.eq(reader.o_idle & writer.o_idle)]
        m.d.sync += supervisor.i_oldest.eq(oldest_of(m, queues, fetch.o_tag))
        read_fault, write_fault = Signal(fault_layout()), Signal(fault_layout())
        read_tag = Mux(reader.o_error_client == to_fetch, fetch.o_tag.as_value(), loads.o_oldest.as_value())
        for fault, error, code, tag in (
            (read_fault, reader.o_error, ErrorCode.READ_RESPONSE, read_tag),
            (write_fault, writer.o_error, ErrorCode.WRITE_RESPONSE, stores.o_oldest),
        ):
            m.d.comb += [fault.valid.eq(error.valid), fault.code.eq(code), fault.on_bus.eq(1)]
            m.d.comb += [fault.address.eq(error.address), fault.tag.eq(tag)]
        # Those of commands may come a cycle later: no program with one is complete.
        check_fault, fetch_fault = Signal(fault_layout()), Signal(fault_layout())
        m.d.sync += [check_fault.eq(check.o_fault), fetch_fault.eq(fetch.o_fault)]
        faults = (execute_unit.o_fault, read_fault, write_fault, check_fault, fetch_fault)
        m.d.comb += [port.eq(fault) for port, fault in zip(supervisor.i_faults, faults, strict=True)]

        # What moves.
        axi = {name: getattr(self, f"m_axi_{name}valid") & getattr(self, f"m_axi_{name}ready") for name in ("ar", "r", "aw", "w", "b")}
        ports = [*activations.i_reads, *activations.i_writes]
        m.d.comb += supervisor.i_progress.eq(Cat(*axi.values(), *(port.valid & port.ready for port in ports), execute_unit.o_active).any())

        # Account.
        m.submodules.counters = counters = ActivityCounters(beat_bytes=config.beat_bytes)
        trace = execute_unit.o_trace
        m.d.comb += [counters.i_clear.eq(supervisor.o_begin), counters.i_run.eq(supervisor.o_run)]
        m.d.comb += [counters.i_computing.eq(execute_unit.o_computing), counters.i_cause.eq(execute_unit.o_cause)]
        m.d.comb += counters.i_executing.eq(execute_unit.o_busy)
        m.d.comb += counters.i_moving.eq(loads.o_under_way | stores.o_under_way)
        m.d.comb += counters.i_walked.eq(Mux(trace.valid, trace.payload.blocks_walked, 0))
        m.d.comb += counters.i_skipped.eq(Mux(trace.valid, trace.payload.blocks_skipped, 0))
        m.d.comb += counters.i_reads.eq(axi["r"])
        m.d.comb += counters.i_strobes.eq(Mux(axi["w"], self.m_axi_wstrb, 0))
        m.d.comb += [self.o_trace.valid.eq(trace.valid), self.o_trace.payload.eq(trace.payload)]

        # What the host sees.
        shown = csr.i_machine
        m.d.comb += [shown[f"status_{name}"].eq(supervisor.o_status[name]) for name, _ in supervisor.o_status.shape()]
        m.d.comb += [shown.error_code_code.eq(supervisor.o_error_code), shown.error_command.eq(supervisor.o_error_command)]
        m.d.comb += shown.error_address.eq(supervisor.o_error_address)
        for name, count in zip(("loads", "executes", "stores"), scoreboard.o_completed, strict=True):
            m.d.comb += shown[f"{name}_completed"].eq(count)
        m.d.comb += [shown[name].eq(counters.o_counters[name]) for name, _ in counters.o_counters.shape()]
        m.d.comb += csr.i_events.interrupt_status_done.eq(supervisor.o_done_event)
        m.d.comb += csr.i_events.interrupt_status_error.eq(supervisor.o_error_event)
        m.d.comb += [csr.i_forget.eq(supervisor.o_forget), self.interrupt.eq(csr.o_interrupt)]
        return m


def oldest_of(m: Module, queues: tuple[CommandQueue, ...], next_tag: data.View) -> Value:
    """Return the tag of the oldest command that is not complete, a cycle late: of a queue, else the next one that is fetched."""
    oldest = Signal(tag_layout())
    m.d.comb += oldest.eq(next_tag)
    busy, tags = Signal(len(queues)), [Signal(tag_layout(), name=f"oldest_{number}") for number in range(len(queues))]
    m.d.sync += busy.eq(Cat(queue.o_busy for queue in queues))
    m.d.sync += [tag.eq(queue.o_oldest) for tag, queue in zip(tags, queues, strict=True)]
    for number, tag in enumerate(tags):
        older = [busy[other] & (tags[other].index < tag.index) for other in range(len(queues)) if other != number]
        with m.If(busy[number] & ~Cat(older).any()):
            m.d.comb += oldest.eq(tag)
    return oldest
