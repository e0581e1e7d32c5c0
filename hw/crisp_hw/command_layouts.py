"""Payload layouts of what leads the machine: commands on their way from memory to the units, and what went wrong."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from crisp.arch import END, EXECUTE, LOAD, STORE, UNIT_BYTES, ErrorCode, Opcode, Word, register

from .axi import ADDRESS_WIDTH
from .layouts import word_layout

__all__ = [
    "COUNT_WIDTH",
    "QUEUES",
    "UNITS_WIDTH",
    "UNIT_WIDTH",
    "command_view",
    "fault_layout",
    "fetched_layout",
    "queued_layout",
    "tag_layout",
    "waits_layout",
]

#: Bits of a unit.
UNIT_WIDTH = 8 * UNIT_BYTES

#: Bits of a number of units, and so of a command's number.
UNITS_WIDTH = register("COMMAND_UNITS").fields[0].width

#: Bits of a count of commands, as commands wait for it.
COUNT_WIDTH = 16

#: The queues, as counts and pulses of them are numbered.
QUEUES = (Opcode.LOAD, Opcode.EXECUTE, Opcode.STORE)

WORDS = {Opcode.LOAD: LOAD, Opcode.STORE: STORE, Opcode.EXECUTE: EXECUTE, Opcode.END: END}


def tag_layout() -> data.StructLayout:
    """Lay out what tells a command from others: its number, and the unit that it begins with."""
    return data.StructLayout({"index": unsigned(UNITS_WIDTH), "unit": unsigned(UNITS_WIDTH)})


def fetched_layout() -> data.StructLayout:
    """Lay out a command as it was fetched: one that has one unit has it in ``last_unit``, and anything in the units before."""
    return data.StructLayout({
        "units_before": unsigned(EXECUTE.width - UNIT_WIDTH),
        "last_unit": unsigned(UNIT_WIDTH),
        "opcode": unsigned(4),
        "tag": tag_layout(),
    })  # fmt: skip


def command_view(fetched: data.View, opcode: Opcode) -> data.View:
    """Look at a fetched command as the word of an opcode."""
    word = WORDS[opcode]
    bits = fetched.as_value()[EXECUTE.width - word.width : EXECUTE.width]
    return data.View(word_layout(word), bits)


def queued_layout(word: Word) -> data.StructLayout:
    """Lay out a command in its queue: its fields, without the reserved bits, which are zero."""
    fields = {field.name: word_layout(word)[field.name].shape for field in word.fields}
    return data.StructLayout({"fields": data.StructLayout(fields), "tag": tag_layout()})


def waits_layout() -> data.StructLayout:
    """Lay out what a command waits for: a count of complete commands for each queue."""
    return data.StructLayout({f"wait_{opcode.name.lower()}": unsigned(COUNT_WIDTH) for opcode in QUEUES})


def fault_layout() -> data.StructLayout:
    """Lay out an error: what, of which command, and with ``on_bus`` at which address."""
    return data.StructLayout({
        "valid": 1,
        "code": ErrorCode,
        "tag": tag_layout(),
        "on_bus": 1,
        "address": unsigned(ADDRESS_WIDTH),
    })  # fmt: skip
