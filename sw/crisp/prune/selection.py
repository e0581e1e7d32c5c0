"""The border between the pruning loop and what chooses masks: what a selector is given, and what it gives.

`crisp.prune.masks.choose_masks` is the selector of the library. Experiments bring others, to compare with.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from crisp.arch import Pattern

from .options import PruneOptions

__all__ = ["Goal", "Layer", "Selection", "Selector"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """What is known of a pruned layer besides its weights.

    Parameters
    ----------
    exists : ndarray
        bool [O, K] in the contract's order, false where K is padding.
    pixels : int
        Output pixels of an image: what each weight is used for.
    cycles : callable, optional
        Predicts, without a compiler, the cycles of the layer on the machine from the steps of its row tiles, both arrays; see
        `crisp.prune.cycles`. Without it cycles follow multiplications.
    shape : tuple of int
        Shape of its weight in the machine, [O, C, kh, kw] or [O, C]; see `crisp.prune.layers.machine_shapes`. Empty where nobody asks.
    """

    exists: np.ndarray
    pixels: int = 1
    cycles: Callable[[np.ndarray], np.ndarray] | None = None
    shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Goal:
    """Where an iteration has to arrive. Either may be missing; with both, both hold.

    Parameters
    ----------
    sparsity : float
        Share of the pruned layers' weights that goes, at least; 0 asks for nothing.
    cycles : int, optional
        Predicted cycles of the whole network, at most.
    measure : callable, optional
        Predicts the cycles of the whole network from the patterns of its layers; needed with ``cycles``.
    dense_cycles : int, optional
        Predicted cycles of the dense network, so that messages can name shares of it.
    n : int, optional
        N of this iteration, where it is not the one of the options: M while only blocks are pruned.
    """

    sparsity: float = 0.0
    cycles: int | None = None
    measure: Callable[[Mapping[str, Pattern]], int] | None = None
    dense_cycles: int | None = None
    n: int | None = None


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which weights stay.

    Parameters
    ----------
    masks : dict
        By layer: bool [O, K] in the contract's order.
    patterns : dict
        By layer: the pattern that such weights have.
    """

    masks: dict[str, np.ndarray]
    patterns: dict[str, Pattern]


class Selector(Protocol):
    """Chooses which weights stay."""

    def __call__(
        self,
        scores: Mapping[str, np.ndarray],
        layers: Mapping[str, Layer],
        goal: Goal,
        options: PruneOptions,
        random: np.random.Generator,
    ) -> Selection:
        """Choose.

        Parameters
        ----------
        scores : mapping
            By layer: saliency of each weight, [O, K] in the contract's order.
        layers : mapping
            By layer: what else is known of it.
        goal : Goal
            Where to arrive.
        options : PruneOptions
            N, M, B, and how layers compete.
        random : Generator
            For selectors that draw.
        """
        ...
