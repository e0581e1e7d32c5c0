"""Declaration of every packed word: code, gateware, C++ harness and ``docs/formats.md`` are all made from here."""

import dataclasses
from typing import Any

import numpy as np

from .errors import FieldError

__all__ = ["CHANNEL", "COUNT", "ENTRY", "WORDS", "Field", "Word"]


@dataclasses.dataclass(frozen=True)
class Field:
    """A run of bits in a word.

    Parameters
    ----------
    name : str
        Name, unique in its word.
    width : int
        Bits.
    doc : str
        One sentence for the documentation.
    signed : bool
        Whether the bits are two's complement.
    """

    name: str
    width: int
    doc: str
    signed: bool = False

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.width - self.signed)) - 1


@dataclasses.dataclass(frozen=True)
class Word:
    """A packed word: fields from bit 0 upwards, then zeros up to ``width``; little-endian in memory.

    Parameters
    ----------
    name : str
        Name of the word.
    width : int
        Bits in memory, a multiple of 8.
    fields : tuple of Field
        In order from bit 0. Bits above the last are reserved and zero.
    doc : str
        What the word is.
    """

    name: str
    width: int
    fields: tuple[Field, ...]
    doc: str

    def __post_init__(self) -> None:
        if self.width % 8 or self.used > self.width:
            raise FieldError(f"{self.name}: width must be a multiple of 8 and at least {self.used}, not {self.width}")

    @property
    def used(self) -> int:
        """Bits of all fields; those above are reserved."""
        return sum(field.width for field in self.fields)

    @property
    def num_bytes(self) -> int:
        """Bytes in memory."""
        return self.width // 8

    def shift(self, name: str) -> int:
        """Return the position of the lowest bit of field ``name``."""
        position = 0
        for field in self.fields:
            if field.name == name:
                return position
            position += field.width
        raise FieldError(f"{self.name} has no field {name!r}")

    def _check_names(self, values: dict[str, Any]) -> None:
        """Raise unless ``values`` has every field, and nothing else."""
        names = [field.name for field in self.fields]
        if sorted(values) != sorted(names):
            raise FieldError(f"{self.name} has the fields {', '.join(names)}, not {', '.join(values) or 'none'}")

    def _check_array_width(self) -> None:
        """Raise unless an array can hold the word."""
        if self.width not in (8, 16, 32, 64):
            raise FieldError(f"{self.name}: an array holds words of 8, 16, 32 or 64 bits, not {self.width}")

    def pack(self, **values: int) -> int:
        """Pack one value a field into an integer.

        Raises
        ------
        FieldError
            When a field is missing, unknown, or its value does not fit.
        """
        self._check_names(values)
        word = 0
        for field in self.fields:
            value = int(values[field.name])
            if not field.low <= value <= field.high:
                raise FieldError(f"{self.name}.{field.name} must be in {field.low}..{field.high}, not {value}")
            word |= (value & ((1 << field.width) - 1)) << self.shift(field.name)
        return word

    def unpack(self, word: int) -> dict[str, int]:
        """Return the value of every field.

        Raises
        ------
        FieldError
            When a reserved bit is set.
        """
        if word >> self.used:
            raise FieldError(f"{self.name}: reserved bits from bit {self.used} on must be zero, but the word is {word:#x}")
        values = {}
        for field in self.fields:
            value = (word >> self.shift(field.name)) & ((1 << field.width) - 1)
            values[field.name] = value - (1 << field.width) if value > field.high else value
        return values

    def pack_array(self, **values: Any) -> np.ndarray:
        """Pack arrays of equal length into the unsigned integers that hold the word.

        Parameters
        ----------
        **values : array_like of int
            One array of shape (n,) a field.

        Returns
        -------
        numpy.ndarray
            Words, shape (n,), ``uint8``, ``uint16``, ``uint32`` or ``uint64``.

        Raises
        ------
        FieldError
            As ``pack``, where the message names the first offending value; or when no array holds so wide a word.
        """
        self._check_names(values)
        self._check_array_width()
        packed: Any = np.uint64(0)
        for field in self.fields:
            column = np.asarray(values[field.name], dtype=np.int64)
            wrong = column[(column < field.low) | (column > field.high)]
            if wrong.size:
                raise FieldError(f"{self.name}.{field.name} must be in {field.low}..{field.high}, not {wrong[0]}")
            mask = np.uint64((1 << field.width) - 1)
            packed = packed | ((column.astype(np.uint64) & mask) << np.uint64(self.shift(field.name)))
        return np.atleast_1d(packed).astype(f"<u{self.num_bytes}")

    def unpack_array(self, words: np.ndarray) -> dict[str, np.ndarray]:
        """Return every field of many words as ``int64`` arrays of the same shape.

        Raises
        ------
        FieldError
            When a reserved bit is set, or when no array holds so wide a word.
        """
        self._check_array_width()
        wide = np.asarray(words).astype(np.uint64)
        wrong = wide[wide > np.uint64((1 << self.used) - 1)]
        if wrong.size:
            raise FieldError(f"{self.name}: reserved bits from bit {self.used} on must be zero, but the word is {wrong[0]:#x}")
        values = {}
        for field in self.fields:
            bits = (wide >> np.uint64(self.shift(field.name))) & np.uint64((1 << field.width) - 1)
            value = bits.astype(np.int64)
            values[field.name] = np.where(value > field.high, value - (1 << field.width), value)
        return values


COUNT = Word(
    "count",
    16,
    (Field("blocks", 13, "Kept blocks of this block row, at least 1."),),
    "One a block row: how many entries belong to it. Read one row ahead, so that no cycle is lost between tiles.",
)

ENTRY = Word(
    "entry",
    16,
    (
        Field("index", 12, "Block column: the kept block meets K from index x B on. Ascending within a block row."),
        Field("n_minus_1", 4, "N of the block less one: steps that each of its groups takes, less one."),
    ),
    "One a kept block. A block without an entry is absent: its N is 0 and it costs no cycle.",
)

CHANNEL = Word(
    "channel",
    64,
    (
        Field("bias", 32, "Added to the accumulator; the input zero point is folded in.", signed=True),
        Field("multiplier", 16, "Scale mantissa, 2^15 to 2^16 - 1 when normalised."),
        Field("shift", 6, "Right shift after the multiplication, rounding half to even."),
    ),
    "One an output channel: its requantization.",
)

#: Every word with a fixed layout, in the order of the documentation.
WORDS = (COUNT, ENTRY, CHANNEL)
