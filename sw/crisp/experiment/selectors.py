"""Choices of masks to compare with: the other patterns, chance, and the faults of the paper's public code.

None of them is for use. What each shares with the library's choice, it takes from there, so that nothing else differs.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from crisp.arch import Pattern
from crisp.prune import PruneError, PruneOptions, UnreachableError
from crisp.prune.blocks import RankColumns, block_sums, expand_blocks
from crisp.prune.budget import TOLERANCE, narrow
from crisp.prune.masks import choose_masks, measure, select
from crisp.prune.nm import nm_mask, nm_ranks
from crisp.prune.selection import Goal, Layer, Selection, Selector

__all__ = ["PublishedChoice", "choose_nm", "choose_random_blocks", "choose_unstructured", "misordered"]

Arrays = Mapping[str, np.ndarray]
Layers = Mapping[str, Layer]


def choose_unstructured(scores: Arrays, layers: Layers, goal: Goal, options: PruneOptions, random: np.random.Generator) -> Selection:
    """Keep the k weights with the largest scores of all layers together, wherever they stand.

    ``mask = score >= (k-th largest score)``, k the largest that reaches the goal. The machine computes what `Pattern.infer` finds: the
    least N that holds each block, raised until all block rows are equal. Source: S. Han et al., "Learning both Weights and Connections",
    arXiv 1506.02626, with one threshold for all layers.

    Raises
    ------
    PruneError
        When even few weights take more cycles than the goal allows.
    """
    names = list(scores)
    flat = np.concatenate([scores[name][layers[name].exists] for name in names])
    order = np.argsort(-flat, kind="stable")
    ends = np.cumsum([int(layers[name].exists.sum()) for name in names])[:-1]

    def keep(count: int) -> Selection:
        kept = np.zeros(len(flat), bool)
        kept[order[:count]] = True
        masks = {}
        for name, part in zip(names, np.split(kept, ends), strict=True):
            masks[name] = np.zeros(scores[name].shape, bool)
            masks[name][layers[name].exists] = part
        return Selection(masks, {name: Pattern.infer(mask, options.block, options.group) for name, mask in masks.items()})

    most = int(len(flat) * (1 - goal.sparsity) + 1e-6)
    return within(keep, most, goal)


def within(select: Callable[[int], Selection], most: int, goal: Goal) -> Selection:
    """Return the selection of nearly the most weights, at most ``most``, that meets the goal's cycles."""
    if goal.cycles is None:
        return select(most)
    if goal.measure is None:
        raise PruneError("a budget of cycles must come with a model of the machine; give `measure`")
    measure = goal.measure

    def cycles(gone: int) -> int:
        return measure(select(most - gone).patterns)

    def refuse(least: int) -> UnreachableError:
        return UnreachableError(
            f"cycles must leave room for {least}, which the network takes at least, not {goal.cycles}; allow more cycles"
        )

    return select(most - narrow(cycles, 0, most, goal.cycles, refuse, tolerance=TOLERANCE))


