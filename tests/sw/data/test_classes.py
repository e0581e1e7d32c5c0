import dataclasses

import numpy as np
import pytest
from tests.sw.small import striped_dataset

from crisp.data import DataError, choose_classes, draw_classes

NAMES = "0 to 3: stripe 0, stripe 1, stripe 2, stripe 3"


def test_by_name_and_number():
    assert choose_classes(["Stripe 2", 0, "3"], striped_dataset()) == (2, 0, 3)
    assert choose_classes([1], striped_dataset()) == (1,)


#: Folders of numbers, in alphabetical order: what is called 10 has the label 1.
NUMBERED = dataclasses.replace(striped_dataset(), classes=("1", "10", "2", "name:x"))


@pytest.mark.parametrize(
    ("word", "label"),
    [
        (0, 0),
        (1, 1),
        (np.int64(2), 2),
        ("2", 2),  # both its name and its number
        ("10", 1),
        ("0", 0),
        ("3", 3),
        ("name:2", 2),
        ("name:10", 1),
        ("NAME: 1", 0),
        ("name:name:x", 3),
        ("label:1", 1),
        (" label:3 ", 3),
    ],
)
def test_numbers_are_labels_and_words_are_names_first(word, label):
    assert choose_classes([word], NUMBERED) == (label,)


def test_names_that_differ_in_capitals_are_told_apart():
    data = dataclasses.replace(striped_dataset(), classes=("cat", "Cat", "dog", "COW"))
    assert choose_classes(["Cat", "cat", "cow"], data) == (1, 0, 3)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1", "a class must be named clearly, not '1', which is the name of label 0 and the label of '10'; write name:1 or label:1"),
        ("name:5", "classes must be numbers or names, not 'name:5'; it has 1, 10, 2, name:x"),
        ("label:a", "classes must be numbers or names, not 'label:a'; it has 1, 10, 2, name:x"),
        ("label:4", "user classes must be labels of the data set, not [4]; choose among 0 to 3: 1, 10, 2, name:x"),
    ],
)
def test_words_that_name_no_class_or_two(word, message):
    with pytest.raises(DataError) as caught:
        choose_classes([word], NUMBERED)
    assert str(caught.value) == f"stripes: {message}"


def test_drawn_by_seed_from_one_to_all():
    data = striped_dataset()
    assert draw_classes(data, 4, 0) == (0, 1, 2, 3)
    assert {len(draw_classes(data, count, 5)) for count in range(1, 5)} == {1, 2, 3, 4}
    assert draw_classes(data, 2, 5) == draw_classes(data, 2, 5)
    assert len({draw_classes(data, 2, seed) for seed in range(40)}) == 6


@pytest.mark.parametrize(
    ("words", "least", "message"),
    [
        (["zebra"], 1, "stripes: classes must be numbers or names, not 'zebra'; it has stripe 0, stripe 1, stripe 2, stripe 3"),
        ([4], 1, f"stripes: user classes must be labels of the data set, not [4]; choose among {NAMES}"),
        ([-1], 1, f"stripes: user classes must be labels of the data set, not [-1]; choose among {NAMES}"),
        ([], 1, f"stripes: needs at least 1 user class, not []; choose among {NAMES}"),
        ([2], 2, f"stripes: needs at least two user classes, not [2]; choose among {NAMES}"),
        (["stripe 1", 1], 1, f"stripes: each user class must be named once, not [1, 1]; choose among {NAMES}"),
    ],
)
def test_classes_that_cannot_be(words, least, message):
    with pytest.raises(DataError) as caught:
        choose_classes(words, striped_dataset(), least)
    assert str(caught.value) == message


@pytest.mark.parametrize(("count", "least"), [(0, 0), (5, 1), (1, 2)])
def test_numbers_that_cannot_be_drawn(count, least):
    with pytest.raises(DataError, match=f"number of user classes must be from {max(least, 1)} to 4, not {count}; draw another number"):
        draw_classes(striped_dataset(), count, 0, least)
