"""Data sets: classes with their images in memory or in files, and the choices that experiments make of them."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from .augment import augment
from .errors import DataError
from .images import Images
from .normalization import FASHION, Normalization

__all__ = ["Dataset", "Split"]

VALIDATION_FRACTION = 1 / 12
VALIDATION_SEED = 0


@dataclasses.dataclass(frozen=True)
class Split(Images):
    """Images in memory with their labels.

    Parameters
    ----------
    images : ndarray
        uint8 [N, H, W], or of colours [N, H, W, 3].
    labels : ndarray
        int64 [N].
    normalization : Normalization
        How pixels become a network's input; Fashion-MNIST's by default.
    shift : int
        Largest shift of a training image, in pixels; half of them are mirrored as well.
    """

    images: np.ndarray
    labels: np.ndarray
    normalization: Normalization = FASHION
    shift: int = 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, height, width, channels = (*self.images.shape, 1)[:4]
        return height, width, channels

    def take(self, index: np.ndarray | slice) -> Self:
        """Return the images at ``index``."""
        return dataclasses.replace(self, images=self.images[index], labels=self.labels[index])

    def relabel(self, labels: np.ndarray) -> Self:
        """Return the same images with other labels, int64 [N]."""
        return dataclasses.replace(self, labels=labels)

    def pixels(self, random: np.random.Generator | None = None) -> np.ndarray:
        """Return the images, mirrored and shifted by ``random`` where it is given."""
        return self.images if random is None else augment(self.images, random, self.shift)

    def digest(self) -> str:
        """Return a SHA-256 of labels and pixels."""
        return hashlib.sha256(self.labels.tobytes() + self.images.tobytes()).hexdigest()


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
    train, test : Images
        Images to learn from, and images to judge by.
    notice : str
        What the user must know: that this stands in for other data, or what of it was left out; else empty.
    validation : Images, optional
        Images to choose settings by, where the data set has some besides; else they are held out of ``train``.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Images
    test: Images
    notice: str = ""
    validation: Images | None = None

    @property
    def normalization(self) -> Normalization:
        """How pixels become a network's input."""
        return self.train.normalization

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.train.shape

    def training_and_validation(self) -> tuple[Images, Images]:
        """Return images to learn from and images to choose settings by.

        Where the data set has no validation images of its own, those are a twelfth of the training images, always the same ones. Training
        and pruning both use them, so that no network has ever learnt from a validation image, and none is chosen by test images.
        """
        if self.validation is not None:
            return self.train, self.validation
        return self.train.hold_out(VALIDATION_FRACTION, VALIDATION_SEED)

    def describe(self) -> dict[str, Any]:
        """Return what it is, as JSON has it: two data sets that differ in anything that matters differ here.

        Images in memory are read, all of them.

        Raises
        ------
        DataError
            When a file is absent.
        """
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "name": self.name,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "normalization": [list(values) for values in dataclasses.astuple(self.normalization)],
            **{name: images.digest() for name, images in parts.items() if images is not None},
        }

    def select(self, classes: Sequence[int]) -> "Dataset":
        """Return the data set of ``classes`` only, relabelled 0, 1, ... in their order.

        Training and validation images stay apart as `training_and_validation` has them.
        """
        training, validation = self.training_and_validation()
        return dataclasses.replace(
            self,
            classes=tuple(self.classes[label] for label in classes),
            train=training.select(classes),
            test=self.test.select(classes),
            validation=validation.select(classes),
        )

    def check_classes(self, classes: Sequence[int], least: int = 2) -> tuple[int, ...]:
        """Return ``classes`` as a tuple, checked.

        Parameters
        ----------
        classes : sequence of int
            Labels.
        least : int
            How many there must be: 2 for a network that is cut down to them, 1 for one that keeps all its outputs.

        Raises
        ------
        DataError
            When fewer are given, one is given twice, or one does not exist.
        """
        chosen = tuple(int(label) for label in classes)
        listed = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
        remedy = f"choose among 0 to {len(self.classes) - 1}: {listed}"
        if len(chosen) < least:
            number = "two user classes" if least == 2 else f"{least} user class{'es' if least > 1 else ''}"
            raise DataError(self.name, rule=f"needs at least {number}", value=list(chosen), remedy=remedy)
        if len(set(chosen)) != len(chosen):
            raise DataError(self.name, rule="each user class must be named once", value=list(chosen), remedy=remedy)
        if not all(0 <= label < len(self.classes) for label in chosen):
            raise DataError(self.name, rule="user classes must be labels of the data set", value=list(chosen), remedy=remedy)
        return chosen
