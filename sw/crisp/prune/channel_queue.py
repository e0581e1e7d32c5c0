"""The order in which channels go, and how many of them a goal takes.

Channels of a group go in the order of their importance, in bundles, so that what stays is a multiple of some number. Bundles of all groups
compete by importance for what they cost; or, where all layers are to keep the same share, go in turn.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from crisp.models.prunable import LayerReport, Verdict

from .budget import narrow
from .channel_groups import ChannelGroup, Ends
from .errors import UnreachableError
from .options import Price

__all__ = ["ChannelQueue", "cost"]


def cost(group: ChannelGroup, facts: Mapping[str, LayerReport], price: Price) -> float:
    """Return what a channel of a group costs: its weights in all layers, those only that pruning takes or all with their pixels, or 1."""
    if price is Price.NONE:
        return 1.0
    total = 0.0
    for ends, axis in [*((maker, 0) for maker in group.makers), *((reader, 1) for reader in group.readers)]:
        layer = facts[ends.layer]
        uses = (layer.pixels or 0) if price is Price.MACS else int(layer.verdict is Verdict.PRUNED)
        total += layer.weights * uses * len(ends.index) / layer.shape[axis]
    return max(total, 1.0) / group.size


class ChannelQueue:
    """Bundles of channels of all groups, in the order in which they go.

    Parameters
    ----------
    groups : sequence of ChannelGroup
        Groups that may lose channels.
    facts : mapping
        By layer: shape, weights, and whether pruning takes it.
    worth : mapping
        By the root of a group: importance of each channel.
    price : mapping
        By the root of a group: what a channel costs.
    multiple : int
        Channels that stay are a multiple of it; a group with fewer stays whole.
    floor : float
        Share of every group's channels that stays.
    is_uniform : bool
        Whether groups lose channels in turn.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        facts: Mapping[str, LayerReport],
        worth: Mapping[str, np.ndarray],
        price: Mapping[str, float],
        multiple: int,
        floor: float,
        *,
        is_uniform: bool,
    ) -> None:
        self.groups, self.facts, self.worth, self.multiple = groups, facts, worth, multiple
        self.orders = {group.root: np.argsort(worth[group.root], kind="stable") for group in groups}
        values, owners, sizes = [], [], []
        for number, group in enumerate(groups):
            bundles = cut_bundles(group.size, multiple, floor)
            ends = np.cumsum(bundles)
            going = worth[group.root][self.orders[group.root]][: bundles.sum()]
            sums = np.add.reduceat(going, ends - bundles) if len(bundles) else np.zeros(0)
            values.append(ends / group.size if is_uniform else sums / (bundles * price[group.root]))
            owners.append(np.full(len(bundles), number))
            sizes.append(bundles)
        value, owner = np.concatenate(values), np.concatenate(owners)
        order = np.lexsort((owner, value))  # stable: of one group in ascending order
        self.owners, self.sizes = owner[order], np.concatenate(sizes)[order]

    def __len__(self) -> int:
        return len(self.owners)

    def removed(self, taken: int) -> dict[str, np.ndarray]:
        """Return by the root of a group the channels that are gone when ``taken`` bundles are, ascending."""
        lost = np.bincount(self.owners[:taken], self.sizes[:taken], len(self.groups)).astype(int)
        return {group.root: np.sort(self.orders[group.root][:count]) for group, count in zip(self.groups, lost, strict=True)}

    def kept_share(self, taken: int) -> float:
        """Return the share of all importance that is left."""
        total = sum(float(worth.sum()) for worth in self.worth.values())
        lost = sum(float(self.worth[root][channels].sum()) for root, channels in self.removed(taken).items())
        return 1 - lost / total if total else 1.0

    def weights(self, taken: int) -> int:
        """Return the weights that the layers which pruning takes have left."""
        removed = self.removed(taken)
        left = {name: np.array(layer.shape) for name, layer in self.facts.items()}

        def shorten(ends: Ends, channels: np.ndarray, axis: int) -> None:
            left[ends.layer][axis] -= int(np.isin(ends.channel, channels).sum())

        for group in self.groups:
            for maker in group.makers:
                shorten(maker, removed[group.root], 0)
            for reader in group.readers:
                shorten(reader, removed[group.root], 1)
        return sum(int(np.prod(left[name])) for name, layer in self.facts.items() if layer.verdict is Verdict.PRUNED)

    def search(self, weights: int | None, cycles: int | None, measure: Callable[[Mapping[str, np.ndarray]], int]) -> int:
        """Return the fewest bundles without which the goal is reached, if more never cost more.

        Parameters
        ----------
        weights, cycles : int, optional
            Most that may be left.
        measure : callable
            Predicts the cycles of the network without some channels.

        Raises
        ------
        PruneError
            When even without all bundles it is not reached.
        """
        taken = 0
        if weights is not None:
            taken = self.narrow(0, weights, "weights", self.weights)
        if cycles is not None:
            taken = self.narrow(taken, cycles, "cycles", lambda count: measure(self.removed(count)))
        return taken

    def narrow(self, first: int, most: int, unit: str, count: Callable[[int], int]) -> int:
        """Return the fewest bundles, ``first`` or more, without which ``count`` is at most ``most``."""

        def guess(low: int, high: int, above: int, below: int) -> int:
            return low + round((high - low) * (above - most) / (above - below))

        def refuse(least: int) -> UnreachableError:
            return UnreachableError(
                f"{unit} must be at least {least}, which the network keeps in any case with channels in multiples of {self.multiple}, "
                f"not {most}; lower the floor or the multiples, or keep fewer layers"
            )

        return narrow(count, first, len(self), most, refuse, guess=guess)


def cut_bundles(size: int, multiple: int, floor: float) -> np.ndarray:
    """Return the channels of each bundle of a group of ``size``, int64: the first leaves a multiple, all others are one."""
    least = max(1, int(np.ceil(floor * size / multiple))) * multiple
    counts = np.arange(size // multiple * multiple, least - 1, -multiple)  # that may be left
    lost = size - counts
    return np.diff(lost, prepend=0)[lost > 0]
