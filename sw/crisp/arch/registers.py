"""The register file: one declaration for gateware, driver, C header and ``docs/registers.md``.

The host sees registers of 32 bits through AXI4-Lite. Numbers of 64 bits are two registers, ``_LOW`` and ``_HIGH``.
"""

import dataclasses
import enum

from .commands import MemoryWindow
from .counters import COUNTERS
from .errors import FieldError

__all__ = [
    "ACTIVITY_COUNTERS",
    "ADDRESS_SPACE_BYTES",
    "MAGIC",
    "MEMORY_ADDRESS_WIDTH",
    "REGISTERS",
    "REGISTER_BYTES",
    "TRAFFIC_COUNTERS",
    "VERSION_MAJOR",
    "VERSION_MINOR",
    "WINDOW_GRANULE",
    "Access",
    "Register",
    "RegisterField",
    "register",
    "wide_registers",
]

#: What register ID reads: ``CRSP`` as its bytes lie in memory.
MAGIC = int.from_bytes(b"CRSP", "little")

#: Version of the register file and of the commands. Another major version is another machine; a minor one only adds.
VERSION_MAJOR = 1
VERSION_MINOR = 0

#: Bytes of a register.
REGISTER_BYTES = 4

#: Bytes of address space that the machine takes, a page.
ADDRESS_SPACE_BYTES = 4096

#: Bits of an address in memory.
MEMORY_ADDRESS_WIDTH = 40

#: Bases and sizes of windows are multiples of this many bytes, the widest bus word.
WINDOW_GRANULE = 64


class Access(enum.Enum):
    """What reads and writes of a field do."""

    READ = "read only"
    WRITE = "read and write"
    LOCKED = "read and write; fixed while STATUS.busy"
    PULSE = "write 1 to do it; reads 0"
    CLEAR = "write 1 to clear"


@dataclasses.dataclass(frozen=True)
class RegisterField:
    """A run of bits in a register.

    Parameters
    ----------
    name : str
        Name, unique in its register; lower case.
    width : int
        Bits.
    doc : str
        What it means.
    access : Access
        What reads and writes do.
    low : int
        Its lowest bit.
    reset : int
        Value after reset.
    """

    name: str
    width: int
    doc: str
    access: Access = Access.READ
    low: int = 0
    reset: int = 0

    @property
    def mask(self) -> int:
        """Its bits in the register, set."""
        return ((1 << self.width) - 1) << self.low

    def extract(self, word: int) -> int:
        """Take its value from what the register reads."""
        return (word & self.mask) >> self.low

    def insert(self, value: int) -> int:
        """Give the word to write, with all other fields 0.

        Raises
        ------
        FieldError
            When the value does not fit.
        """
        if not 0 <= value < 1 << self.width:
            raise FieldError(f"{self.name} must be in 0..{(1 << self.width) - 1}, not {value}")
        return value << self.low


@dataclasses.dataclass(frozen=True)
class Register:
    """A register of 32 bits. Bits that no field has read 0, and what is written there is ignored.

    Parameters
    ----------
    name : str
        Name; upper case.
    offset : int
        Bytes from the machine's address.
    fields : tuple of RegisterField
        From bit 0 upwards.
    doc : str
        What the register is for.
    """

    name: str
    offset: int
    fields: tuple[RegisterField, ...]
    doc: str

    def __post_init__(self) -> None:
        end = 0
        for field in self.fields:
            if field.low < end or field.low + field.width > 8 * REGISTER_BYTES:
                raise FieldError(f"{self.name}.{field.name}: bits must follow those before it within 32, but begin at {field.low}")
            end = field.low + field.width

    def field(self, name: str) -> RegisterField:
        """Return a field by its name.

        Raises
        ------
        FieldError
            When there is none.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise FieldError(f"{self.name} has no field {name!r}")

    def unpack(self, word: int) -> dict[str, int]:
        """Return the value of every field of what the register reads."""
        return {field.name: field.extract(word) for field in self.fields}

    def pack(self, **values: int) -> int:
        """Give the word to write; fields that are not named are 0.

        Raises
        ------
        FieldError
            When a field is unknown or a value does not fit.
        """
        return sum(self.field(name).insert(value) for name, value in values.items())

    @property
    def writable(self) -> bool:
        """Whether writes do anything."""
        return any(field.access is not Access.READ for field in self.fields)

    @property
    def reset(self) -> int:
        """What it reads after reset."""
        return sum(field.reset << field.low for field in self.fields)


def whole(name: str, offset: int, doc: str, access: Access = Access.READ, *, width: int = 32, reset: int = 0) -> Register:
    """Declare a register of one field that has the register's name."""
    return Register(name, offset, (RegisterField(name.lower(), width, doc, access, reset=reset),), doc)


#: What every cycle from start to end goes to, one counter each: they add up to CYCLES exactly.
ACTIVITY_COUNTERS = (
    *((field.name, field.doc) for field in COUNTERS.fields if field.name == "active" or field.name.startswith("idle_")),
    ("idle_pooling", "Cycles without a product to compute, in which windows of a MAX were gathered, or results written."),
    ("idle_memory", "Cycles without an EXECUTE under way, in which a LOAD or STORE was."),
    ("idle_command", "All others: commands were fetched and checked."),
)

#: Further counters.
TRAFFIC_COUNTERS = (
    ("blocks_walked", "Kept blocks, counted again for every row tile and pixel tile that uses them."),
    ("blocks_skipped", "Absent blocks, counted likewise: each cost no cycle."),
    ("bytes_read", "Bytes that memory delivered: whole bus words, commands included."),
    ("bytes_written", "Bytes written to memory: those whose strobes are set."),
)

