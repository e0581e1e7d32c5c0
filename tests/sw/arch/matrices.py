"""Random weight matrices that obey the sparsity contract, as hypothesis draws them."""

from typing import NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from crisp.arch import Pattern

#: Every run draws the same examples: a failure on one machine is a failure on all.
PROPERTY = settings(derandomize=True, deadline=None, max_examples=60, print_blob=True)


class Matrix(NamedTuple):
    """Weights with their pattern, and rows of an array that may compute them."""

    weights: np.ndarray
    pattern: Pattern
    rows: int


def uniform_n(rng: np.random.Generator, shape: tuple[int, int], group: int, total: int) -> np.ndarray:
    """Draw the N of every block, each row of blocks adding up to ``total``."""
    n = np.zeros(shape, np.int64)
    for row in n:
        for _ in range(total):
            row[rng.choice(np.flatnonzero(row < group))] += 1
    return n


def fill(rng: np.random.Generator, pattern: Pattern, occupancy: float = 1.0) -> np.ndarray:
    """Draw int8 weights that obey ``pattern``; each slot is used with probability ``occupancy``."""
    outputs, groups = pattern.shape[0], pattern.groups
    limit = np.repeat(np.repeat(pattern.n, pattern.block, axis=0), pattern.block_groups, axis=1)[:outputs, :groups]
    rank = rng.random((outputs, groups, pattern.group)).argsort(axis=2)
    kept = (rank < limit[:, :, None]) & (rng.random(rank.shape) < occupancy)
    values = rng.choice(np.setdiff1d(np.arange(-128, 128), [0]), rank.shape)
    return np.where(kept, values, 0).astype(np.int8).reshape(outputs, -1)[:, : pattern.shape[1]]


@st.composite
def matrices(draw: st.DrawFn, *, group: int | None = None) -> Matrix:
    """Draw a matrix of any M, B and shape, with one N or mixed ones, and any number of array rows."""
    group = group or draw(st.sampled_from([2, 4, 8, 16]))
    block = draw(st.sampled_from([size for size in (2, 4, 8, 16, 32, 64) if size >= group]))
    rows = 2 ** draw(st.integers(0, block.bit_length() - 1))
    shape = (draw(st.integers(1, 2 * block + 9)), draw(st.integers(1, 4 * block + 9)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = (-(-shape[0] // block), -(-shape[1] // block))
    if draw(st.booleans()):
        total = draw(st.integers(1, group * blocks[1]))
        pattern = Pattern(shape, block, group, uniform_n(rng, blocks, group, total))
    else:
        kept = rng.random(blocks).argsort(axis=1) < draw(st.integers(1, blocks[1]))
        pattern = Pattern.from_kept(kept, shape, block, group, draw(st.integers(1, group)))
    return Matrix(fill(rng, pattern, draw(st.sampled_from([0.0, 0.5, 1.0]))), pattern, rows)
