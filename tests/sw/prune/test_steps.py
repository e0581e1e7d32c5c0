import numpy as np
import pytest
from tests.sw.small import striped_split

from crisp.prune import PruneError
from crisp.prune.steps import Draw, Steps, random_for

IMAGES = striped_split(50, 3, 8, 0)


def test_an_epoch_shows_every_image_once_in_another_order():
    steps = Steps(IMAGES, 10, 5, seed=1)
    epochs = [np.concatenate([steps.draw(step, part).images for step in range(first, first + 5) for part in range(2)]) for first in (0, 5)]
    whole = sorted(image.tobytes() for image in IMAGES.images)
    assert all(sorted(image.tobytes() for image in epoch) == whole for epoch in epochs)
    assert not np.array_equal(*epochs)


def test_a_step_hangs_on_seed_and_number_alone():
    forward, backward = Steps(IMAGES, 16, 16, seed=1), Steps(IMAGES, 16, 16, seed=1)
    seen = {step: forward.inputs(step, 0)[0] for step in range(7)}
    assert all(np.array_equal(backward.inputs(step, 0)[0], seen[step]) for step in reversed(range(7)))
    assert not np.array_equal(Steps(IMAGES, 16, 16, seed=2).inputs(0, 0)[0], seen[0])


def test_microbatches_are_the_parts_of_a_batch():
    whole, cut = Steps(IMAGES, 12, 12, seed=3), Steps(IMAGES, 12, 4, seed=3)
    assert cut.microbatches == 3
    assert np.array_equal(np.concatenate([cut.draw(2, part).images for part in range(3)]), whole.draw(2, 0).images)


def test_all_draws_differ():
    places = [(), (0,), (1,), (0, 0), (0, 1), (1, 0)]
    drawn = {random_for(draw, 1, *place).bytes(8) for draw in Draw for place in places}
    assert len(drawn) == len(Draw) * len(places)


def test_saliency_is_measured_on_other_images_in_each_iteration():
    steps = Steps(IMAGES, 16, 8, seed=1)
    first, second = (steps.measured(iteration, 20) for iteration in (0, 1))
    assert [len(part) for part in first] == [8, 8, 8]
    assert not np.array_equal(first[0].images, second[0].images)
    assert len(steps.measured(0, 1000)) == 6


def test_too_few_images():
    with pytest.raises(PruneError, match="batch must be at most the 50 training images of the classes, not 64"):
        Steps(IMAGES, 64, 64, seed=1)
