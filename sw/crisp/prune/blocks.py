"""Rank-columns: what a layer loses at a time, so that all its block rows stay equal.

The score of a block is the sum of the saliencies of the weights that it would keep. In each block row of a layer the blocks are sorted by
score; the k-th smallest of all block rows form rank-column k. A rank-column leaves or stays as one, so every block row of a layer always
keeps as many blocks as the others. Source: S. Aggarwal, K. Binici, T. Mitra, "CRISP: Hybrid Structured Sparsity for Class-Aware Model
Pruning", arXiv 2311.14272, section III.

A block need not be kept whole or not at all. The machine spends N steps on a block of N, so a block is a pile of M *slices*: slice n holds
the n-th most salient weight of every group, and costs one step in whatever block it is. Rank-columns of slices instead of blocks
give each block its own N, from 0 to M, and every block row the same sum of N. Within a block a lower slice is never less salient than the
one above it, so the most salient slices of a row always are whole piles from the bottom: no other choice of as many steps keeps more.
"""

import dataclasses
from typing import Self

import numpy as np

from .errors import PruneError
from .nm import nm_ranks

__all__ = ["RankColumns", "block_sums", "expand_blocks"]


def block_sums(values: np.ndarray, block: int) -> np.ndarray:
    """Sum ``values`` over B x B blocks.

    Parameters
    ----------
    values : ndarray
        [O, K], numbers or truth values; rows and columns that are missing in the last blocks count as 0.
    block : int
        B.

    Returns
    -------
    ndarray
        float64 [ceil(O / B), ceil(K / B)]. Entry (i, j) is the block of rows i B to (i + 1) B - 1 and columns j B to (j + 1) B - 1.
    """
    starts = (np.arange(0, size, block) for size in values.shape)
    rows, columns = starts
    # Rows first: whole rows are added up one after the other, in the order in which they lie in memory.
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)


def expand_blocks(blocks: np.ndarray, shape: tuple[int, int], block: int) -> np.ndarray:
    """Return an array of ``shape``, [O, K], that has for each weight the value of its block, of B x B ``blocks``."""
    whole = np.repeat(np.repeat(blocks, block, axis=0), block, axis=1)
    return whole[: shape[0], : shape[1]]


@dataclasses.dataclass(frozen=True, eq=False)
class RankColumns:
    """The rank-columns of a layer, the least salient first.

    Parameters
    ----------
    salience : ndarray
        float64 [rank-columns], ascending: the sum of the saliencies of the weights that each one keeps.
    weights : ndarray
        int64 [rank-columns]: how many weights those are.
    steps : int
        What each one adds to the N of one block of every block row.
    columns : int
        Block columns.
    order : ndarray
        int64 [block rows, rank-columns]: the slice of each block row that belongs to each rank-column; those of a block are neighbours.
    ranks : ndarray
        uint8 [O, K]: the rank of each weight in its group; see `nm_ranks`.
    """

    salience: np.ndarray
    weights: np.ndarray
    steps: int
    columns: int
    order: np.ndarray
    ranks: np.ndarray

    @classmethod
    def measure(cls, scores: np.ndarray, exists: np.ndarray, *, block: int, group: int, n: int, steps: int) -> Self:
        """Cut a layer into rank-columns.

        Parameters
        ----------
        scores : ndarray
            [O, K] in the contract's order, not negative: saliency of each weight.
        exists : ndarray
            bool [O, K], false where K is padding.
        block, group : int
            B and M.
        n : int
            Largest N of a block, 1 to M.
        steps : int
            What a slice adds to the N of its block: ``n`` where blocks are kept whole or not at all, 1 where each has its own N.

        Raises
        ------
        PruneError
            When N is not in 1 to M, ``steps`` does not divide it, or a score is not finite.
        """
        if not 1 <= n <= group:
            raise PruneError(f"N must be from 1 to M = {group}, not {n}")
        if steps < 1 or n % steps:
            raise PruneError(f"a slice must add a divisor of N = {n} to it, not {steps}")
        whole = bool(exists.all())
        ranks = nm_ranks(scores, group, exists)
        gains, counts = [], []
        for top in range(n, 0, -steps):  # the topmost slice first: of slices that are equal, it leaves first
            belongs = (ranks < top) & (ranks >= top - steps)
            if not whole:
                belongs &= exists
            gains.append(block_sums(np.where(belongs, scores, scores.dtype.type(0)), block))
            counts.append(block_sums(belongs, block))
        rows, columns = gains[0].shape
        gain, count = (np.stack(sums, axis=2).reshape(rows, -1) for sums in (gains, counts))
        order = np.argsort(gain, axis=1, kind="stable")
        return cls(
            salience=np.take_along_axis(gain, order, axis=1).sum(axis=0),
            weights=np.take_along_axis(count, order, axis=1).sum(axis=0).astype(np.int64),
            steps=steps,
            columns=columns,
            order=order,
            ranks=ranks,
        )

    def __len__(self) -> int:
        return len(self.salience)

    def n(self, kept: int) -> np.ndarray:
        """Return the N of each block, uint8 [block rows, block columns], when the ``kept`` most salient rank-columns stay."""
        stays = self.order[:, len(self) - kept :] // (len(self) // self.columns)
        rows = np.broadcast_to(np.arange(len(stays))[:, None], stays.shape)
        n = np.zeros((len(stays), self.columns), np.uint8)
        np.add.at(n, (rows, stays), self.steps)
        return n

    def mask(self, n: np.ndarray, exists: np.ndarray, block: int) -> np.ndarray:
        """Return which weights stay, bool [O, K], with ``n`` of every M in each block of those that ``exists``."""
        shape = (self.ranks.shape[0], self.ranks.shape[1])
        mask: np.ndarray = (self.ranks < expand_blocks(n, shape, block)) & exists
        return mask
