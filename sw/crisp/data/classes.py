"""The user's classes: by name, by number, or drawn by a seed."""

from collections.abc import Sequence

import numpy as np

from .dataset import Dataset
from .errors import DataError

__all__ = ["choose_classes", "draw_classes"]


def draw_classes(dataset: Dataset, count: int, seed: int, least: int = 1) -> tuple[int, ...]:
    """Draw ``count`` classes, 1 to all, by ``seed``; in ascending order.

    Raises
    ------
    DataError
        When the data set has fewer classes, or ``count`` is less than ``least``.
    """
    if not max(1, least) <= count <= len(dataset.classes):
        rule = f"number of user classes must be from {max(1, least)} to {len(dataset.classes)}"
        raise DataError(dataset.name, rule=rule, value=count, remedy="draw another number")
    drawn = np.random.default_rng(seed).permutation(len(dataset.classes))[:count]
    return dataset.check_classes(sorted(drawn.tolist()), least)


def choose_classes(words: Sequence[str | int], dataset: Dataset, least: int = 1) -> tuple[int, ...]:
    """Return the labels of classes that are given by name, upper or lower case, or by number; names come first.

    Raises
    ------
    DataError
        When they are fewer than ``least``, named twice, or none of the data set's.
    """
    names: dict[str, int] = {}
    for label, name in enumerate(dataset.classes):
        names.setdefault(name.lower(), label)
    labels = []
    for word in (str(word).strip() for word in words):
        if word.lower() in names:
            labels.append(names[word.lower()])
        elif word.removeprefix("-").isdecimal() and word.isascii():
            labels.append(int(word))
        else:
            listed = ", ".join(dataset.classes[:20]) + (", ..." if len(dataset.classes) > 20 else "")
            raise DataError(dataset.name, rule="classes must be numbers or names", value=repr(word), remedy=f"it has {listed}")
    return dataset.check_classes(labels, least)
