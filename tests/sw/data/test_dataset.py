import dataclasses

import numpy as np
import pytest
from tests.sw.small import striped_dataset, striped_split

from crisp.data import DataError, Split, normalize
from crisp.data.augment import augment


def test_selected_classes_are_relabelled_in_the_order_given():
    split = Split(np.arange(6, dtype=np.uint8)[:, None, None], np.array([0, 1, 2, 0, 1, 2]))
    chosen = split.select((2, 0))
    assert chosen.labels.tolist() == [1, 0, 1, 0]
    assert chosen.images.ravel().tolist() == [0, 2, 3, 5]


def test_held_out_part_is_a_share_of_each_class_and_repeats():
    split = striped_split(400, 4, 8, seed=0)
    marked = Split(np.arange(400)[:, None, None], split.labels)
    rest, held = marked.hold_out(0.25, seed=3)
    assert np.bincount(held.labels).tolist() == [25, 25, 25, 25]
    assert sorted([*rest.images.ravel(), *held.images.ravel()]) == list(range(400))
    assert np.array_equal(held.images, marked.hold_out(0.25, seed=3)[1].images)
    assert not np.array_equal(held.images, marked.hold_out(0.25, seed=4)[1].images)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (6, 1), (17, 1), (30, 2)])
def test_held_out_part_has_one_of_each_class_at_least(count, held):
    rest, kept = striped_split(3 * count, 3, 8, seed=0).hold_out(1 / 12, seed=0)
    assert np.bincount(kept.labels, minlength=3).tolist() == [held] * 3
    assert np.bincount(rest.labels, minlength=3).tolist() == [count - held] * 3


def test_digest_is_of_pixels_and_labels():
    split = striped_split(12, 3, 8, seed=0)
    assert split.digest() == striped_split(12, 3, 8, seed=0).digest()
    pixels = split.images.copy()
    pixels[7, 2, 3] ^= 1
    others = (dataclasses.replace(split, images=pixels), split.relabel(split.labels[::-1].copy()), split.take(slice(11)))
    assert len({split.digest(), *(other.digest() for other in others)}) == 4


def test_validation_images_are_always_the_same():
    data = striped_dataset()
    assert np.array_equal(data.training_and_validation()[1].images, data.training_and_validation()[1].images)
    assert [len(part) for part in data.training_and_validation()] == [220, 20]


def test_batches_in_order_hold_every_image():
    split = striped_split(10, 2, 4, seed=0)
    assert [len(batch) for batch in split.batches(4)] == [4, 4, 2]
    assert np.array_equal(np.concatenate([batch.labels for batch in split.batches(4)]), split.labels)


def test_shuffled_batches_are_whole():
    split = striped_split(10, 2, 4, seed=0)
    assert [len(batch) for batch in split.batches(4, np.random.default_rng(0))] == [4, 4]
    assert [len(batch) for batch in split.batches(16, np.random.default_rng(0))] == [10]


@pytest.mark.parametrize(
    ("classes", "rule"),
    [
        ([1], "needs at least two user classes, not [1]"),
        ([1, 2, 1], "each user class must be named once, not [1, 2, 1]"),
        ([0, 4], "user classes must be labels of the data set, not [0, 4]"),
        ([-1, 2], "user classes must be labels of the data set, not [-1, 2]"),
    ],
)
def test_wrong_user_classes(classes, rule):
    with pytest.raises(DataError) as caught:
        striped_dataset().check_classes(classes)
    assert str(caught.value) == f"stripes: {rule}; choose among 0 to 3: stripe 0, stripe 1, stripe 2, stripe 3"


def test_normalised_pixels_are_exact_in_int8():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    levels = np.rint(normalize(pixels) * 90) - 55
    assert np.array_equal(levels.ravel(), np.arange(256) - 128)


def test_augmented_images_are_shifted_or_mirrored_originals():
    image = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5)
    padded = np.pad(image[0], 1)
    windows = [padded[y : y + 5, x : x + 5] for y in range(3) for x in range(3)]
    possible = {view.tobytes() for window in windows for view in (window, window[:, ::-1], np.pad(image[0][:, ::-1], 1)[:5, :5])}
    possible |= {np.ascontiguousarray(np.pad(image[0][:, ::-1], 1)[y : y + 5, x : x + 5]).tobytes() for y in range(3) for x in range(3)}
    seen = {augmented.tobytes() for augmented in augment(np.repeat(image, 500, axis=0), np.random.default_rng(0), shift=1)}
    assert seen <= possible
    assert len(seen) == 18


def test_augmented_colours_move_as_grey_ones():
    grey = striped_split(20, 4, 9, seed=0).images
    coloured = np.stack([grey, 255 - grey, grey // 2], axis=3)
    moved = augment(coloured, np.random.default_rng(4), shift=3)
    assert np.array_equal(moved[..., 0], augment(grey, np.random.default_rng(4), shift=3))
    assert np.array_equal(moved[..., 2], augment(grey // 2, np.random.default_rng(4), shift=3))


def test_split_gives_pixels_and_inputs():
    split = striped_split(6, 3, 8, seed=0)
    assert split.pixels() is split.images
    assert np.array_equal(split.inputs(), normalize(split.images))
    assert np.array_equal(split.pixels(np.random.default_rng(1)), augment(split.images, np.random.default_rng(1)))
    assert (split.shape, Split(np.zeros((2, 5, 4, 3), np.uint8), np.zeros(2, int)).shape) == ((8, 8, 1), (5, 4, 3))


def test_kept_classes_have_their_labels():
    split = striped_split(8, 4, 4, seed=0)
    assert split.keep((3, 1)).labels.tolist() == [1, 3, 1, 3]
    assert np.array_equal(split.keep((3, 1)).images, split.select((3, 1)).images)


def test_data_set_of_some_classes():
    data = striped_dataset()
    chosen = data.select((2, 0))
    assert (chosen.classes, chosen.name) == (("stripe 2", "stripe 0"), "stripes")
    for part, whole in zip((*chosen.training_and_validation(), chosen.test), (*data.training_and_validation(), data.test), strict=True):
        assert np.array_equal(part.images, whole.select((2, 0)).images)
        assert np.array_equal(part.labels, whole.select((2, 0)).labels)
