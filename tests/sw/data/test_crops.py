import numpy as np
import pytest
from PIL import Image

from crisp.data.crops import AREA, RATIO, central_square, random_box, random_square


def ramp(width, height):
    """Return a picture whose red is its column and whose green is its row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, 0 * rows], 2).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(200, 128), (128, 200), (128, 128)])
def test_central_square_is_seven_eighths_of_the_shorter_side(width, height):
    # 256 / 224 of 56 pixels are 64, so that 128 are halved; of the other side 64 x 200 / 128 = 100.
    square = central_square(ramp(width, height), 56)
    assert (square.shape, square.dtype) == ((56, 56, 3), np.uint8)
    left, top = (round((int(64 * side / 128) - 56) / 2) for side in (width, height))
    middles = 2 * np.arange(4, 52) + 0.5
    assert np.abs(square[4:52, 4:52, 0] - (2 * left + middles)).max() <= 1
    assert np.abs(square[4:52, 4:52, 1] - (2 * top + middles)[:, None]).max() <= 1


def test_random_boxes_lie_inside_and_have_the_areas_and_ratios_that_are_allowed():
    random = np.random.default_rng(0)
    boxes = np.array([random_box((200, 150), random) for _ in range(2000)])
    left, top, width, height = boxes.T
    assert (left.min(), top.min()) == (0, 0)
    assert ((left + width).max(), (top + height).max()) == (200, 150)
    area, ratio = width * height / (200 * 150), width / height
    assert AREA[0] * 0.97 <= area.min() < 0.1
    assert 0.9 < area.max() <= 1
    assert RATIO[0] * 0.97 <= ratio.min()
    assert ratio.max() <= RATIO[1] * 1.03


@pytest.mark.parametrize(("sides", "box"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13)), ((1, 1), (0, 0, 1, 1))])
def test_narrow_pictures_give_their_middle(sides, box):
    assert random_box(sides, np.random.default_rng(0)) == box


def test_half_of_the_random_squares_are_mirrored():
    random = np.random.default_rng(0)
    squares = [random_square(ramp(100, 80), 16, random) for _ in range(400)]
    mirrored = [int(square[8, 0, 0]) > int(square[8, -1, 0]) for square in squares]
    assert 160 < sum(mirrored) < 240
    assert all(square[0, 8, 1] < square[-1, 8, 1] for square in squares)


def test_grey_squares():
    picture = ramp(40, 40).convert("L")
    assert central_square(picture, 8).shape == random_square(picture, 8, np.random.default_rng(0)).shape == (8, 8)
