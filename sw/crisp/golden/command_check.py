"""Command check: what is wrong with a command, before it has any effect. The hardware is ``crisp_hw/command_check.py``.

The rules are `crisp.arch.command_rules`; here they meet integers.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from crisp.arch import UNIT_BYTES, Config, ErrorCode, MemoryWindow, Opcode
from crisp.arch.command_rules import COMMAND_WORDS, list_rules
from crisp.arch.command_stream import MemoryRange, RuleChecker, first_broken

__all__ = ["CommandChecker", "Fault", "check_list"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """What the machine reports.

    Parameters
    ----------
    code : ErrorCode
        What is wrong.
    rule : str
        Name of the rule that is broken.
    command : int
        Number of the command, from 0.
    address : int
        Its address in memory.
    """

    code: ErrorCode
    rule: str
    command: int
    address: int


class CommandChecker:
    """Check commands one by one, in the order of the list.

    Parameters
    ----------
    config : Config
        The machine.
    windows : mapping
        `MemoryRange` of every `MemoryWindow`.
    """

    def __init__(self, config: Config, windows: Mapping[MemoryWindow, MemoryRange]) -> None:
        self.checker = RuleChecker(config, windows)

    def check(self, opcode: Opcode, word: int) -> tuple[ErrorCode, str]:
        """Check the next command.

        Parameters
        ----------
        opcode : Opcode
            What it is.
        word : int
            Its bits.

        Returns
        -------
        code : ErrorCode
            `ErrorCode.NONE` when nothing is wrong.
        rule : str
            Name of the rule that is broken.
        """
        layout = COMMAND_WORDS[opcode]
        if word >> layout.used:
            return ErrorCode.RESERVED, "reserved"
        rule = self.checker.check(opcode, layout.unpack(word))
        return (ErrorCode.NONE, "") if rule is None else (rule.code, rule.name)


def split_list(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield byte, opcode and word of each command of a list, an opcode that does not exist or does not fit last, with its first unit."""
    position = 0
    while position < len(data):
        opcode = data[position] & 15
        known = opcode in set(map(int, Opcode))
        size = COMMAND_WORDS[Opcode(opcode)].num_bytes if known else UNIT_BYTES
        yield position, opcode, int.from_bytes(data[position : position + size], "little")
        position += size


def check_list(
    memory: bytes, config: Config, windows: Mapping[MemoryWindow, MemoryRange], *, command_offset: int, command_units: int
) -> Fault | None:
    """Check a whole command list, as the machine does when it runs it.

    Parameters
    ----------
    memory : bytes
        Contents of the window PROGRAM.
    config : Config
        The machine.
    windows : mapping
        `MemoryRange` of every `MemoryWindow`.
    command_offset, command_units : int
        The registers COMMAND_OFFSET and COMMAND_UNITS.

    Returns
    -------
    Fault or None
        The first fault; what commands do is not looked at.
    """
    program = windows[MemoryWindow.PROGRAM]
    first = program.base + command_offset
    fields = SimpleNamespace(command_offset=command_offset, command_units=command_units)
    around = SimpleNamespace(window_base=program.base, window_size=program.size)
    broken = first_broken(list_rules(config), fields, around)
    if broken is not None:
        return Fault(broken.code, broken.name, 0, first)

    data = memory[command_offset : command_offset + command_units * UNIT_BYTES]
    checker = CommandChecker(config, windows)
    index = 0
    for position, number, word in split_list(data):
        if number not in set(map(int, Opcode)):
            return Fault(ErrorCode.OPCODE, "opcode", index, first + position)
        opcode = Opcode(number)
        if position + COMMAND_WORDS[opcode].num_bytes > len(data):
            return Fault(ErrorCode.TRUNCATED, "command_units", index, first + position)
        code, rule = checker.check(opcode, word)
        if code is not ErrorCode.NONE:
            return Fault(code, rule, index, first + position)
        if opcode is Opcode.END:
            return None
        index += 1
    return Fault(ErrorCode.TRUNCATED, "command_units", index, first + len(data))
