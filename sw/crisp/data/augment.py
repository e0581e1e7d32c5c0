"""Random changes of training images that leave their class as it is."""

import numpy as np

__all__ = ["augment"]


def augment(images: np.ndarray, random: np.random.Generator, shift: int = 2) -> np.ndarray:
    """Mirror half of the images and shift each by up to ``shift`` pixels in both directions, black coming in.

    Parameters
    ----------
    images : ndarray
        uint8 [N, H, W] or [N, H, W, C].
    random : Generator
        Source of all choices.
    shift : int
        Largest shift, in pixels.

    Returns
    -------
    ndarray
        uint8, of the same shape.
    """
    count, height, width = images.shape[:3]
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), *((0, 0) for _ in images.shape[3:])))
    down, right = random.integers(0, 2 * shift + 1, size=(2, count))
    columns = np.where(random.random(count) < 0.5, 1, -1)[:, None] * np.arange(width)
    columns = np.where(columns[:, -1:] < 0, columns + width - 1, columns) + right[:, None]
    rows = down[:, None] + np.arange(height)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
