"""Packing: dense weights with zeros to the stream of steps that the array reads, and back without loss."""

import dataclasses
import math
from functools import cached_property
from typing import Self

import numpy as np

from .errors import FieldError, PatternError
from .fields import COUNT, ENTRY
from .loads import decode_steps, encode_steps
from .pattern import Pattern, check, check_uniform

__all__ = ["PackedWeights", "Sizes", "pack", "unpack"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Bits that a packed layer takes.

    Parameters
    ----------
    slots : int
        Weights stored: the non-zeros that the pattern leaves room for.
    value_bits : int
        Bits of the int8 values.
    offset_bits : int
        Bits of the offsets, ceil(log2 M) a slot; none where all blocks are dense, as slot j then has offset j.
    index_bits : int
        Least bits of the block indices: ceil(log2(block columns)) a kept block; and of each block's N where a layer
        mixes several.
    stored_bits : int
        Bits of counts, entries and steps as they lie in memory.
    """

    slots: int
    value_bits: int
    offset_bits: int
    index_bits: int
    stored_bits: int

    @property
    def metadata_bits_per_nonzero(self) -> float:
        """Offsets and indices for each stored weight, in bits."""
        return (self.offset_bits + self.index_bits) / self.slots


@dataclasses.dataclass(frozen=True, eq=False)
class PackedWeights:
    """A weight matrix as the array reads it.

    Steps stand in the order of work: block row, row tile of that block row, kept block (ascending), group, slot.
    A step holds one weight for each of the array's rows. Where N < M, padding rows and unused slots hold value 0, offset 0. Where
    N = M, slot j holds the weight at offset j, also a zero.

    Parameters
    ----------
    shape : tuple of int
        (O, K), without padding.
    block, group, rows : int
        B, M, and rows of the array, which divide B.
    counts : numpy.ndarray
        Kept blocks of each block row, ``uint16`` of shape (block_rows,): words `COUNT`.
    entries : numpy.ndarray
        Kept blocks of all block rows one after the other, ``uint16``: words `ENTRY`.
    values : numpy.ndarray
        ``int8`` of shape (steps, rows).
    offsets : numpy.ndarray
        Place in the group, ``uint8`` of shape (steps, rows), each less than M.
    """

    shape: tuple[int, int]
    block: int
    group: int
    rows: int
    counts: np.ndarray
    entries: np.ndarray
    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, pattern: Pattern, *, values: np.ndarray, offsets: np.ndarray) -> Self:
        """Return packed weights of ``pattern``, whose steps hold ``values`` and ``offsets``."""
        row, column = np.nonzero(pattern.n)
        return cls(
            shape=pattern.shape,
            block=pattern.block,
            group=pattern.group,
            rows=values.shape[1],
            counts=COUNT.pack_array(blocks=pattern.kept.sum(axis=1)),
            entries=ENTRY.pack_array(index=column, n_minus_1=pattern.n[row, column].astype(np.int64) - 1),
            values=values,
            offsets=offsets,
        )

    @cached_property
    def pattern(self) -> Pattern:
        """The pattern, read back from counts and entries.

        Raises
        ------
        PatternError
            When an index is out of range or not ascending, an N exceeds M, or the counts do not add up.
        """
        blank = Pattern.dense(self.shape, self.block, self.group)
        n = np.zeros_like(blank.n)
        if len(self.counts) != blank.block_rows or self.counts.sum(dtype=np.int64) != len(self.entries):
            raise PatternError(
                f"counts must be {blank.block_rows} that add up to {len(self.entries)} entries, "
                f"not {len(self.counts)} that add up to {self.counts.sum(dtype=np.int64)}"
            )
        fields = ENTRY.unpack_array(self.entries)
        ends = np.cumsum(self.counts, dtype=np.int64)
        for row, (start, end) in enumerate(zip(ends - self.counts, ends, strict=True)):
            index = fields["index"][start:end]
            if index.size and (index.max() >= blank.block_columns or (np.diff(index) <= 0).any()):
                raise PatternError(f"block row {row}: indices must ascend and be less than {blank.block_columns}, not {index.tolist()}")
            n[row, index] = fields["n_minus_1"][start:end] + 1
        return Pattern(self.shape, self.block, self.group, n)

    @property
    def block_tiles(self) -> int:
        """Row tiles of a whole block row: B / rows."""
        return self.block // self.rows

    @property
    def row_tiles(self) -> int:
        """Row tiles that hold at least one row of the matrix: ceil(O / rows)."""
        return -(-self.shape[0] // self.rows)

    @property
    def is_dense(self) -> bool:
        """Whether N = M in all kept blocks, so that offsets are known and need not be stored."""
        return bool((ENTRY.unpack_array(self.entries)["n_minus_1"] == self.group - 1).all())

    @cached_property
    def sizes(self) -> Sizes:
        """Bits that this takes, by kind."""
        pattern = self.pattern
        slots = self.values.size
        offset_width = int(math.log2(self.group))
        kinds = len(np.unique(pattern.n[pattern.kept]))
        index_width = (pattern.block_columns - 1).bit_length() + (offset_width if kinds > 1 else 0)
        words = len(self.counts) * COUNT.width + len(self.entries) * ENTRY.width
        return Sizes(
            slots=slots,
            value_bits=8 * slots,
            offset_bits=0 if self.is_dense else offset_width * slots,
            index_bits=index_width * len(self.entries),
            stored_bits=words + 8 * self.encode_steps().size,
        )

    def to_bytes(self) -> bytes:
        """Serialise as counts, entries, steps, without padding between them (see ``docs/formats.md``)."""
        return self.counts.astype("<u2").tobytes() + self.entries.astype("<u2").tobytes() + self.encode_steps().tobytes()

    def encode_steps(self) -> np.ndarray:
        """Return the steps as they lie in memory, ``uint8`` of shape (words, rows).

        Some steps' offsets in a word, then their values, a word each, and so on (see `encode_steps` of ``loads``). Without words of
        offsets where all blocks are dense.
        """
        return self.values.view(np.uint8) if self.is_dense else encode_steps(self.values, self.offsets, self.group)

    @classmethod
    def from_bytes(cls, data: bytes, shape: tuple[int, int], block: int, group: int, rows: int, *, layer: str = "layer") -> Self:
        """Read what `to_bytes` wrote, and nothing else: what is accepted is the packed form of a matrix that obeys the contract.

        Parameters
        ----------
        data : bytes
            Counts, entries, steps.
        shape : tuple of int
            (O, K), without padding.
        block, group, rows : int
            B, M, and rows of the array, which divide B.
        layer : str
            Name for messages.

        Raises
        ------
        PatternError
            When the length does not fit the numbers, when counts and entries break the contract, or when a step is not as `pack`
            writes it.
        """
        try:
            packed = cls._parse(data, shape, block, group, rows)
            pattern = packed.pattern
        except (PatternError, FieldError) as error:
            raise PatternError(f"{layer}: {error}") from error
        check_uniform(pattern, layer=layer)
        tiles = schedule(pattern, rows)
        expected = sum(len(groups) for groups, _, _ in tiles)
        if len(packed.values) != expected:
            raise PatternError(f"{layer}: counts and entries ask for {expected} steps, not {len(packed.values)}")
        # Packing is unique, so packing again finds whatever is out of place: slots, padding, or two weights in one place.
        again = pack(unpack(packed), pattern, rows=rows, layer=layer)
        wrong = (packed.values != again.values) | (packed.offsets != again.offsets)
        if wrong.any():
            step, lane = (int(position) for position in np.argwhere(wrong)[0])
            first = np.repeat([first for _, _, first in tiles], [len(groups) for groups, _, _ in tiles])[step]
            raise PatternError(
                f"{layer}: row {first + lane}, group {np.concatenate([groups for groups, _, _ in tiles])[step]}: rule packed: step {step} "
                f"holds value {packed.values[step, lane]} and offset {packed.offsets[step, lane]}; the non-zeros of a group stand first "
                f"with ascending offsets, then zeros with offset 0, as in padding; but where N = M slot j has offset j"
            )
        return packed

    @classmethod
    def _parse(cls, data: bytes, shape: tuple[int, int], block: int, group: int, rows: int) -> Self:
        """Cut ``data`` into counts, entries and steps, and check their numbers but not what the steps hold."""
        pattern = Pattern.dense(shape, block, group)
        if rows < 1 or block % rows:
            raise PatternError(f"rows must divide the block, {block}, but is {rows}")
        size = COUNT.num_bytes * pattern.block_rows
        if len(data) < size:
            raise PatternError(f"packed weights must hold {size} bytes of counts, not {len(data)} bytes in all")
        counts = np.frombuffer(data, "<u2", pattern.block_rows)
        num_entries = int(COUNT.unpack_array(counts)["blocks"].sum())
        size += ENTRY.num_bytes * num_entries
        if len(data) < size:
            raise PatternError(f"packed weights must hold {size} bytes of counts and entries, not {len(data)} bytes in all")
        entries = np.frombuffer(data, "<u2", num_entries, COUNT.num_bytes * pattern.block_rows)
        if (len(data) - size) % rows:
            raise PatternError(f"steps must fill whole {rows}-byte words, not {len(data) - size} bytes")
        words = np.frombuffer(data, np.uint8, offset=size).reshape(-1, rows)
        # Offsets of dense blocks are known; a layer of nothing else has no words of offsets.
        known = np.broadcast_to((np.arange(len(words)) % group).astype(np.uint8)[:, None], words.shape)
        packed = cls(shape, block, group, rows, counts, entries, words.view(np.int8), known)
        if packed.is_dense or not len(words):
            return packed
        values, offsets = decode_steps(words, group)
        packed = dataclasses.replace(packed, values=values, offsets=offsets)
        again = packed.encode_steps()
        if len(again) != len(words):
            raise PatternError("the last word of offsets must stand before a step")
        wrong = (again != words).any(axis=1)
        if wrong.any():
            raise PatternError(f"word {wrong.argmax()} of the steps: bits that no offset has must be zero")
        return packed


def schedule(pattern: Pattern, rows: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """List the steps of each row tile in the order of work.

    Returns
    -------
    list of tuple
        A row tile each: group of K of every step, slot of every step (both ``int64`` of shape (steps of the tile,)),
        and the tile's first row.
    """
    tiles = []
    for block_row, n in enumerate(pattern.n):
        group_n = np.repeat(n, pattern.column_groups)  # steps of every group of K, 0 in absent blocks
        groups = np.repeat(np.arange(pattern.groups), group_n)
        slots = np.arange(len(groups)) - np.repeat(np.cumsum(group_n, dtype=np.int64) - group_n, group_n)
        first = block_row * pattern.block
        last = min(first + pattern.block, pattern.shape[0])
        tiles += [(groups, slots, tile) for tile in range(first, last, rows)]
    return tiles


def pack(weights: np.ndarray, pattern: Pattern, *, rows: int, layer: str = "layer") -> PackedWeights:
    """Pack dense weights with zeros.

    Parameters
    ----------
    weights : numpy.ndarray
        ``int8`` of shape (O, K), zeros where pruned.
    pattern : Pattern
        The pattern that they obey.
    rows : int
        Rows of the array; a power of two that divides the block.
    layer : str
        Name for messages.

    Raises
    ------
    PatternError
        When the weights break the pattern, are not int8, or ``rows`` does not divide the block.
    """
    weights = np.asarray(weights)
    if weights.dtype != np.int8:
        raise PatternError(f"{layer}: weights must be int8, not {weights.dtype}; quantize before packing")
    if rows < 1 or pattern.block % rows:
        raise PatternError(f"{layer}: rows must divide the block, {pattern.block}, but is {rows}; use a larger block")
    if pattern.block_columns > ENTRY.fields[0].high + 1:
        raise PatternError(
            f"{layer}: K must not exceed {(ENTRY.fields[0].high + 1) * pattern.block} at B = {pattern.block}, "
            f"not {pattern.shape[1]}; use a larger block"
        )
    check(weights, pattern, layer=layer)
    num_rows = -(-pattern.shape[0] // rows) * rows
    padded = np.zeros((num_rows, pattern.groups * pattern.group), np.int8)
    padded[: pattern.shape[0], : pattern.shape[1]] = weights
    groups = padded.reshape(num_rows, pattern.groups, pattern.group)
    # Non-zeros first, each in the order of K; a stable sort makes the packed form unique. Dense blocks stay in the order of K.
    n_of_groups = np.repeat(np.repeat(pattern.n, pattern.column_groups, axis=1), pattern.block, axis=0)
    is_sparse = n_of_groups[:num_rows, :, None] < pattern.group
    offsets = np.argsort((groups == 0) & is_sparse, axis=2, kind="stable").astype(np.uint8)
    values = np.take_along_axis(groups, offsets, axis=2)
    offsets[(values == 0) & is_sparse] = 0
    tiles = schedule(pattern, rows)
    return PackedWeights.of(
        pattern,
        values=np.concatenate([values[first : first + rows, group, slot].T for group, slot, first in tiles]),
        offsets=np.concatenate([offsets[first : first + rows, group, slot].T for group, slot, first in tiles]),
    )


def unpack(packed: PackedWeights) -> np.ndarray:
    """Return the dense weights that were packed: ``int8`` of shape (O, K).

    Raises
    ------
    PatternError
        When counts or entries break the contract.
    """
    pattern = packed.pattern
    padded = np.zeros((packed.row_tiles * packed.rows, pattern.groups * pattern.group), np.int8)
    start = 0
    for group, _, first in schedule(pattern, packed.rows):
        step, row = np.nonzero(packed.values[start : start + len(group)])
        k = group[step] * pattern.group + packed.offsets[start + step, row]
        padded[first + row, k] = packed.values[start + step, row]
        start += len(group)
    return np.ascontiguousarray(padded[: pattern.shape[0], : pattern.shape[1]])
