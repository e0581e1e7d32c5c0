"""A program's commands as a list: how the bytes are read, and what must hold of them before any has an effect."""

import dataclasses
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from .command_rules import COMMAND_WORDS, Rule, command_products, command_rules
from .commands import UNIT_BYTES, MemoryWindow, Opcode
from .config import Config
from .errors import FieldError, ProgramError

__all__ = ["Command", "MemoryRange", "RuleChecker", "check_commands", "decode_commands", "first_broken"]


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


@dataclasses.dataclass(frozen=True)
class MemoryRange:
    """A memory window as the host has set it.

    Parameters
    ----------
    base : int
        Address of its first byte.
    size : int
        Bytes.
    """

    base: int
    size: int


class RuleChecker:
    """Holds commands against the rules, one by one in the order of the list.

    Parameters
    ----------
    config : Config
        The machine.
    windows : mapping
        `MemoryRange` of every `MemoryWindow`.
    """

    def __init__(self, config: Config, windows: Mapping[MemoryWindow, MemoryRange]) -> None:
        self.windows = windows
        self.rules = {opcode: command_rules(opcode, config) for opcode in Opcode}
        self.products = {opcode: command_products(opcode, config) for opcode in Opcode}
        self.issued = dict.fromkeys((Opcode.LOAD, Opcode.EXECUTE, Opcode.STORE), 0)

    def check(self, opcode: Opcode, fields: Mapping[str, int]) -> Rule | None:
        """Return the first rule that the next command breaks, None when it breaks none."""
        values = SimpleNamespace(**fields)
        around = SimpleNamespace(**{f"issued_{queue.name.lower()}": count % (1 << 16) for queue, count in self.issued.items()})
        for product in self.products[opcode]:
            setattr(around, product.name, product.value(values))
        if opcode in (Opcode.LOAD, Opcode.STORE):
            window = self.windows[MemoryWindow(fields["window"])]
            around.window_base, around.window_size = window.base, window.size
        found = first_broken(self.rules[opcode], values, around)
        if found is None and opcode in self.issued:
            self.issued[opcode] += 1
        return found


def first_broken(rules: tuple[Rule, ...], fields: SimpleNamespace, around: SimpleNamespace) -> Rule | None:
    """Return the first rule that is broken, None when none is."""
    return next((rule for rule in rules if rule.broken(fields, around)), None)


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
    checker = RuleChecker(config, {window: MemoryRange(0, size) for window, size in window_bytes.items()})
    commands = []
    for command in decode_commands(data):
        name = f"COMMANDS: command {command.index} ({command.opcode.name})"
        try:
            fields = command.unpack()
        except FieldError as error:
            raise ProgramError(f"{name}: {error}; compile it again") from error
        if (rule := checker.check(command.opcode, fields)) is not None:
            field = rule.name.split()[-1]
            value = f" = {fields[field]}" if field in fields else ""
            raise ProgramError(f"{name}: {rule.name}{value}: {rule.code.name}: {rule.code.doc} {rule.code.remedy}")
        commands.append(command)
    return commands
