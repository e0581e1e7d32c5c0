"""Max pool: the largest of the words of a window. The hardware is ``crisp_hw/max_pool.py``."""

import numpy as np

__all__ = ["max_pool"]


def max_pool(window: np.ndarray) -> np.ndarray:
    """Return the largest value of each lane and byte, ``int8`` of shape (lanes, M).

    Parameters
    ----------
    window : numpy.ndarray
        ``int8`` of shape (words, lanes, M), of at least one word.
    """
    return window.max(axis=0)
