"""Labelled images in memory, and the choices that experiments make of them."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from .errors import DataError

__all__ = ["PIXEL_MEAN", "PIXEL_SCALE", "Dataset", "Split", "normalize"]

#: Mean and deviation of Fashion-MNIST's training pixels (72.94 and 90.02), rounded to whole pixel values: so int8 with scale
#: 1/90 and zero point -55 represents every normalised pixel exactly, as ``pixel - 128``, and input quantization loses nothing.
PIXEL_MEAN = 73
PIXEL_SCALE = 90

VALIDATION_FRACTION = 1 / 12
VALIDATION_SEED = 0


def normalize(images: np.ndarray) -> np.ndarray:
    """Turn uint8 images [N, H, W] into a network's float32 input [N, 1, H, W]: ``(pixel - 73) / 90``."""
    return ((images.astype(np.float32) - PIXEL_MEAN) / PIXEL_SCALE)[:, None]


@dataclasses.dataclass(frozen=True)
class Split:
    """Images with their labels.

    Parameters
    ----------
    images : ndarray
        uint8 [N, H, W], or of colours [N, H, W, 3].
    labels : ndarray
        int64 [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray | slice) -> Self:
        """Return the images at ``index``."""
        return type(self)(self.images[index], self.labels[index])

    def select(self, classes: Sequence[int]) -> Self:
        """Keep the images of ``classes``, relabelled 0, 1, ... in the order of ``classes``."""
        table = np.full(int(max(self.labels.max(initial=0), *classes)) + 1, -1, dtype=np.int64)
        table[list(classes)] = np.arange(len(classes))
        labels = table[self.labels]
        return type(self)(self.images[labels >= 0], labels[labels >= 0])

    def hold_out(self, fraction: float, seed: int) -> tuple[Self, Self]:
        """Split into a larger and a smaller part, the smaller with ``fraction`` of every class, drawn by ``seed``."""
        random = np.random.default_rng(seed)
        held = np.zeros(len(self), dtype=bool)
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            held[random.permutation(members)[: round(fraction * len(members))]] = True
        return self.take(~held), self.take(held)

    def batches(self, size: int, random: np.random.Generator | None = None) -> Iterator[Self]:
        """Yield batches of ``size`` images: in order, or shuffled by ``random`` and without the incomplete last one."""
        order = np.arange(len(self)) if random is None else random.permutation(len(self))
        stop = len(self) if random is None or len(self) < size else len(self) // size * size
        for start in range(0, stop, size):
            yield self.take(order[start : start + size])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set with its training and test images.

    Parameters
    ----------
    name : str
        What it is, as a report prints it.
    source : str
        Where it came from: folder or archive.
    classes : tuple of str
        Class names in the order of their labels.
    train, test : Split
        Images to learn from, and images to judge by.
    notice : str
        What the user must know when this is a stand-in for what was asked; else empty.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    notice: str = ""

    def training_and_validation(self) -> tuple[Split, Split]:
        """Split the training images: eleven twelfths to learn from, the rest to choose settings by, always the same ones.

        Training and pruning both use it, so that no network has ever learnt from a validation image, and none is chosen by test images.
        """
        return self.train.hold_out(VALIDATION_FRACTION, VALIDATION_SEED)

    def check_classes(self, classes: Sequence[int]) -> tuple[int, ...]:
        """Return ``classes`` as a tuple, checked.

        Raises
        ------
        DataError
            When fewer than two are given, one is given twice, or one does not exist.
        """
        chosen = tuple(int(label) for label in classes)
        remedy = f"choose among 0 to {len(self.classes) - 1}: {', '.join(self.classes)}"
        if len(chosen) < 2:
            raise DataError(self.name, rule="needs at least two user classes", value=list(chosen), remedy=remedy)
        if len(set(chosen)) != len(chosen):
            raise DataError(self.name, rule="each user class must be named once", value=list(chosen), remedy=remedy)
        if not all(0 <= label < len(self.classes) for label in chosen):
            raise DataError(self.name, rule="user classes must be labels of the data set", value=list(chosen), remedy=remedy)
        return chosen
