"""The host's side of the registers: what to write, what to wait for, and what to make of the answer. The same on every device."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from crisp.arch import UNIT_BYTES, Config, ErrorCode, MemoryWindow, Opcode, Program
from crisp.arch.registers import (
    ACTIVITY_COUNTERS,
    MAGIC,
    TRAFFIC_COUNTERS,
    VERSION_MAJOR,
    WINDOW_GRANULE,
    register,
    wide_registers,
)

from .errors import AcceleratorError, DeviceError
from .layers import LayerReport, report_layers

__all__ = ["Device", "DeviceRun", "Driver"]

#: Where the windows begin: beyond 32 bits, so that both halves of an address count.
MEMORY_BASE = 0x12_0000_0000

#: Windows begin at pages, with at least one between them that belongs to nobody.
PAGE_BYTES = 4096

#: Cycles between two looks at the machine.
SLICE = 100_000

#: Cycles in which a reset ends unless memory owes answers.
RESET_PATIENCE = 100_000

#: Counters of a run, in the order of the registers.
COUNTER_NAMES = ("cycles", *(name for name, _ in (*ACTIVITY_COUNTERS, *TRAFFIC_COUNTERS)))


class Device(Protocol):
    """What a driver needs of a machine, simulated or real."""

    def read_register(self, address: int) -> int:
        """Read a register of 32 bits."""

    def write_register(self, address: int, value: int) -> None:
        """Write a register of 32 bits."""

    def map(self, base: int, array: np.ndarray, *, readable: bool = True, writable: bool = True) -> None:
        """Let bytes of the machine's memory be those of ``array``."""

    def unmap(self, base: int) -> None:
        """End that."""

    def advance(self, cycles: int) -> bool:
        """Wait until the interrupt is high, for about so many cycles at most; return whether it is."""

    def take_trace(self) -> Sequence[Mapping[str, int]]:
        """Return what the trace port has told: nothing, where there is none."""

    @property
    def cycle(self) -> int:
        """Number of the current cycle, as the trace counts them."""


@dataclasses.dataclass(frozen=True)
class DeviceRun:
    """What a run left.

    Parameters
    ----------
    output : numpy.ndarray
        ``uint8``: the window OUTPUT.
    counters : dict
        Counters of the machine.
    layers : tuple of LayerReport
        Where the cycles went; empty counts where the device has no trace port.
    """

    output: np.ndarray
    counters: dict[str, int]
    layers: tuple[LayerReport, ...]


