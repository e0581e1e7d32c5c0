"""N:M masks: in every row, of every M consecutive entries of K the N with the largest score stay.

Source: A. Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv 2104.08378 (2:4); A. Zhou et al., "Learning N:M Fine-grained
Structured Sparse Neural Networks From Scratch", arXiv 2102.04010 (any N:M).
"""

import numpy as np

from .errors import PruneError

__all__ = ["nm_mask"]


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
    groups = scores.reshape(len(scores), -1, group)
    order = np.argsort(-groups, axis=2, kind="stable")
    mask = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(mask, order[:, :, :n], True, axis=2)
    return mask.reshape(scores.shape)
