"""One choice of all masks: N:M in every layer, then blocks, across layers or as many in each."""

from collections.abc import Mapping

import numpy as np

from crisp.arch import Pattern

from .blocks import best_blocks, block_sums, choose_blocks, expand_blocks
from .errors import PruneError
from .nm import nm_mask
from .options import PruneOptions

__all__ = ["choose_masks", "choose_uniform_mask"]


def choose_masks(
    scores: Mapping[str, np.ndarray],
    exists: Mapping[str, np.ndarray],
    price: Mapping[str, float],
    sparsity: float,
    options: PruneOptions,
) -> tuple[dict[str, np.ndarray], dict[str, Pattern]]:
    """Choose which weights stay.

    Parameters
    ----------
    scores : mapping
        By layer: saliency of each weight, [O, K] in the contract's order.
    exists : mapping
        By layer: bool [O, K], false where K is padding.
    price : mapping
        By layer: what a kept weight costs; see `choose_blocks`.
    sparsity : float
        Share of the existing weights of all layers that goes.
    options : PruneOptions
        N, M, B and the floor.

    Returns
    -------
    masks : dict
        By layer: bool [O, K].
    patterns : dict
        By layer: the pattern that such weights have.

    Raises
    ------
    PruneError
        When the sparsity is less than N:M takes by itself, or more than the floor leaves room for.
    """
    kept = {name: nm_mask(score, options.n, options.group) & exists[name] for name, score in scores.items()}
    total, offered = (sum(int(mask.sum()) for mask in masks.values()) for masks in (exists, kept))
    budget = int(total * (1 - sparsity) + 1e-6)
    if budget > offered:
        raise PruneError(
            f"sparsity must be at least {1 - offered / total:.3f}, which {options.n}:{options.group} takes by itself, not {sparsity:.3f}; "
            f"choose a larger N or a higher sparsity"
        )
    block_scores = {name: block_sums(scores[name] * mask, options.block) for name, mask in kept.items()}
    block_weights = {name: block_sums(mask, options.block) for name, mask in kept.items()}
    least = {name: max(1, round(options.floor * score.shape[1])) for name, score in block_scores.items()}
    blocks = choose_blocks(block_scores, block_weights, budget, least, price)
    masks, patterns = {}, {}
    for name, mask in kept.items():
        masks[name], patterns[name] = cut(mask, blocks[name], options)
    return masks, patterns


def choose_uniform_mask(score: np.ndarray, exists: np.ndarray, density: float, options: PruneOptions) -> tuple[np.ndarray, Pattern]:
    """Choose which weights of one layer stay, by themselves and not in competition with other layers.

    Parameters
    ----------
    score : ndarray
        Saliency of each weight, [O, K] in the contract's order.
    exists : ndarray
        bool [O, K], false where K is padding.
    density : float
        Share of the existing weights that stays, as nearly as whole rank-columns allow; at least one always does.
    options : PruneOptions
        N, M and B.

    Returns
    -------
    mask : ndarray
        bool [O, K].
    pattern : Pattern
        The pattern that such weights have.
    """
    kept = nm_mask(score, options.n, options.group) & exists
    block_scores, block_weights = block_sums(score * kept, options.block), block_sums(kept, options.block)
    order = np.argsort(-block_scores, axis=1, kind="stable")
    stays = np.cumsum(np.take_along_axis(block_weights, order, axis=1).sum(axis=0))  # with 1, 2, ... rank-columns
    count = int(np.abs(stays - density * exists.sum()).argmin()) + 1
    return cut(kept, best_blocks(block_scores, count), options)


def cut(kept: np.ndarray, blocks: np.ndarray, options: PruneOptions) -> tuple[np.ndarray, Pattern]:
    """Return the weights of ``kept`` that stand in ``blocks``, and their pattern."""
    shape = (kept.shape[0], kept.shape[1])
    mask = kept & expand_blocks(blocks, shape, options.block)
    return mask, Pattern.from_kept(blocks, shape, options.block, options.group, options.n)