def choose_nm(scores: Arrays, layers: Layers, goal: Goal, options: PruneOptions, random: np.random.Generator) -> Selection:
    """Keep all blocks, and in every group of M of every layer the N weights with the largest scores: the largest N that reaches the goal.

    ``N = floor(M (1 - sparsity))``, or the largest whose predicted cycles are few enough. Source: A. Zhou et al., arXiv 2102.04010.

    Raises
    ------
    UnreachableError
        When 1:M does not suffice: that is the limit of this pattern.
    """
    for n in range(int(options.group * (1 - goal.sparsity) + 1e-6), 0, -1):
        masks = {name: nm_mask(score, n, options.group, layers[name].exists) for name, score in scores.items()}
        patterns = {}
        for name, mask in masks.items():
            shape = (mask.shape[0], mask.shape[1])
            every = np.ones((-(-shape[0] // options.block), -(-shape[1] // options.block)), bool)
            patterns[name] = Pattern.from_kept(every, shape, options.block, options.group, n)
        if goal.cycles is None or (goal.measure is not None and goal.measure(patterns) <= goal.cycles):
            return Selection(masks, patterns)
    limit = f"sparsity {goal.sparsity:.3f}" if goal.cycles is None else f"{goal.cycles} cycles"
    raise UnreachableError(f"N:M alone must not be asked for more than 1:{options.group} takes, but is for {limit}; ask for less")


def choose_random_blocks(scores: Arrays, layers: Layers, goal: Goal, options: PruneOptions, random: np.random.Generator) -> Selection:
    """Keep as many blocks in each layer as `choose_masks` does, but whichever chance says; in those the weights that N:M keeps.

    With u a random number for each block, drawn once by the seed and the layer's name, a block row keeps the blocks with the largest u. So
    what was gone stays gone, as with a choice that has its reasons. Where each block has its own N, those of the row are dealt out so.

    Cycles hang a little on which blocks stay. Where what chance says is too slow, `choose_masks` is asked for as many cycles less.

    Raises
    ------
    UnreachableError
        When the goal asks for more than the layers can give.
    """
    aim = goal
    while True:
        found = deal(choose_masks(scores, layers, aim, options, random), scores, layers, options)
        if goal.cycles is None or goal.measure is None or aim.cycles is None:
            return found
        excess = goal.measure(found.patterns) - goal.cycles
        if excess <= 0:
            return found
        aim = dataclasses.replace(aim, cycles=aim.cycles - excess)


def deal(chosen: Selection, scores: Arrays, layers: Layers, options: PruneOptions) -> Selection:
    """Return the blocks of a choice dealt out at random in each block row."""
    masks, patterns = {}, {}
    for name, pattern in chosen.patterns.items():
        draw = np.random.default_rng([options.seed, zlib.crc32(name.encode())]).random(pattern.n.shape)
        n = np.zeros_like(pattern.n)
        np.put_along_axis(n, np.argsort(draw, axis=1), np.sort(pattern.n, axis=1), axis=1)
        exists = layers[name].exists
        ranks = nm_ranks(scores[name], options.group, exists)
        masks[name] = (ranks < expand_blocks(n, pattern.shape, options.block)) & exists
        patterns[name] = dataclasses.replace(pattern, n=n)
    return Selection(masks, patterns)


class PublishedChoice(Selector):
    """The library's choice with faults of the paper's public code, github.com/shivmgg/CRISP, ``main.py``; each may be had by itself.

    Its third fault cannot be expressed here: it multiplies each mask with the one before, so that block rows come to keep unequal numbers
    of blocks, which the contract does not allow and this machine does not compute.

    Parameters
    ----------
    misorder : bool
        Sums of blocks are made one block column after the other, but read as if they were one block row after the other
        (``get_prune_column_score`` and ``create_column_wise_mask``): see `misordered`.
    freeze : bool
        N:M masks are multiplied with the ones before, and the straight-through estimator that would let them change is overridden by a
        later method of the same name (``BlockL1Conv.get_NM_sparse_weights``): the first N:M mask stays.
    """

    def __init__(self, *, misorder: bool = True, freeze: bool = True) -> None:
        self.misorder, self.freeze = misorder, freeze
        self.frozen: dict[str, np.ndarray] = {}

    def __call__(self, scores: Arrays, layers: Layers, goal: Goal, options: PruneOptions, random: np.random.Generator) -> Selection:
        """Choose masks."""
        n = goal.n or options.n
        if self.freeze and n < options.group:
            if not self.frozen:
                self.frozen = {name: nm_mask(score, n, options.group, layers[name].exists) for name, score in scores.items()}
            # Below all saliencies, and by so much that a sum shows it where it should not be counted.
            scores = {name: np.where(self.frozen[name], score, -1.0) for name, score in scores.items()}
        columns = {name: measure(score, layers[name].exists, n, options) for name, score in scores.items()}
        if self.misorder:
            columns = {name: misordered(column, scores[name], layers[name].exists, n, options) for name, column in columns.items()}
        return select(columns, layers, goal, options)


def misordered(columns: RankColumns, scores: np.ndarray, exists: np.ndarray, n: int, options: PruneOptions) -> RankColumns:
    """Return the rank-columns of a layer as they come from sums of blocks that are indexed in the wrong order.

    With R block rows, C block columns and the sum s[i, j] of block (i, j), what is taken for the sum of block (i, j) is entry ``i C + j``
    of the list ``s[0, 0], s[1, 0], ..., s[R - 1, 0], s[0, 1], ...``: ``s.T.reshape(R, C)``. The same where R or C is 1.

    Raises
    ------
    PruneError
        When each block has its own N, which the public code does not know.
    """
    if columns.steps != n:
        raise PruneError("per_block must be false with the public code's order of blocks, which knows one N a layer; set it to false")
    kept = (columns.ranks < n) & exists
    sums, weights = block_sums(np.where(kept, scores, 0.0), options.block), block_sums(kept, options.block)
    wrong = sums.T.reshape(sums.shape)
    order = np.argsort(wrong, axis=1, kind="stable")
    return dataclasses.replace(
        columns,
        salience=np.take_along_axis(wrong, order, axis=1).sum(axis=0),
        weights=np.take_along_axis(weights, order, axis=1).sum(axis=0).astype(np.int64),
        order=order,
    )