SETUP = (
    whole("ID", 0x000, "Magic number: the bytes C, R, S, P.", reset=MAGIC),
    Register(
        "VERSION",
        0x004,
        (
            RegisterField("minor", 16, "Additions.", reset=VERSION_MINOR),
            RegisterField("major", 16, "A driver refuses another one than its own.", low=16, reset=VERSION_MAJOR),
        ),
        "Version of registers and commands.",
    ),
    whole("CONFIG_DIGEST", 0x008, "Hash of the configuration, `Config.digest`: a program carries it too, and must match."),
    Register(
        "CONTROL",
        0x00C,
        (
            RegisterField("start", 1, "Begin at COMMAND_OFFSET; ignored while busy or after an error.", Access.PULSE),
            RegisterField(
                "soft_reset", 1, "Stop, let the bus run empty, then be as after reset; what the host set stays.", Access.PULSE, low=1
            ),
        ),
        "What to do.",
    ),
    Register(
        "STATUS",
        0x010,
        (
            RegisterField("busy", 1, "A program runs, or a reset or error lets the bus run empty."),
            RegisterField("done", 1, "The program ended; until the next start or soft reset.", low=1),
            RegisterField("error", 1, "An error stopped it: see ERROR_CODE; until soft reset.", low=2),
            RegisterField("resetting", 1, "A soft reset waits for the bus.", low=3),
            RegisterField(
                "bus_stuck", 1, "Memory owes answers for longer than WATCHDOG; busy stays until they come, or until a hard reset.", low=4
            ),
        ),
        "What it does.",
    ),
    Register(
        "INTERRUPT_ENABLE",
        0x014,
        (
            RegisterField("done", 1, "Interrupt at the end of a program.", Access.WRITE),
            RegisterField("error", 1, "Interrupt at an error, and when the bus is stuck.", Access.WRITE, low=1),
        ),
        "Which events raise the interrupt.",
    ),
    Register(
        "INTERRUPT_STATUS",
        0x018,
        (
            RegisterField("done", 1, "A program ended.", Access.CLEAR),
            RegisterField("error", 1, "An error was reported, or the bus is stuck.", Access.CLEAR, low=1),
        ),
        "Events since they were cleared. The interrupt is high while one of them is enabled.",
    ),
    Register("ERROR_CODE", 0x01C, (RegisterField("code", 8, "ErrorCode of the first error."),), "Why it stopped."),
    whole(
        "ERROR_COMMAND",
        0x020,
        "Number of the command, from 0, that the first error is of; of a bus error, of the oldest LOAD or STORE under way.",
    ),
    whole("ERROR_ADDRESS_LOW", 0x024, "Where: address in memory of a bus error, else of the command. Low half."),
    whole("ERROR_ADDRESS_HIGH", 0x028, "High half.", width=MEMORY_ADDRESS_WIDTH - 32),
    whole("WATCHDOG", 0x02C, "Cycles without progress after which it is an error; 0: never.", Access.LOCKED, reset=1 << 24),
    whole("COMMAND_OFFSET", 0x030, "Byte of window PROGRAM at which the commands begin; a multiple of the bus width.", Access.LOCKED),
    whole("COMMAND_UNITS", 0x034, "Units of 32 bytes of all commands.", Access.LOCKED, width=27),
    whole("LOADS_COMPLETED", 0x038, "LOADs complete since the start."),
    whole("EXECUTES_COMPLETED", 0x03C, "EXECUTEs complete since the start."),
    whole("STORES_COMPLETED", 0x040, "STOREs complete since the start."),
)


def window_registers(window: MemoryWindow, offset: int) -> tuple[Register, ...]:
    """Declare the registers of a window."""
    granule = WINDOW_GRANULE.bit_length() - 1
    access = Access.LOCKED

    def sized(name: str, offset: int, width: int, low: int, doc: str) -> Register:
        return Register(name, offset, (RegisterField(name.lower(), width, doc, access, low=low),), doc)

    return (
        sized(
            f"{window.name}_BASE_LOW",
            offset,
            32 - granule,
            granule,
            f"Address of window {window.name}, a multiple of {WINDOW_GRANULE}: the register is the low half of the address.",
        ),
        sized(f"{window.name}_BASE_HIGH", offset + 4, MEMORY_ADDRESS_WIDTH - 32, 0, "High half."),
        sized(f"{window.name}_SIZE", offset + 8, 32 - granule, granule, f"Its bytes, a multiple of {WINDOW_GRANULE}; 0: closed."),
    )


def counter_registers(names: tuple[tuple[str, str], ...], offset: int) -> tuple[Register, ...]:
    """Declare counters of 64 bits, two registers each."""
    found: list[Register] = []
    for index, (name, doc) in enumerate(names):
        low = offset + 8 * index
        found.append(whole(f"{name.upper()}_LOW", low, doc))
        found.append(whole(f"{name.upper()}_HIGH", low + 4, "High half, as it was when the low half was read."))
    return tuple(found)


#: All registers, by offset.
REGISTERS = (
    *SETUP,
    *(entry for window in MemoryWindow for entry in window_registers(window, 0x080 + 16 * window)),
    *counter_registers(
        (("cycles", "Cycles from the start to the end; they stand after an error."), *ACTIVITY_COUNTERS, *TRAFFIC_COUNTERS),
        0x100,
    ),
)


def register(name: str) -> Register:
    """Return a register by its name.

    Raises
    ------
    FieldError
        When there is none.
    """
    for entry in REGISTERS:
        if entry.name == name:
            return entry
    raise FieldError(f"there is no register {name!r}")


def wide_registers(name: str) -> tuple[Register, Register]:
    """Return the low and the high half of a 64-bit number, in the order in which they must be read."""
    return register(f"{name}_LOW"), register(f"{name}_HIGH")
