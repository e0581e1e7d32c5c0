"""The user's classes: by name, by number, or drawn by a seed.

A number is a label. A word is a name, or, where no class is called so, a number; ``name:`` or ``label:`` before it say which.
"""

import operator
from collections.abc import Mapping, Sequence

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
    """Return the labels of classes that are given by name or by number.

    Parameters
    ----------
    words : sequence of str or int
        A number is a label. A text is a name, in upper or lower case; where no class has it, a label. ``name:2`` and ``label:2`` say which.
    dataset : Dataset
        Has the classes.
    least : int
        How many there must be.

    Raises
    ------
    DataError
        When they are fewer than ``least``, named twice, or none of the data set's, or a text is the name of one and the label of another.
    """
    names: dict[str, int] = {}
    for label, name in enumerate(dataset.classes):
        names.setdefault(name.lower(), label)
    names |= {name: label for label, name in enumerate(dataset.classes)}
    labels = [find_label(word, names, dataset) if isinstance(word, str) else operator.index(word) for word in words]
    return dataset.check_classes(labels, least)


def find_label(text: str, names: Mapping[str, int], dataset: Dataset) -> int:
    """Return the label that a text means; ``names`` has those of names, and of names in lower case."""
    word = text.strip()
    named = names.get(word, names.get(word.lower()))
    kind, _, rest = (part.strip() for part in word.partition(":"))
    if named is None and kind.lower() == "name" and (called := names.get(rest, names.get(rest.lower()))) is not None:
        return called
    if named is None and kind.lower() == "label" and is_number(rest):
        return int(rest)
    if named is None and is_number(word):
        return int(word)
    listed = ", ".join(dataset.classes[:20]) + (", ..." if len(dataset.classes) > 20 else "")
    if named is None:
        raise DataError(dataset.name, rule="classes must be numbers or names", value=repr(word), remedy=f"it has {listed}")
    if is_number(word) and named != int(word) and 0 <= int(word) < len(dataset.classes):
        value = f"{word!r}, which is the name of label {named} and the label of {dataset.classes[int(word)]!r}"
        raise DataError(dataset.name, rule="a class must be named clearly", value=value, remedy=f"write name:{word} or label:{word}")
    return named


def is_number(word: str) -> bool:
    """Tell whether a word is a whole number."""
    return word.isascii() and word.removeprefix("-").isdecimal()
