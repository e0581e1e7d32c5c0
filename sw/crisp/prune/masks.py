"""One choice of all masks: N:M in every layer, then blocks across layers."""

from collections.abc import Mapping

import numpy as np

from crisp.arch import Pattern

from .blocks import block_sums, choose_blocks
from .errors import PruneError
from .nm import nm_mask
from .options import PruneOptions

__all__ = ["choose_masks"]


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
        whole = np.repeat(np.repeat(blocks[name], options.block, axis=0), options.block, axis=1)
        masks[name] = mask & whole[: mask.shape[0], : mask.shape[1]]
        patterns[name] = Pattern.from_kept(blocks[name], (mask.shape[0], mask.shape[1]), options.block, options.group, options.n)
    return masks, patterns
