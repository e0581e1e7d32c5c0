"""``docs/registers.md`` and the C header, written from the declaration of the registers."""

from .document import table
from .error_codes import ErrorCode
from .registers import (
    ADDRESS_SPACE_BYTES,
    MAGIC,
    MEMORY_ADDRESS_WIDTH,
    REGISTERS,
    VERSION_MAJOR,
    VERSION_MINOR,
    WINDOW_GRANULE,
    Register,
)

__all__ = ["registers_header", "registers_markdown"]

INTRODUCTION = """\
# Registers

Written by `crisp docs` from `sw/crisp/arch/registers.py` and `error_codes.py`, as is `sim/crisp_sim/crisp_registers.h`.

The host sees {space} bytes of registers through AXI4-Lite, 32 bits each. A read of an offset that has no register, or a write to one that
cannot be written, answers SLVERR and changes nothing; so does a write to a register that is fixed while STATUS.busy.

## Running a program

1. Read ID, VERSION and CONFIG_DIGEST; refuse what does not match the program.
2. Write base and size of each window, COMMAND_OFFSET, COMMAND_UNITS, WATCHDOG, INTERRUPT_ENABLE.
3. Write CONTROL.start.
4. Wait for the interrupt, or until STATUS.busy is 0 and STATUS.done or STATUS.error is 1. Clear INTERRUPT_STATUS.

After an error nothing new is sent to memory, what is under way is waited for, and then busy falls. The buffers' contents are lost: write
CONTROL.soft_reset, wait until busy is 0, and begin at 3. A soft reset may come at any time; it clears everything but what the host
wrote. If memory owes answers for longer than WATCHDOG, STATUS.bus_stuck tells: the machine cannot be started until it has them.

The machine reads and writes nothing outside the windows. The low half of a counter is read first: the high half is kept meanwhile.
CYCLES is the sum of ACTIVE and all IDLE counters.

## Overview

"""

ERRORS = """\
## Error codes

The first error counts. Codes below 40 are found before the command has any effect, in the order of this table where several hold;
`crisp.golden.command_check` finds the same ones in a program before it runs.

"""


def bits(low: int, width: int) -> str:
    """Name a range of bits."""
    return f"{low + width - 1}:{low}" if width > 1 else f"{low}"


def fields_table(entry: Register) -> str:
    """Describe the fields of a register."""
    rows = [(bits(field.low, field.width), f"`{field.name}`", field.access.value, f"{field.reset:#x}", field.doc) for field in entry.fields]
    return (
        f"### `{entry.name}`: {entry.offset:#05x}\n\n{entry.doc}\n\n{table(('bits', 'field', 'access', 'reset', 'meaning'), list(rows))}\n"
    )


def registers_markdown() -> str:
    """Return the page that describes registers and errors, ``docs/registers.md``."""
    overview: list[tuple[object, ...]] = []
    for entry in REGISTERS:
        access = ", ".join(dict.fromkeys(field.access.value for field in entry.fields))
        overview.append((f"`{entry.offset:#05x}`", f"`{entry.name}`", access, entry.doc))
    errors: list[tuple[object, ...]] = [(code.value, f"`{code.name}`", code.doc, code.remedy) for code in ErrorCode]
    sections = [
        INTRODUCTION.format(space=ADDRESS_SPACE_BYTES),
        table(("offset", "register", "access", "what"), overview),
        "\n## Fields\n\nOf the registers that have more than one.\n\n",
        *(fields_table(entry) for entry in REGISTERS if len(entry.fields) > 1),
        ERRORS,
        table(("code", "error", "what was found", "what to do"), errors),
    ]
    return "".join(sections)


def registers_header() -> str:
    """Return the C header with offsets, masks and codes, ``sim/crisp_sim/crisp_registers.h``."""
    lines = [
        "/* Registers of the CRISP accelerator. Written by `crisp docs` from sw/crisp/arch/registers.py; see docs/registers.md. */",
        "#ifndef CRISP_REGISTERS_H",
        "#define CRISP_REGISTERS_H",
        "",
        f"#define CRISP_MAGIC {MAGIC:#010x}u",
        f"#define CRISP_VERSION_MAJOR {VERSION_MAJOR}u",
        f"#define CRISP_VERSION_MINOR {VERSION_MINOR}u",
        f"#define CRISP_ADDRESS_SPACE_BYTES {ADDRESS_SPACE_BYTES}u",
        f"#define CRISP_MEMORY_ADDRESS_WIDTH {MEMORY_ADDRESS_WIDTH}u",
        f"#define CRISP_WINDOW_GRANULE {WINDOW_GRANULE}u",
        "",
        "/* Offsets in bytes; masks of fields where a register has several. */",
    ]
    for entry in REGISTERS:
        lines.append(f"#define CRISP_{entry.name} {entry.offset:#05x}u")
        if len(entry.fields) > 1:
            lines += [f"#define CRISP_{entry.name}_{field.name.upper()}_MASK {field.mask:#010x}u" for field in entry.fields]
    lines += ["", "/* Error codes. */", "enum crisp_error_code {"]
    lines += [f"    CRISP_ERROR_{code.name} = {code.value}, /* {code.doc} */" for code in ErrorCode]
    lines += ["};", "", "#endif"]
    return "\n".join(lines) + "\n"
