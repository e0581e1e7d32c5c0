"""A host that does to the simulated machine what no driver would: stops it anywhere, and looks at what it left."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from crisp.arch import IDLE_CAUSES, UNIT_BYTES, ErrorCode, MemoryWindow, Opcode, Program, register
from crisp.arch.command_stream import MemoryRange
from crisp.arch.registers import wide_registers
from crisp.golden.command_check import Fault, check_list
from crisp.golden.machine import Machine
from crisp.golden.on_chip import OnChip
from crisp.runtime.driver import place_windows
from crisp_sim.machine import MachineSimulator, MemoryModel

__all__ = ["Host", "Outcome", "at_rest", "check_records", "run_as_golden"]


@contextlib.contextmanager
def at_rest(machine: MachineSimulator, memory: MemoryModel) -> Iterator[MachineSimulator]:
    """Give the machine at rest; afterwards nothing must be under way, and no rule of the bus broken."""
    machine.set_memory(memory)
    machine.set_faults()
    machine.reset()
    yield machine
    machine.check_bus()
    assert machine.outstanding == 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Parameters
    ----------
    code : ErrorCode
        `ErrorCode.NONE` when it was done.
    command, address : int
        Of an error.
    """

    code: ErrorCode
    command: int
    address: int


class Host:
    """Sets a machine up for a program, starts it, waits, resets.

    Parameters
    ----------
    simulator : MachineSimulator
        The machine.
    program : Program
        What to run.
    image : numpy.ndarray
        Its only input.
    watchdog : int
        Cycles.
    """

    def __init__(self, simulator: MachineSimulator, program: Program, image: np.ndarray, *, watchdog: int = 5000) -> None:
        self.simulator, self.program = simulator, program
        sizes = program.window_bytes
        self.windows = {
            MemoryWindow.PROGRAM: program.program_window(),
            MemoryWindow.SCRATCH: np.zeros(sizes[MemoryWindow.SCRATCH], np.uint8),
            MemoryWindow.INPUT: program.input_window({program.inputs[0].name: image}),
            MemoryWindow.OUTPUT: np.zeros(sizes[MemoryWindow.OUTPUT], np.uint8),
        }
        self.ranges = {window: MemoryRange(base, sizes[window]) for window, base in place_windows(sizes).items()}
        self.units = len(program.commands) // UNIT_BYTES
        self.watchdog = watchdog
        for window, array in self.windows.items():
            if array.nbytes:
                readable, writable = window is not MemoryWindow.OUTPUT, window in (MemoryWindow.SCRATCH, MemoryWindow.OUTPUT)
                simulator.map(self.ranges[window].base, array, readable=readable, writable=writable)

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the memory back."""
        for window, array in self.windows.items():
            if array.nbytes:
                self.simulator.unmap(self.ranges[window].base)

    def read(self, name: str) -> dict[str, int]:
        entry = register(name)
        return entry.unpack(self.simulator.read_register(entry.offset))

    def read_wide(self, name: str) -> int:
        low, high = wide_registers(name)
        return self.simulator.read_register(low.offset) | self.simulator.read_register(high.offset) << 32

    def write(self, name: str, **fields: int) -> None:
        entry = register(name)
        self.simulator.write_register(entry.offset, entry.pack(**fields))

    def set_up(self, **registers: int) -> None:
        """Write all registers that a program needs; ``registers`` replaces whole ones by name."""
        words = {
            "WATCHDOG": self.watchdog,
            "COMMAND_OFFSET": 0,
            "COMMAND_UNITS": self.units,
            "INTERRUPT_ENABLE": 3,
            "INTERRUPT_STATUS": 3,
        }
        for window, place in self.ranges.items():
            words |= {f"{window.name}_BASE_LOW": place.base & 0xFFFFFFFF, f"{window.name}_BASE_HIGH": place.base >> 32}
            words[f"{window.name}_SIZE"] = place.size
        for name, word in (words | registers).items():
            self.simulator.write_register(register(name).offset, word)

    def start(self) -> None:
        self.write("CONTROL", start=1)

    def soft_reset(self) -> None:
        """Order a soft reset, and wait until the machine is at rest."""
        self.write("CONTROL", soft_reset=1)
        for _ in range(1000):
            status = self.read("STATUS")
            if not status["busy"]:
                break
            self.simulator.idle(20)
        assert status == dict.fromkeys(status, 0), status

    def wait(self, cycles: int = 200_000) -> Outcome | None:
        """Wait until the program has ended, and then until the machine is at rest; None when it goes on for longer."""
        if not self.simulator.advance(cycles):
            return None
        for _ in range(1000):
            status = self.read("STATUS")
            if not status["busy"]:
                break
            self.simulator.idle(20)
        assert not status["busy"]
        assert status["done"] != status["error"], status
        assert self.read("INTERRUPT_STATUS") == {"done": status["done"], "error": status["error"]}
        code = ErrorCode(self.read("ERROR_CODE")["code"])
        assert (code is ErrorCode.NONE) == bool(status["done"])
        self.write("INTERRUPT_STATUS", done=1, error=1)
        return Outcome(code, self.read("ERROR_COMMAND")["error_command"], self.read_wide("ERROR_ADDRESS"))

    def run(self) -> Outcome | None:
        """Run the program from the start, see `wait`."""
        self.set_up()
        self.start()
        return self.wait()

    def golden_fault(self) -> Fault | None:
        """Return what the golden model finds wrong with the commands."""
        memory = self.windows[MemoryWindow.PROGRAM].tobytes()
        return check_list(memory, self.program.config, self.ranges, command_offset=0, command_units=self.units)

    def outputs(self) -> Mapping[str, np.ndarray]:
        """Return what the program has written."""
        return self.program.read_outputs(self.windows[MemoryWindow.OUTPUT])


def run_as_golden(host: Host, commands: Sequence[tuple[Opcode, Mapping[str, int]]]) -> dict[str, int]:
    """Run a host's program, ask for the golden machine's bytes, and return the engines' counters."""
    golden = {window: array.copy() for window, array in host.windows.items()}
    model = Machine(OnChip.cleared(host.simulator.config), golden)
    for opcode, fields in commands:
        model.step(opcode, fields)
    assert host.run() == Outcome(ErrorCode.NONE, 0, 0)
    # Words that no command wrote are whatever they were.
    written = golden[MemoryWindow.OUTPUT] != 0
    np.testing.assert_array_equal(host.windows[MemoryWindow.OUTPUT][written], golden[MemoryWindow.OUTPUT][written])
    return {name: host.read_wide(name.upper()) for name in ("active", "blocks_walked", "blocks_skipped", *IDLE_CAUSES)}


def check_records(
    records: Sequence[Mapping[str, int]], commands: Sequence[tuple[Opcode, Mapping[str, int]]], counters: Mapping[str, int]
) -> None:
    """Check what the trace port told: a record for each EXECUTE, in order; the engines' cycles are in them, each once."""
    executes = [index for index, (opcode, _) in enumerate(commands) if opcode is Opcode.EXECUTE]
    assert [record["command"] for record in records] == executes
    for name, total in counters.items():
        assert sum(record[name] for record in records) == total
    for record in records:
        assert record["total"] == record["active"] + sum(record[cause] for cause in IDLE_CAUSES)
