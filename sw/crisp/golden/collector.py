"""Collector: results of row tiles as channels-last words. The hardware is ``crisp_hw/collector.py``."""

import numpy as np

__all__ = ["collect"]


def collect(tiles: np.ndarray) -> list[np.ndarray]:
    """Order the results of one drain bank as its output streams carry them.

    Parameters
    ----------
    tiles : numpy.ndarray
        Results of shape (tiles, bank_rows, columns).

    Returns
    -------
    list of numpy.ndarray
        Words of each output stream, of shape (words, bank_rows): stream g carries columns ``g * bank_rows`` and
        following, tile by tile, in ascending order.
    """
    bank_rows, columns = tiles.shape[1:]
    return [tiles[:, :, first : first + bank_rows].transpose(0, 2, 1).reshape(-1, bank_rows) for first in range(0, columns, bank_rows)]
