"""The sparsity contract: which blocks of a weight matrix are kept, and how many of every M weights in each."""

import dataclasses
from typing import Self

import numpy as np

from .errors import PatternError

__all__ = ["Pattern", "check", "check_uniform"]

#: Largest block whose groups and row tiles the fields of a layer's command can count, for every M and number of rows.
MAX_BLOCK = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Pattern:
    """Hybrid pattern of one weight matrix ``W[O, K]``: an N for each B x B block, where absent means N = 0.

    Parameters
    ----------
    shape : tuple of int
        (O, K), without padding.
    block : int
        B, a power of two up to 64.
    group : int
        M, a power of two no larger than B.
    n : numpy.ndarray
        Weights kept of every M, ``uint8`` of shape (ceil(O / B), ceil(K / B)), each 0 to M.

    Raises
    ------
    PatternError
        When the sizes or ``n`` break a rule that needs no weights to see. Uniformity is for `check`, so that a pruner
        may hold a pattern that is not there yet.

    Notes
    -----
    K is cut into groups of M, the last one padded with zeros; the last block column may have fewer groups than the
    others, and only those that exist cost time.
    """

    shape: tuple[int, int]
    block: int
    group: int
    n: np.ndarray

    def __post_init__(self) -> None:
        for name in ("block", "group"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise PatternError(f"{name} must be a power of two, not {value}")
        if not 2 <= self.group <= 16:
            raise PatternError(f"group must be one of 2, 4, 8, 16, not {self.group}")
        if self.block > MAX_BLOCK:
            raise PatternError(f"block must be at most {MAX_BLOCK}, not {self.block}")
        if self.group > self.block:
            raise PatternError(f"group must not be larger than block = {self.block}, not {self.group}")
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise PatternError(f"shape must be (O, K) with both at least 1, not {self.shape}")
        n = np.asarray(self.n)
        if n.dtype.kind not in "iu":
            raise PatternError(f"n must be integers, not {n.dtype}")
        if n.shape != (self.block_rows, self.block_columns):
            raise PatternError(f"n must have the shape {(self.block_rows, self.block_columns)}, not {n.shape}")
        wrong = (n < 0) | (n > self.group)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise PatternError(f"n must be 0 to M = {self.group}, not {n[row, column]} in block ({row}, {column})")
        n = n.astype(np.uint8, order="C")  # a copy, so that the caller's array stays writable and cannot change this one
        n.setflags(write=False)
        object.__setattr__(self, "n", n)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pattern):
            return NotImplemented
        same = (self.shape, self.block, self.group) == (other.shape, other.block, other.group)
        return same and np.array_equal(self.n, other.n)

    @classmethod
    def dense(cls, shape: tuple[int, int], block: int, group: int) -> Self:
        """Return the pattern that keeps everything: N = M in every block."""
        return cls.from_kept(np.ones((-(-shape[0] // block), -(-shape[1] // block)), bool), shape, block, group, group)

    @classmethod
    def from_kept(cls, kept: np.ndarray, shape: tuple[int, int], block: int, group: int, n: int) -> Self:
        """Return the pattern with one N for the whole layer, in the blocks where ``kept`` (block rows, columns) is true."""
        return cls(shape, block, group, np.where(kept, n, 0))

    @classmethod
    def infer(cls, weights: np.ndarray, block: int, group: int) -> Self:
        """Return a uniform pattern that ``weights`` obey, of nearly the fewest steps.

        Every block gets the least N that holds it. Then block rows with fewer steps than the longest raise the N of
        their first blocks, which packs zeros.

        Parameters
        ----------
        weights : numpy.ndarray
            Shape (O, K), zeros where pruned.
        block, group : int
            B and M.
        """
        blank = cls.dense(weights.shape, block, group)
        counts = blank.count_nonzeros(weights)
        padded = np.zeros((blank.block_rows * block, blank.block_columns * blank.block_groups), counts.dtype)
        padded[: counts.shape[0], : counts.shape[1]] = counts
        n = padded.reshape(blank.block_rows, block, blank.block_columns, blank.block_groups).max(axis=(1, 3))
        return cls.level(n, weights.shape, block, group)

    @classmethod
    def level(cls, n: np.ndarray, shape: tuple[int, int], block: int, group: int) -> Self:
        """Return the uniform pattern that has at least ``n`` in every block: rows with fewer steps raise the N of their first blocks."""
        n = n.astype(np.int64)
        missing = max(1, n.sum(axis=1).max()) - n.sum(axis=1)
        for row, need in enumerate(missing):
            for column in range(n.shape[1]):
                if need == 0:
                    break
                raised = min(group - n[row, column], need)
                n[row, column] += raised
                need -= raised
        return cls(shape, block, group, n)

    @property
    def block_rows(self) -> int:
        """Rows of blocks: ceil(O / B)."""
        return -(-self.shape[0] // self.block)

    @property
    def block_columns(self) -> int:
        """Columns of blocks: ceil(K / B)."""
        return -(-self.shape[1] // self.block)

    @property
    def groups(self) -> int:
        """Groups in a row of the matrix: ceil(K / M)."""
        return -(-self.shape[1] // self.group)

    @property
    def block_groups(self) -> int:
        """Groups of a whole block: B / M."""
        return self.block // self.group

    @property
    def column_groups(self) -> np.ndarray:
        """Groups of each block column, ``int64`` of shape (block_columns,); the last may have fewer."""
        starts = np.arange(self.block_columns) * self.block_groups
        return np.minimum(self.groups - starts, self.block_groups)

    @property
    def kept(self) -> np.ndarray:
        """Which blocks are kept, ``bool`` of shape (block_rows, block_columns)."""
        return self.n > 0

    @property
    def used_columns(self) -> np.ndarray:
        """Block columns that at least one block row keeps, ascending: only they need to be gathered."""
        return np.flatnonzero(self.kept.any(axis=0))

    @property
    def row_steps(self) -> np.ndarray:
        """Steps of a row tile in each block row, ``int64`` of shape (block_rows,)."""
        return self.n.astype(np.int64) @ self.column_groups

    @property
    def density(self) -> float:
        """Share of the weights that N:M and blocks leave room for: 1 when dense. Speed-up cannot exceed 1 / density."""
        rows = np.minimum(self.shape[0] - np.arange(self.block_rows) * self.block, self.block)
        return float(rows @ self.row_steps) / (self.shape[0] * self.groups * self.group)

    def count_nonzeros(self, weights: np.ndarray) -> np.ndarray:
        """Count the non-zeros of every group: ``int64`` of shape (O, groups)."""
        padded = np.zeros((self.shape[0], self.groups * self.group), bool)
        padded[:, : self.shape[1]] = np.asarray(weights) != 0
        return padded.reshape(self.shape[0], self.groups, self.group).sum(axis=2)


def check_uniform(pattern: Pattern, *, layer: str = "layer") -> None:
    """Check the part of the sparsity contract that needs no weights: that block rows are equal.

    Raises
    ------
    PatternError
        Naming layer, block row and rule: *kept* (a block row without a block) or *uniform* (unequal sums of N).
    """
    sums = pattern.n.sum(axis=1, dtype=np.int64)
    if sums.min() == 0:
        row = int(sums.argmin())
        raise PatternError(f"{layer}: rule kept: block row {row} keeps no block; keep at least one in every block row")
    if sums.min() != sums.max():
        row = int(np.flatnonzero(sums != sums[0])[0])
        raise PatternError(
            f"{layer}: rule uniform: N adds up to {sums[row]} in block row {row} but to {sums[0]} in block row 0; "
            f"prune equally many in every block row"
        )


def check(weights: np.ndarray, pattern: Pattern, *, layer: str = "layer") -> None:
    """Check that a weight matrix and its pattern obey the sparsity contract.

    This is the one check of the contract; every tool calls it.

    Parameters
    ----------
    weights : numpy.ndarray
        Any number type, shape (O, K), zeros where pruned.
    pattern : Pattern
        The pattern that the weights claim to have.
    layer : str
        Name for the message.

    Raises
    ------
    PatternError
        Naming layer, row, group and rule of the first violation:
        *shape* (weights and pattern differ), *kept* (a block row without a block), *uniform* (block rows of unequal
        sum of N), *absent* (a weight in an absent block) or *N:M* (too many weights in a group).
    """
    weights = np.asarray(weights)
    if weights.shape != pattern.shape:
        raise PatternError(f"{layer}: rule shape: weights are {weights.shape}, their pattern {pattern.shape}")
    check_uniform(pattern, layer=layer)
    counts = pattern.count_nonzeros(weights)
    limits = np.repeat(np.repeat(pattern.n, pattern.block, axis=0), pattern.block_groups, axis=1)
    limits = limits[: counts.shape[0], : counts.shape[1]]
    if (counts > limits).any():
        row, group = (int(position) for position in np.argwhere(counts > limits)[0])
        last = min((group + 1) * pattern.group, pattern.shape[1]) - 1
        where = f"{layer}: row {row}, group {group} (K {group * pattern.group}..{last})"
        if limits[row, group] == 0:
            block = (row // pattern.block, group // pattern.block_groups)
            raise PatternError(f"{where}: rule absent: {counts[row, group]} non-zero weights in absent block {block}")
        raise PatternError(
            f"{where}: rule N:M: {counts[row, group]} non-zero weights, but the block allows {limits[row, group]} of every {pattern.group}"
        )
