"""A program's commands as a list: how the bytes are read, and what must hold of them before any has an effect."""

import dataclasses
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from .command_rules import COMMAND_WORDS, command_products, command_rules
from .commands import UNIT_BYTES, MemoryWindow, Opcode
from .config import Config
from .errors import FieldError, ProgramError

__all__ = ["Command", "check_commands", "decode_commands"]

#: Queues, each with its count of commands.
QUEUES = (Opcode.LOAD, Opcode.EXECUTE, Opcode.STORE)


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
    """Check what can be told of commands without running them, and return them: the rules that the machine applies to each.

    Parameters
    ----------
    data : bytes
        The commands, END last.
    config : Config
        The machine.
    window_bytes : mapping
        Size of every memory window.

    Raises
    ------
    ProgramError
        Names the command, the rule and the value.
    """
    if len(data) % UNIT_BYTES:
        raise ProgramError(f"COMMANDS: must be whole units of {UNIT_BYTES} bytes, not {len(data)} bytes; compile it again")
    rules = {opcode: command_rules(opcode, config) for opcode in Opcode}
    commands = []
    issued = dict.fromkeys(QUEUES, 0)
    for command in decode_commands(data):
        name = f"COMMANDS: command {command.index} ({command.opcode.name})"
        try:
            fields = SimpleNamespace(**command.unpack())
        except FieldError as error:
            raise ProgramError(f"{name}: {error}; compile it again") from error
        around = surroundings(command.opcode, fields, issued, window_bytes, config)
        for rule in rules[command.opcode]:
            if rule.broken(fields, around):
                value = getattr(fields, rule.name.split()[-1], None)
                raise ProgramError(
                    f"{name}: {rule.name}{'' if value is None else f' = {value}'}: {rule.code.name}: {rule.code.doc} {rule.code.remedy}"
                )
        if command.opcode in issued:
            issued[command.opcode] += 1
        commands.append(command)
    return commands


def surroundings(
    opcode: Opcode, fields: SimpleNamespace, issued: Mapping[Opcode, int], window_bytes: Mapping[MemoryWindow, int], config: Config
) -> SimpleNamespace:
    """Return what the rules compare a command's fields with; windows begin at 0, for their places are not yet known."""
    around = SimpleNamespace(**{f"issued_{queue.name.lower()}": count % (1 << 16) for queue, count in issued.items()})
    for product in command_products(opcode, config):
        small, large = product.factors(fields)
        setattr(around, product.name, (small & 0xFFFF) * large)
    if opcode in (Opcode.LOAD, Opcode.STORE):
        around.window_base, around.window_size = 0, window_bytes[MemoryWindow(fields.window)]
    return around
