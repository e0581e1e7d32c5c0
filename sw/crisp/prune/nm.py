"""N:M masks: in every row, of every M consecutive entries of K the N with the largest score stay.

Source: A. Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv 2104.08378 (2:4); A. Zhou et al., "Learning N:M Fine-grained
Structured Sparse Neural Networks From Scratch", arXiv 2102.04010 (any N:M).
"""

import numpy as np

from .errors import PruneError

__all__ = ["nm_mask"]

#: Scores that are sorted at a time: bounds the memory that their order takes, which is several times theirs.
CHUNK = 1 << 24


def nm_mask(scores: np.ndarray, n: int, group: int) -> np.ndarray:
    """Choose the weights that stay.

    Parameters
    ----------
    scores : ndarray
        [O, K], K a multiple of M in the contract's order; larger is more salient.
    n : int
        N, 1 to M.
    group : int
        M.

    Returns
    -------
    ndarray
        bool [O, K] with exactly N true of every M. Among equal scores the first in K stays.

    Raises
    ------
    PruneError
        When N is not in 1 to M, K is not a multiple of M, or a score is not finite.
    """
    if not 1 <= n <= group:
        raise PruneError(f"N must be from 1 to M = {group}, not {n}")
    if scores.shape[1] % group:
        raise PruneError(f"K must be a multiple of M = {group}, not {scores.shape[1]}")
    if not np.isfinite(scores).all():
        raise PruneError("scores must be finite, but some are not; lower the learning rate")
    mask = np.zeros(scores.shape, dtype=bool)
    rows = max(1, CHUNK // scores.shape[1])
    for start in range(0, len(scores), rows):
        groups = scores[start : start + rows].reshape(-1, group)
        order = np.argsort(-groups, axis=1, kind="stable")
        np.put_along_axis(mask[start : start + rows].reshape(-1, group), order[:, :n], True, axis=1)
    return mask
