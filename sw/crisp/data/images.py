"""Labelled images, wherever they lie: the one interface that training, pruning, calibration and judging use.

Choosing images and classes reads nothing: only `Images.pixels` and `Images.inputs` do, so take or draw batches before them.
"""

import abc
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from .normalization import Normalization

__all__ = ["Images"]


class Images(abc.ABC):
    """Images with their labels.

    Attributes
    ----------
    labels : ndarray
        int64 [N].
    normalization : Normalization
        How pixels become a network's input.
    """

    labels: np.ndarray
    normalization: Normalization

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""

    @abc.abstractmethod
    def take(self, index: np.ndarray | slice) -> Self:
        """Return the images at ``index``."""

    @abc.abstractmethod
    def relabel(self, labels: np.ndarray) -> Self:
        """Return the same images with other labels, int64 [N]."""

    @abc.abstractmethod
    def pixels(self, random: np.random.Generator | None = None) -> np.ndarray:
        """Return all images, uint8 [N, H, W] of grey or [N, H, W, C] of coloured ones.

        Parameters
        ----------
        random : Generator, optional
            Source of random changes that leave a training image's class as it is; without it they are as they are judged by.

        Raises
        ------
        DataError
            When a file is absent or damaged.
        """

    @abc.abstractmethod
    def digest(self) -> str:
        """Return a SHA-256 that other images or labels would not have; of files it takes names and sizes, and reads none."""

    def inputs(self, random: np.random.Generator | None = None) -> np.ndarray:
        """Return `pixels` as a network's input, normalised, float32 [N, C, H, W]."""
        return self.normalization.normalize(self.pixels(random))

    def __len__(self) -> int:
        return len(self.labels)

    def keep(self, classes: Sequence[int]) -> Self:
        """Keep the images of ``classes``, their labels as they are: for a network with a full head."""
        return self.take(np.flatnonzero(np.isin(self.labels, list(classes))))

    def select(self, classes: Sequence[int]) -> Self:
        """Keep the images of ``classes``, relabelled 0, 1, ... in the order of ``classes``: for a network with a reduced head."""
        table = np.full(int(max(self.labels.max(initial=0), *classes, 0)) + 1, -1, dtype=np.int64)
        table[list(classes)] = np.arange(len(classes))
        kept = self.keep(classes)
        return kept.relabel(table[kept.labels])

    def hold_out(self, fraction: float, seed: int) -> tuple[Self, Self]:
        """Split into a larger and a smaller part, the smaller with ``fraction`` of every class, drawn by ``seed``.

        Either has an image of each class at least, where there are two.
        """
        random = np.random.default_rng(seed)
        held = np.zeros(len(self), dtype=bool)
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            held[random.permutation(members)[:count]] = True
        return self.take(~held), self.take(held)

    def batches(self, size: int, random: np.random.Generator | None = None) -> Iterator[Self]:
        """Yield batches of ``size`` images: in order, or shuffled by ``random`` and without the incomplete last one."""
        order = np.arange(len(self)) if random is None else random.permutation(len(self))
        stop = len(self) if random is None or len(self) < size else len(self) // size * size
        for start in range(0, stop, size):
            yield self.take(order[start : start + size])
