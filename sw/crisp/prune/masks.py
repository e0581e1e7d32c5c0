"""One choice of all masks: N:M and blocks, across layers or as many in each."""

from collections.abc import Mapping

import numpy as np

from crisp.arch import Pattern

from .blocks import RankColumns
from .options import PruneOptions
from .ranking import allocate
from .selection import Goal, Layer, Selection

__all__ = ["choose_masks", "choose_uniform_mask", "measure", "select"]


def choose_masks(
    scores: Mapping[str, np.ndarray],
    layers: Mapping[str, Layer],
    goal: Goal,
    options: PruneOptions,
    random: np.random.Generator | None = None,
) -> Selection:
    """Choose which weights stay: the library's selector.

    Parameters
    ----------
    scores : mapping
        By layer: saliency of each weight, [O, K] in the contract's order.
    layers : mapping
        By layer: what else is known of it.
    goal : Goal
        Where to arrive.
    options : PruneOptions
        N, M, B, whether each block has its own N, how layers compete, and the floor of each.
    random : Generator, optional
        Not used: nothing is drawn.

    Raises
    ------
    PruneError
        When the sparsity is less than N:M takes by itself, or the goal asks for more than the floor leaves room for.
    """
    columns = {name: measure(score, layers[name].exists, goal.n or options.n, options) for name, score in scores.items()}
    return select(columns, layers, goal, options)


def select(columns: Mapping[str, RankColumns], layers: Mapping[str, Layer], goal: Goal, options: PruneOptions) -> Selection:
    """Return the weights of the rank-columns that win the competition between layers."""
    chosen = allocate(
        columns,
        layers,
        goal,
        ranking=options.ranking,
        price=options.price,
        floor=options.floor,
        block=options.block,
        group=options.group,
    )
    masks, patterns = {}, {}
    for name, n in chosen.items():
        masks[name], patterns[name] = cut(columns[name], n, layers[name].exists, options)
    return Selection(masks, patterns)


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
        N, M and B, and whether each block has its own N.

    Returns
    -------
    mask : ndarray
        bool [O, K].
    pattern : Pattern
        The pattern that such weights have.
    """
    columns = measure(score, exists, options.n, options)
    stays = np.cumsum(columns.weights[::-1])  # with 1, 2, ... rank-columns
    kept = int(np.abs(stays - density * exists.sum()).argmin()) + 1
    return cut(columns, columns.n(kept), exists, options)


def measure(score: np.ndarray, exists: np.ndarray, n: int, options: PruneOptions) -> RankColumns:
    """Cut a layer into rank-columns of blocks, or of their slices where each block has its own N."""
    return RankColumns.measure(score, exists, block=options.block, group=options.group, n=n, steps=1 if options.per_block else n)


def cut(columns: RankColumns, n: np.ndarray, exists: np.ndarray, options: PruneOptions) -> tuple[np.ndarray, Pattern]:
    """Return the weights that stay with ``n`` of every M in each block, and their pattern."""
    shape = (exists.shape[0], exists.shape[1])
    return columns.mask(n, exists, options.block), Pattern(shape, options.block, options.group, n)
