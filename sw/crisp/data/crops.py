"""From a picture of any size to the square that a network sees, as torchvision's transforms have it.

Judged by: the shorter side scaled to 256/224 of the size, then the central square. Trained on: a random part of 8 to 100% of the area and a
ratio of 3/4 to 4/3, scaled to the size, and mirrored half of the time. Source: torchvision's reference ``presets.py`` and
``RandomResizedCrop``; C. Szegedy et al., arXiv 1409.4842, section 6.
"""

import math

import numpy as np
from PIL import Image

__all__ = ["central_square", "random_box", "random_square"]

#: Scaled shorter side for each pixel of the network's image.
RESIZE = 256 / 224
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10


def central_square(picture: Image.Image, size: int) -> np.ndarray:
    """Return what a network is judged by: uint8 [size, size] or [size, size, 3].

    Parameters
    ----------
    picture : Image
        Grey (``L``) or coloured (``RGB``).
    size : int
        Pixels a side.
    """
    shorter = int(RESIZE * size)
    width, height = picture.size
    scaled = (shorter, int(shorter * height / width)) if width <= height else (int(shorter * width / height), shorter)
    resized = picture.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (round((side - size) / 2) for side in scaled)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def random_square(picture: Image.Image, size: int, random: np.random.Generator) -> np.ndarray:
    """Return what a network is trained on: uint8 [size, size] or [size, size, 3]."""
    left, top, width, height = random_box(picture.size, random)
    square = picture.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(square)
    return np.ascontiguousarray(pixels[:, ::-1]) if random.random() < 0.5 else pixels


def random_box(sides: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw left, top, width and height of a part of a picture of ``sides``, width and height.

    After `ATTEMPTS` that do not fit, it is the largest central part with a ratio that is allowed.
    """
    width, height = sides
    for _ in range(ATTEMPTS):
        area = width * height * random.uniform(*AREA)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1)), w, h
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    return (width - w) // 2, (height - h) // 2, w, h
