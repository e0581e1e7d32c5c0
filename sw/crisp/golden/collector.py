"""Collector: results of row tiles as slots. The hardware is ``crisp_hw/collector.py``."""

import numpy as np

__all__ = ["collect"]


def collect(tiles: np.ndarray, group_size: int) -> np.ndarray:
    """Order results as the collector hands them out.

    Parameters
    ----------
    tiles : numpy.ndarray
        Results of shape (tiles, rows, columns).
    group_size : int
        M: neighbouring rows of a word.

    Returns
    -------
    numpy.ndarray
        Slots, of shape (tiles * rows / M, columns, M): tile by tile, from row 0 on.
    """
    columns = tiles.shape[2]
    return tiles.reshape(-1, group_size, columns).transpose(0, 2, 1)
