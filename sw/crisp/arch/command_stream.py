"""A program's commands as a list: how the bytes are read, and what must hold of them before any has an effect."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from .commands import END, EXECUTE, LOAD, STORE, UNIT_BYTES, LoadTarget, MemoryWindow, Opcode
from .config import Config
from .errors import FieldError, ProgramError
from .fields import Word

__all__ = ["COMMAND_WORDS", "Command", "check_commands", "decode_commands"]

#: The word of each command.
COMMAND_WORDS: dict[Opcode, Word] = {Opcode.LOAD: LOAD, Opcode.STORE: STORE, Opcode.EXECUTE: EXECUTE, Opcode.END: END}

#: The field that counts complete commands of a queue.
WAITS = {Opcode.LOAD: "wait_load", Opcode.EXECUTE: "wait_execute", Opcode.STORE: "wait_store"}

#: Windows that a LOAD may read, and that a STORE may write.
READABLE = (MemoryWindow.PROGRAM, MemoryWindow.SCRATCH, MemoryWindow.INPUT)
WRITABLE = (MemoryWindow.SCRATCH, MemoryWindow.OUTPUT)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a program.

    Parameters
    ----------
    index : int
        Its number in the stream, from 0.
    opcode : Opcode
        What it does.
    word : int
        Its bits.
    """

    index: int
    opcode: Opcode
    word: int

    def unpack(self) -> dict[str, int]:
        """Return its fields.

        Raises
        ------
        FieldError
            When a reserved bit is set.
        """
        return COMMAND_WORDS[self.opcode].unpack(self.word)

    def field(self, name: str) -> int:
        """Return one unsigned field."""
        word = COMMAND_WORDS[self.opcode]
        width = next(field.width for field in word.fields if field.name == name)
        return self.word >> word.shift(name) & ((1 << width) - 1)


def decode_commands(data: bytes) -> Iterator[Command]:
    """Yield the commands that a program's bytes hold, up to END.

    Raises
    ------
    ProgramError
        When a command has no opcode, is cut off, or bytes follow END: names the command and its byte.
    """
    opcodes = set(map(int, Opcode))
    position = index = 0
    while True:
        if position >= len(data):
            raise ProgramError(f"COMMANDS: the last command must be END, but the section ends after command {index - 1}; compile it again")
        number = data[position] & 15
        if number not in opcodes:
            raise ProgramError(f"COMMANDS: command {index} (byte {position}): opcode must be one of 1 to 4, not {number}; compile it again")
        opcode = Opcode(number)
        size = COMMAND_WORDS[opcode].num_bytes
        if position + size > len(data):
            raise ProgramError(
                f"COMMANDS: command {index} (byte {position}): {opcode.name} must have {size} bytes, not {len(data) - position}; "
                "compile it again"
            )
        yield Command(index, opcode, int.from_bytes(data[position : position + size], "little"))
        position, index = position + size, index + 1
        if opcode is Opcode.END:
            break
    if position != len(data):
        raise ProgramError(f"COMMANDS: END must be the last command, but {len(data) - position} bytes follow it; compile it again")


def check_commands(data: bytes, config: Config, window_bytes: Mapping[MemoryWindow, int]) -> list[Command]:
    """Check what can be told of commands without running them, and return them.

    Reserved bits are zero; waits count only commands that stand before, so that no order of the queues ends in a standstill;
    LOAD and STORE stay within windows that they may use.

    Raises
    ------
    ProgramError
        Names the command, the rule and the value.
    """
    if len(data) % UNIT_BYTES:
        raise ProgramError(f"COMMANDS: must be whole units of {UNIT_BYTES} bytes, not {len(data)} bytes; compile it again")
    commands = []
    issued = dict.fromkeys(WAITS, 0)
    for command in decode_commands(data):
        name = f"COMMANDS: command {command.index} ({command.opcode.name})"

        def fail(rule: str, name: str = name) -> ProgramError:
            return ProgramError(f"{name}: {rule}; compile the network again")

        word = COMMAND_WORDS[command.opcode]
        if command.word >> word.used:
            raise fail(f"reserved bits from bit {word.used} on must be zero")
        for queue, field in WAITS.items():
            if (issued[queue] - command.field(field)) % (1 << 16) >= 1 << 15:
                raise fail(f"{field} must count {queue.name}s that stand before it, {issued[queue]}, not {command.field(field)}")
        if command.opcode in issued:
            issued[command.opcode] += 1
        if command.opcode in (Opcode.LOAD, Opcode.STORE):
            check_transfer(command, config, window_bytes, fail)
        commands.append(command)
    return commands


def check_transfer(command: Command, config: Config, window_bytes: Mapping[MemoryWindow, int], fail: Callable[[str], ProgramError]) -> None:
    """Check target, window and extent of a LOAD or STORE."""
    try:
        fields = command.unpack()
    except FieldError as error:
        raise fail(str(error)) from error
    load = command.opcode is Opcode.LOAD
    if fields["target"] > (max(LoadTarget) if load else 0):
        raise fail(f"target must be {'a LoadTarget' if load else '0'}, not {fields['target']}")
    window = MemoryWindow(fields["window"])
    if window not in (READABLE if load else WRITABLE):
        raise fail(f"window {window.name} must not be {'read' if load else 'written'}")
    for name in ("offset", "row_stride"):
        if fields[name] % config.beat_bytes:
            raise fail(f"{name} must be a multiple of the bus width, {config.beat_bytes} bytes, not {fields[name]}")
    for name in ("rows", "row_bytes"):
        if fields[name] == 0:
            raise fail(f"{name} must be at least 1, not 0")
    end = fields["offset"] + (fields["rows"] - 1) * fields["row_stride"] + fields["row_bytes"]
    if end > window_bytes[window]:
        raise fail(f"must end within window {window.name}, at byte {window_bytes[window]}, not {end}")
