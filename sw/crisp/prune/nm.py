"""N:M masks: in every row, of every M consecutive entries of K the N with the largest score stay.

Source: A. Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv 2104.08378 (2:4); A. Zhou et al., "Learning N:M Fine-grained
Structured Sparse Neural Networks From Scratch", arXiv 2102.04010 (any N:M).
"""

import itertools

import numpy as np

from .errors import PruneError

__all__ = ["nm_mask", "nm_ranks"]


def nm_ranks(scores: np.ndarray, group: int, exists: np.ndarray | None = None) -> np.ndarray:
    """Rank the weights of every group: 0 for the largest score, M - 1 for the smallest.

    So ``nm_ranks(scores, M) < N`` is the N:M mask, for all N at once, and may have another N in each block.

    Parameters
    ----------
    scores : ndarray
        [O, K], K a multiple of M in the contract's order; larger is more salient.
    group : int
        M.
    exists : ndarray, optional
        bool [O, K], false where K is padding, which ranks behind all weights; scores are then not negative.

    Returns
    -------
    ndarray
        uint8 [O, K]. Among equal scores the first in K ranks first.

    Raises
    ------
    PruneError
        When K is not a multiple of M, or a score is not finite.
    """
    if scores.shape[1] % group:
        raise PruneError(f"K must be a multiple of M = {group}, not {scores.shape[1]}")
    if exists is not None and not exists.all():
        scores = np.where(exists, scores, -1.0)
    if not np.isfinite(scores).all():
        raise PruneError("scores must be finite, but some are not; lower the learning rate")
    ranks = np.zeros(scores.shape, np.uint8)
    # Each pair is compared once, which is several times faster than to sort many short groups.
    members, places = (array.reshape(-1, group) for array in (scores, ranks))
    for first, second in itertools.combinations(range(group), 2):
        wins = members[:, first] >= members[:, second]
        places[:, second] += wins
        places[:, first] += ~wins
    return ranks


def nm_mask(scores: np.ndarray, n: int, group: int, exists: np.ndarray | None = None) -> np.ndarray:
    """Choose the weights that stay.

    Parameters
    ----------
    scores : ndarray
        [O, K], K a multiple of M in the contract's order; larger is more salient.
    n : int
        N, 1 to M.
    group : int
        M.
    exists : ndarray, optional
        bool [O, K], false where K is padding, of which nothing stays.

    Returns
    -------
    ndarray
        bool [O, K] with exactly N true of every M, or all that exist where they are fewer. Among equal scores the first in K stays.

    Raises
    ------
    PruneError
        When N is not in 1 to M, K is not a multiple of M, or a score is not finite.
    """
    if not 1 <= n <= group:
        raise PruneError(f"N must be from 1 to M = {group}, not {n}")
    mask: np.ndarray = nm_ranks(scores, group, exists) < n
    return mask if exists is None else mask & exists
