"""A device made of the golden machine: it has the registers and the memory of the real one, and can be made to misbehave."""

from collections.abc import Mapping, Sequence

import numpy as np

from crisp.arch import UNIT_BYTES, Config, ErrorCode, MemoryWindow, Opcode, decode_commands
from crisp.arch.command_stream import MemoryRange
from crisp.arch.registers import MAGIC, REGISTERS, VERSION_MAJOR, Access, register, wide_registers
from crisp.golden.command_check import check_list
from crisp.golden.machine import Machine
from crisp.golden.on_chip import OnChip

__all__ = ["GoldenDevice"]

#: Cycles that a command takes.
COMMAND_CYCLES = 1000


class GoldenDevice:
    """Carries out one command every thousand cycles.

    Parameters
    ----------
    config : Config
        The machine.
    fixed : mapping
        Fields, by register and field, that read what they should not.
    fail : ErrorCode
        Error at command 1.
    endless : bool
        Never ends.
    """

    def __init__(
        self,
        config: Config,
        *,
        fixed: Mapping[tuple[str, str], int] | None = None,
        fail: ErrorCode = ErrorCode.NONE,
        endless: bool = False,
    ) -> None:
        self.config = config
        self.fixed = dict(fixed or {})
        self.fail = fail
        self.endless = endless
        self.cycle = 0
        self.memory: dict[int, np.ndarray] = {}
        self.permissions: dict[int, tuple[bool, bool]] = {}
        self.log: list[tuple[str, int]] = []
        self.trace: list[dict[str, int]] = []
        self.commands: list = []
        self.values = {(entry.name, field.name): field.reset for entry in REGISTERS for field in entry.fields}
        self.values["ID", "id"] = MAGIC
        self.values["VERSION", "major"] = VERSION_MAJOR
        self.values["CONFIG_DIGEST", "config_digest"] = config.digest

    def read_register(self, address: int) -> int:
        self.cycle += 3
        entry = next(entry for entry in REGISTERS if entry.offset == address)
        values = {**self.values, **self.fixed}
        return sum(values[entry.name, field.name] << field.low for field in entry.fields)

    def write_register(self, address: int, value: int) -> None:
        self.cycle += 3
        entry = next(entry for entry in REGISTERS if entry.offset == address)
        self.log.append((entry.name, value))
        for field in entry.fields:
            new = field.extract(value)
            if field.access is Access.CLEAR:
                self.values[entry.name, field.name] &= ~new
            elif field.access is Access.LOCKED:
                assert not self.values["STATUS", "busy"], f"{entry.name} is fixed while the machine is busy"
                self.values[entry.name, field.name] = new
            elif field.access is Access.WRITE:
                self.values[entry.name, field.name] = new
            elif new:
                (self.start if field.name == "start" else self.soft_reset)()

    def map(self, base: int, array: np.ndarray, *, readable: bool = True, writable: bool = True) -> None:
        self.memory[base] = array
        self.permissions[base] = (readable, writable)

    def unmap(self, base: int) -> None:
        del self.memory[base]

    def take_trace(self) -> Sequence[Mapping[str, int]]:
        trace, self.trace = self.trace, []
        return trace

    def advance(self, cycles: int) -> bool:
        end = self.cycle + cycles
        while self.values["STATUS", "busy"] and self.cycle + COMMAND_CYCLES <= end:
            self.cycle += COMMAND_CYCLES
            if not self.endless:
                self.step()
        if not any(self.values["INTERRUPT_STATUS", name] & self.values["INTERRUPT_ENABLE", name] for name in ("done", "error")):
            self.cycle = end
            return False
        return True

    def range(self, window: MemoryWindow) -> MemoryRange:
        low, high = wide_registers(f"{window.name}_BASE")
        return MemoryRange(
            sum(self.values[entry.name, entry.fields[0].name] << entry.fields[0].low + shift for entry, shift in ((low, 0), (high, 32))),
            self.values[f"{window.name}_SIZE", f"{window.name.lower()}_size"] << register(f"{window.name}_SIZE").fields[0].low,
        )

    def window(self, window: MemoryWindow) -> np.ndarray:
        found = self.range(window)
        if not found.size:
            return np.zeros(0, np.uint8)
        assert len(self.memory[found.base]) == found.size
        return self.memory[found.base]

    def start(self) -> None:
        assert not self.values["STATUS", "busy"], "started while busy"
        assert not self.values["STATUS", "error"], "started after an error"
        program = self.window(MemoryWindow.PROGRAM)
        offset, units = self.values["COMMAND_OFFSET", "command_offset"], self.values["COMMAND_UNITS", "command_units"]
        windows = {window: self.range(window) for window in MemoryWindow}
        fault = check_list(program.tobytes(), self.config, windows, command_offset=offset, command_units=units)
        if fault is not None:
            self.stop(fault.code, fault.command, fault.address)
            return
        self.values["STATUS", "busy"], self.values["STATUS", "done"] = 1, 0
        for queue in ("LOADS", "EXECUTES", "STORES"):
            self.values[f"{queue}_COMPLETED", f"{queue.lower()}_completed"] = 0
        self.machine = Machine(OnChip.cleared(self.config), {window: self.window(window) for window in MemoryWindow})
        self.commands = list(decode_commands(program[offset : offset + units * UNIT_BYTES].tobytes()))

    def step(self) -> None:
        command, *self.commands = self.commands
        if self.fail and command.index == 1:
            self.stop(self.fail, 1, self.range(MemoryWindow.PROGRAM).base + UNIT_BYTES)
            return
        self.machine.step(command.opcode, command.unpack())
        if command.opcode is Opcode.END:
            self.values["CYCLES_LOW", "cycles_low"] = (command.index + 1) * COMMAND_CYCLES
            self.values["STATUS", "busy"], self.values["STATUS", "done"] = 0, 1
            self.values["INTERRUPT_STATUS", "done"] = 1
            return
        queue = f"{command.opcode.name}S"
        self.values[f"{queue}_COMPLETED", f"{queue.lower()}_completed"] += 1
        if command.opcode is Opcode.EXECUTE:
            self.trace.append({"cycle": self.cycle, "command": command.index, "active": 7, "blocks_walked": command.index})

    def stop(self, code: ErrorCode, command: int, address: int) -> None:
        self.values["STATUS", "busy"], self.values["STATUS", "error"] = 0, 1
        self.values["ERROR_CODE", "code"] = code
        self.values["ERROR_COMMAND", "error_command"] = command
        self.values["ERROR_ADDRESS_LOW", "error_address_low"] = address & 0xFFFF_FFFF
        self.values["ERROR_ADDRESS_HIGH", "error_address_high"] = address >> 32
        self.values["INTERRUPT_STATUS", "error"] = 1

    def soft_reset(self) -> None:
        for name in ("busy", "done", "error"):
            self.values["STATUS", name] = 0
