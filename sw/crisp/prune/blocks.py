"""Which blocks stay: scores, rank-columns, and their competition across layers.

The score of a block is the sum of the saliencies of the weights that it would keep. In each block row of a layer the blocks are sorted by
score; the k-th smallest of all block rows form rank-column k. A rank-column leaves or stays as one, so every block row of a layer always
keeps as many blocks as the others. Rank-columns of all layers compete by salience for what they cost; the least salient go, a
layer's in ascending order, until no more weights are kept than the budget allows. Source: S. Aggarwal, K. Binici, T. Mitra, "CRISP: Hybrid
Structured Sparsity for Class-Aware Model Pruning", arXiv 2311.14272, section III.
"""

from collections.abc import Mapping

import numpy as np

from .errors import PruneError

__all__ = ["best_blocks", "block_sums", "choose_blocks", "expand_blocks"]


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
    rows, columns = values.shape
    padded = np.pad(values, ((0, -rows % block), (0, -columns % block))) if rows % block or columns % block else values
    return padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block).sum(axis=(1, 3), dtype=np.float64)


def expand_blocks(blocks: np.ndarray, shape: tuple[int, int], block: int) -> np.ndarray:
    """Return the mask of weights, bool of ``shape``, that lets through the B x B ``blocks`` that stay."""
    whole = np.repeat(np.repeat(blocks, block, axis=0), block, axis=1)
    return whole[: shape[0], : shape[1]]


def best_blocks(scores: np.ndarray, count: int) -> np.ndarray:
    """Return which blocks stay, bool [block rows, block columns]: the ``count`` with the largest scores in each block row."""
    order = np.argsort(scores, axis=1, kind="stable")
    mask = np.ones(scores.shape, dtype=bool)
    np.put_along_axis(mask, order[:, : scores.shape[1] - count], False, axis=1)
    return mask


def choose_blocks(
    scores: Mapping[str, np.ndarray],
    kept_weights: Mapping[str, np.ndarray],
    budget: int,
    least: Mapping[str, int],
    price: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Choose the blocks that stay.

    Parameters
    ----------
    scores : mapping
        By layer: score of each block, [block rows, block columns].
    kept_weights : mapping
        By layer: weights that each block keeps if it stays, of the same shape.
    budget : int
        Weights that may be kept in all layers together.
    least : mapping
        By layer: rank-columns that stay in any case, at least 1.
    price : mapping
        By layer: what a kept weight costs. Rank-columns compete by score / (weights x price): 1 for all layers makes them compete by
        salience for each weight, the output pixels of each layer by salience for each multiplication.

    Returns
    -------
    dict
        By layer: bool [block rows, block columns], with equally many true in every row.

    Raises
    ------
    PruneError
        When even with the least of every layer more weights than ``budget`` are kept, or ``least`` is below 1.
    """
    orders = {name: np.argsort(score, axis=1, kind="stable") for name, score in scores.items()}
    costs, candidates = {}, []
    for number, (name, order) in enumerate(orders.items()):
        columns = order.shape[1]
        if least[name] < 1:
            raise PruneError(f"{name}: at least 1 block must stay in every block row, not {least[name]}")
        costs[name] = np.take_along_axis(kept_weights[name], order, axis=1).sum(axis=0)
        sums = np.take_along_axis(scores[name], order, axis=1).sum(axis=0)
        # Blocks at the edge have fewer weights, so salience for each weight need not ascend where the scores do: make it.
        salience = np.maximum.accumulate(sums / (np.maximum(costs[name], 1) * price[name]))
        candidates += [(salience[rank], number, rank, name) for rank in range(columns - least[name])]
    kept = int(sum(cost.sum() for cost in costs.values()))
    removed = dict.fromkeys(scores, 0)
    for _, _, rank, name in sorted(candidates):
        if kept <= budget:
            break
        kept -= int(costs[name][rank])
        removed[name] = rank + 1
    if kept > budget:
        raise PruneError(
            f"sparsity must leave room for {kept} weights, which the least salient layers keep in any case, but leaves it for {budget}; "
            f"lower the sparsity or the floor"
        )
    return {name: best_blocks(score, score.shape[1] - removed[name]) for name, score in scores.items()}