class Driver:
    """Runs programs on a device.

    Parameters
    ----------
    device : Device
        The machine.
    config : Config
        What it must be built from.
    watchdog : int
        Cycles without progress after which the machine gives up.

    Raises
    ------
    DeviceError
        When the device is no such machine.
    """

    def __init__(self, device: Device, config: Config, *, watchdog: int = 1 << 20) -> None:
        self.device = device
        self.config = config
        self.watchdog = watchdog
        self._identify()

    def run(
        self,
        program: Program,
        input_window: np.ndarray,
        *,
        progress: Callable[[int, int], None] | None = None,
        timeout_cycles: int | None = None,
    ) -> DeviceRun:
        """Run a program.

        Parameters
        ----------
        program : Program
            The program, for this configuration.
        input_window : numpy.ndarray
            ``uint8``: the window INPUT.
        progress : callable, optional
            Called now and then with commands that are complete, and all of them.
        timeout_cycles : int, optional
            Cycles after which the program is taken to go on for ever; default is none, since the machine has its watchdog.

        Raises
        ------
        AcceleratorError
            When the machine stops at an error; it is reset, and ready for the next program.
        DeviceError
            When the machine cannot be reset, or time is over.
        """
        sizes = program.window_bytes
        windows = {
            MemoryWindow.PROGRAM: program.program_window(),
            MemoryWindow.SCRATCH: np.zeros(sizes[MemoryWindow.SCRATCH], np.uint8),
            MemoryWindow.INPUT: input_window,
            MemoryWindow.OUTPUT: np.zeros(sizes[MemoryWindow.OUTPUT], np.uint8),
        }
        bases = place_windows(sizes)
        mapped = []
        try:
            for window, array in windows.items():
                if array.nbytes:
                    readable, writable = window is not MemoryWindow.OUTPUT, window in (MemoryWindow.SCRATCH, MemoryWindow.OUTPUT)
                    self.device.map(bases[window], array, readable=readable, writable=writable)
                    mapped.append(bases[window])
            return self._run_mapped(program, windows, bases, progress, timeout_cycles)
        finally:
            for base in mapped:
                self.device.unmap(base)

    def reset(self) -> None:
        """Reset the machine by its register, whatever it does.

        Raises
        ------
        DeviceError
            When it does not end, since memory owes answers.
        """
        self._write("CONTROL", soft_reset=1)
        for _ in range(RESET_PATIENCE // 100):
            status = self._read("STATUS")
            if not (status["busy"] or status["resetting"] or status["error"]):
                self._write("INTERRUPT_STATUS", done=1, error=1)
                return
            self.device.advance(100)
        stuck = ", since memory owes answers" if status["bus_stuck"] else ""
        raise DeviceError(f"the machine must be reset in {RESET_PATIENCE} cycles, but is not{stuck}: reset it with its bus")

    def _identify(self) -> None:
        """Raise unless the device is the machine that it must be."""
        number = self._read("ID")["id"]
        if number != MAGIC:
            raise DeviceError(f"register ID must read {MAGIC:#010x}, not {number:#010x}: this is no CRISP accelerator, or not its address")
        version = self._read("VERSION")["major"]
        if version != VERSION_MAJOR:
            raise DeviceError(f"the machine's major version must be {VERSION_MAJOR}, not {version}: use the driver that came with it")
        digest = self._read("CONFIG_DIGEST")["config_digest"]
        if digest != self.config.digest:
            raise DeviceError(
                f"the machine's configuration must have digest {self.config.digest:#010x}, not {digest:#010x}: name the configuration "
                "that it was built from"
            )

    def _run_mapped(
        self,
        program: Program,
        windows: Mapping[MemoryWindow, np.ndarray],
        bases: Mapping[MemoryWindow, int],
        progress: Callable[[int, int], None] | None,
        timeout_cycles: int | None,
    ) -> DeviceRun:
        """Run a program whose windows are in memory."""
        status = self._read("STATUS")
        if status["busy"] or status["error"]:
            self.reset()
        for window, base in bases.items():
            low, high = wide_registers(f"{window.name}_BASE")
            self.device.write_register(low.offset, base & 0xFFFF_FFFF)
            self.device.write_register(high.offset, base >> 32)
            self.device.write_register(register(f"{window.name}_SIZE").offset, windows[window].nbytes)
        self._write("COMMAND_OFFSET", command_offset=0)
        self._write("COMMAND_UNITS", command_units=len(program.commands) // UNIT_BYTES)
        self._write("WATCHDOG", watchdog=self.watchdog)
        self._write("INTERRUPT_STATUS", done=1, error=1)
        self._write("INTERRUPT_ENABLE", done=1, error=1)

        self.device.take_trace()
        start = self.device.cycle
        self._write("CONTROL", start=1)
        try:
            self._wait(program, start, progress, timeout_cycles)
        except BaseException:
            # Interrupted, for example: leave a machine that the next program finds at rest.
            self.reset()
            raise
        status = self._read("STATUS")
        if status["error"]:
            error = self._error(program)
            self.reset()
            raise error
        if not status["done"]:
            raise DeviceError(f"{program.network}: the machine must be done when it interrupts, but its status is {status}")
        self._write("INTERRUPT_STATUS", done=1, error=1)
        return DeviceRun(
            output=windows[MemoryWindow.OUTPUT],
            counters={name: self._read_wide(name.upper()) for name in COUNTER_NAMES},
            layers=report_layers(program, self.device.take_trace(), start),
        )

    def _wait(self, program: Program, start: int, progress: Callable[[int, int], None] | None, timeout_cycles: int | None) -> None:
        """Wait for the interrupt."""
        total = sum(command.opcode is not Opcode.END for command in program.decode()) if progress is not None else 0
        while not self.device.advance(SLICE if timeout_cycles is None else min(SLICE, timeout_cycles)):
            if progress is not None:
                progress(self._completed(), total)
            if timeout_cycles is not None and self.device.cycle - start >= timeout_cycles:
                raise DeviceError(
                    f"{program.network}: must end within {timeout_cycles} cycles, but has completed only {self._completed()} commands: "
                    "allow more, or see whether memory answers"
                )
        if progress is not None:
            progress(self._completed(), total)

    def _completed(self) -> int:
        """Return how many commands are complete."""
        return sum(self._read(f"{queue}_COMPLETED")[f"{queue.lower()}_completed"] for queue in ("LOADS", "EXECUTES", "STORES"))

    def _error(self, program: Program) -> AcceleratorError:
        """Return what the error registers say."""
        number = self._read("ERROR_CODE")["code"]
        code = {int(code): code for code in ErrorCode}.get(number)
        if code is None:
            raise DeviceError(f"{program.network}: the machine's error code must be known, not {number}: use the driver that came with it")
        command = self._read("ERROR_COMMAND")["error_command"]
        return AcceleratorError(program, code, command, self._read_wide("ERROR_ADDRESS"))

    def _read(self, name: str) -> dict[str, int]:
        """Return the fields of a register."""
        entry = register(name)
        return entry.unpack(self.device.read_register(entry.offset))

    def _read_wide(self, name: str) -> int:
        """Return a number of 64 bits."""
        low, high = wide_registers(name)
        value = self.device.read_register(low.offset)
        return value | self.device.read_register(high.offset) << 32

    def _write(self, name: str, **fields: Any) -> None:
        """Write a register; fields that are not named are 0."""
        entry = register(name)
        self.device.write_register(entry.offset, entry.pack(**fields))


def place_windows(sizes: Mapping[MemoryWindow, int]) -> dict[MemoryWindow, int]:
    """Choose the address of every window."""
    bases = {}
    free = MEMORY_BASE
    for window, size in sizes.items():
        # Not at the begin of a page, so that bursts must be cut where pages end.
        bases[window] = -(-free // PAGE_BYTES) * PAGE_BYTES + PAGE_BYTES - WINDOW_GRANULE
        free = bases[window] + size + PAGE_BYTES
    return bases
