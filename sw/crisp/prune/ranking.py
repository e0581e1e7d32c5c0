"""Competition of rank-columns across layers: which layer gives how many, until the goal is reached.

A rank-column's worth is what is lost with it for what it costs; the least worthy goes first, a layer's in ascending order. With s its
salience, S that of all rank-columns of its layer that are as salient or more, itself included:

- ``RAW``: s. The paper's (arXiv 2311.14272, algorithm 1): saliency as measured, comparable across layers as far as the loss is linear.
- ``NORMALIZED``: s / (salience of the whole layer). Every layer has the same to lose.
- ``PRODUCT``: log S - log(S - s). What goes next is what keeps the product over all layers of the kept share of their salience largest.
  A network is a chain of layers, and what one has lost the next cannot give back; a layer's last rank-columns are worth more the fewer
  they are, so that no layer collapses and none needs a floor. Source: ours; it is J. Nash's bargaining solution, Econometrica 18 (1950),
  of layers that bargain for a budget.

- ``UNIFORM``: its place in its layer, so that all layers lose the same share. No competition.

What a rank-column costs is one, its weights, its multiplications, or the cycles that the machine's model predicts for it.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from crisp.arch import Pattern

from .blocks import RankColumns
from .budget import TOLERANCE, narrow
from .errors import PruneError, UnreachableError
from .options import Price, Ranking
from .selection import Goal, Layer

__all__ = ["allocate"]

#: What costs no cycles is taken to cost so many, so that it still has an order.
LEAST_CYCLES = 1e-3


def allocate(
    columns: Mapping[str, RankColumns],
    layers: Mapping[str, Layer],
    goal: Goal,
    *,
    ranking: Ranking,
    price: Price,
    floor: float,
    block: int,
    group: int,
) -> dict[str, np.ndarray]:
    """Decide what each layer keeps.

    Parameters
    ----------
    columns : mapping
        By layer: its rank-columns.
    layers : mapping
        By layer: what else is known of it.
    goal : Goal
        Where to arrive.
    ranking : Ranking
        What a rank-column is worth.
    price : Price
        What it costs.
    floor : float
        Share of each layer's rank-columns that stays in any case; one always does.
    block, group : int
        B and M.

    Returns
    -------
    dict
        By layer: N of each block, uint8 [block rows, block columns], with equal sums in all block rows.

    Raises
    ------
    UnreachableError
        When the goal asks for more than all layers can give, or for less than N:M takes by itself.
    """
    queue = Queue(columns, layers, ranking, price, floor, block // group)
    total = sum(int(layer.exists.sum()) for layer in layers.values())
    budget = int(total * (1 - goal.sparsity) + 1e-6)
    offered = sum(int(column.weights.sum()) for column in columns.values())
    if budget > offered and goal.cycles is None:
        raise UnreachableError(
            f"sparsity must be at least {1 - offered / total:.3f}, which N:M takes by itself, not {goal.sparsity:.3f}; "
            f"choose a larger N or a higher sparsity"
        )
    left = offered - np.concatenate([[0], np.cumsum(queue.weights)])
    if left[-1] > budget:
        raise UnreachableError(
            f"sparsity must be at most {math.floor(1e4 * (1 - left[-1] / total)) / 1e4:g}, which leaves the {left[-1]} weights that layers "
            f"keep in any case, not {goal.sparsity:g}; lower the sparsity or the floor"
        )
    removed = int(np.argmax(left <= budget))

    def decide(removed: int) -> dict[str, np.ndarray]:
        return {name: columns[name].n(kept) for name, kept in queue.kept(removed).items()}

    if goal.cycles is None:
        return decide(removed)
    if goal.measure is None:
        raise PruneError("a budget of cycles must come with a model of the machine; give `measure`")
    measure, shapes = goal.measure, {name: (layer.exists.shape[0], layer.exists.shape[1]) for name, layer in layers.items()}

    def cycles(removed: int) -> int:
        return measure({name: Pattern(shapes[name], block, group, n) for name, n in decide(removed).items()})

    return decide(search(cycles, queue, removed, goal))


class Queue:
    """Rank-columns of all layers in the order in which they go.

    Parameters
    ----------
    columns, layers, ranking, price, floor
        See `allocate`.
    block_groups : int
        Groups of a row of a block: B / M.
    """

    def __init__(
        self,
        columns: Mapping[str, RankColumns],
        layers: Mapping[str, Layer],
        ranking: Ranking,
        price: Price,
        floor: float,
        block_groups: int,
    ) -> None:
        self.names = list(columns)
        self.lengths = [len(columns[name]) for name in self.names]
        values, owners, weights, cycles = [], [], [], []
        for number, name in enumerate(self.names):
            column, layer = columns[name], layers[name]
            gone = len(column) - max(1, round(floor * len(column)))  # at most
            spent = cycle_cost(column, layer, block_groups)
            value = worth(column, ranking)
            if ranking is not Ranking.UNIFORM:
                value = value / (spent if price is Price.CYCLES else cost(column, layer, price))
            # Where blocks at the edge have fewer weights, the value need not ascend where the salience does: make it.
            values.append(np.maximum.accumulate(value)[:gone])
            owners.append(np.full(gone, number))
            weights.append(column.weights[:gone])
            cycles.append(spent[:gone])
        value, owner = np.concatenate(values), np.concatenate(owners)
        order = np.lexsort((owner, value))  # stable: of one layer in ascending order
        self.owners, self.weights, self.cycles = owner[order], np.concatenate(weights)[order], np.concatenate(cycles)[order]

    def kept(self, removed: int) -> dict[str, int]:
        """Return how many rank-columns each layer keeps when the first ``removed`` are gone."""
        lost = np.bincount(self.owners[:removed], minlength=len(self.names))
        return {name: length - int(count) for name, length, count in zip(self.names, self.lengths, lost, strict=True)}


def worth(column: RankColumns, ranking: Ranking) -> np.ndarray:
    """Return what each rank-column of a layer is worth, float64 [rank-columns]."""
    salience = column.salience
    match ranking:
        case Ranking.RAW:
            return salience
        case Ranking.NORMALIZED:
            return salience / max(float(salience.sum()), np.finfo(np.float64).tiny)
        case Ranking.UNIFORM:
            return (np.arange(len(column)) + 1) / len(column)
        case Ranking.PRODUCT:
            above = np.cumsum(salience[::-1])[::-1]  # its own and all that are as salient or more
            share = np.divide(salience, above, out=np.zeros_like(salience), where=above > 0)
            return -np.log1p(-np.minimum(share, 1 - 1e-16))


def cost(column: RankColumns, layer: Layer, price: Price) -> np.ndarray:
    """Return what each rank-column of a layer costs, float64 [rank-columns], more than 0."""
    weights = np.maximum(column.weights, 1).astype(np.float64)
    match price:
        case Price.NONE:
            return np.ones_like(weights)
        case Price.WEIGHTS:
            return weights
        case _:
            return weights * layer.pixels


def cycle_cost(column: RankColumns, layer: Layer, block_groups: int) -> np.ndarray:
    """Return the cycles that each rank-column of a layer costs, float64 [rank-columns], more than 0.

    They differ: below some number of steps a layer waits for its windows or its results anyhow, and more steps cost nothing.
    """
    if layer.cycles is None:
        return cost(column, layer, Price.MACS)
    kept = np.arange(len(column), -1, -1)  # before each leaves, and when all are gone
    cycles = layer.cycles(kept * float(column.steps * block_groups))
    return np.maximum(-np.diff(np.minimum.accumulate(cycles)), LEAST_CYCLES)


def search(cycles: Callable[[int], int], queue: Queue, fewest: int, goal: Goal) -> int:
    """Return how many rank-columns must go so that the network takes no more cycles than the goal allows: nearly the fewest.

    The next guess is where what rank-columns cost by the price says that the budget is met.

    Parameters
    ----------
    cycles : callable
        Predicts the cycles of the network when so many rank-columns are gone; falls as they go, but for exceptions.
    queue : Queue
        What goes, in order.
    fewest : int
        What must go in any case.
    goal : Goal
        Has the budget.

    Raises
    ------
    UnreachableError
        When they do not suffice even for what the layers keep in any case.
    """
    budget = goal.cycles or 0
    spent = np.concatenate([[0.0], np.cumsum(queue.cycles)])

    def guess(low: int, high: int, above: int, below: int) -> int:
        share = (above - budget * (1 - TOLERANCE / 2)) / max(above - below, 1)
        return int(np.searchsorted(spent, spent[low] + share * (spent[high] - spent[low])))

    def refuse(least: int) -> UnreachableError:
        told = f", {math.ceil(1e4 * least / goal.dense_cycles) / 1e4:g} of the dense network's" if goal.dense_cycles else ""
        return UnreachableError(
            f"cycles must leave room for {least}{told}, which the network takes at least, not {budget}; allow more cycles"
        )

    return narrow(cycles, fewest, len(queue.owners), budget, refuse, guess=guess, tolerance=TOLERANCE)
