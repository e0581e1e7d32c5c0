"""Error codes: what the machine reports when it stops, one declaration for gateware, golden machine, driver and documentation."""

import enum
from typing import Self

__all__ = ["ErrorCode"]


class ErrorCode(enum.IntEnum):
    """Why the machine stopped: the first error counts.

    Command and place are in the registers ERROR_COMMAND and ERROR_ADDRESS. All but the last groups are found before a command has
    any effect; a loader that checks programs with ``crisp.golden.command_check`` finds the same codes before the machine sees them.

    Attributes
    ----------
    doc : str
        What was found.
    remedy : str
        What to do about it.
    """

    doc: str
    remedy: str

    def __new__(cls, value: int, doc: str, remedy: str) -> Self:
        """Make a code that knows what it means."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        member.remedy = remedy
        return member

    NONE = 0, "No error.", "Nothing."

    # Any command.
    OPCODE = 1, "A command has no known opcode.", "Check COMMAND_OFFSET, and that the program is in memory before the start."
    TRUNCATED = 2, "The command list ends within a command, or without END.", "Set COMMAND_UNITS to the units of the whole list."
    RESERVED = (
        3,
        "Bits of a command that no field has are not zero.",
        "The program was damaged, or made for another version: compile again.",
    )
    WAIT = 4, "A command waits for one that does not come before it: it would wait forever.", "Fault of the compiler: report it."

    # LOAD and STORE; some of them EXECUTE as well.
    TARGET = 8, "LOAD: the target is no buffer; STORE: it is not 0.", "The program was damaged: compile again."
    ZERO_DIMENSION = 9, "A count that must be at least 1 is 0.", "The program was damaged: compile again."
    ROWS = 10, "More than one row for a target that has no rows.", "Fault of the compiler: report it."
    ROW_BYTES = 11, "The bytes of a row are no whole words of the target.", "Compile for this configuration."
    PATCHES = 12, "Patches that the machine cannot cut.", "Fault of the compiler: report it."
    ALIGNMENT = (
        13,
        "Offset or row stride are no multiple of the bus width, or the first channel none of the array's rows.",
        "Compile for this configuration.",
    )
    WINDOW_PERMISSION = 14, "LOAD from a window that is only written, or STORE to one that is only read.", "Name another window."
    WINDOW_RANGE = (
        15,
        "Bytes beyond the window's end, or a window beyond the address space.",
        "Set the window's size to what the program needs.",
    )
    BUFFER_RANGE = 16, "Words beyond the end of an on-chip buffer.", "Compile for this configuration."
    CLUSTER = 17, "A cluster that there is not, or one named for a buffer that all share.", "Compile for this configuration."

    # EXECUTE.
    SHARING = 24, "Sharing has no such value, or none that this kind or an open sum can have.", "The program was damaged: compile again."
    BLOCKS = 25, "Groups of a block, or of the last block, are out of range.", "The program was damaged: compile again."
    WINDOW_WORDS = 26, "A window's words do not fit the column buffer, or are not those of its blocks.", "Compile for this configuration."
    WALK = 27, "A step of the walk over pixels is as long as its ring or its row.", "Fault of the compiler: report it."

    # Data, found while a command runs.
    METADATA_COUNT = 40, "A block row keeps no block, or more than its window has.", "Constants were damaged: load the program again."
    METADATA_INDEX = 41, "A block's index is not ascending, or beyond its window.", "Constants were damaged: load the program again."
    METADATA_N = 42, "N of a block is more than M.", "Constants were damaged, or made for another M: compile for this configuration."
    RUN_RANGE = (
        43,
        "The runs of a window leave the run buffer, lie more than a ring away, or do not list as many words as it has.",
        "Constants were damaged: load the program again.",
    )
    ACTIVATION_RANGE = 44, "An EXECUTE reads or writes beyond the end of the activation buffer.", "Compile for this configuration."
    METADATA_RANGE = (
        45,
        "Counts, entries, steps or channels of an EXECUTE lie beyond the end of their buffer.",
        "Compile for this configuration.",
    )

    # Outside.
    READ_RESPONSE = (
        56,
        "Memory answered a read with SLVERR or DECERR.",
        "Check that the address is memory, and that the machine may read it.",
    )
    WRITE_RESPONSE = (
        57,
        "Memory answered a write with SLVERR or DECERR.",
        "Check that the address is memory, and that the machine may write it.",
    )
    WATCHDOG = 58, "Nothing moved for as many cycles as WATCHDOG allows.", "See whether memory answers; allow more if it is slow."
