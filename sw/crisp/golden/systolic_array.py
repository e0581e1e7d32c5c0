"""Systolic array: sums of steps against groups. The hardware is ``crisp_hw/systolic_array.py`` and ``crisp_hw/pe.py``."""

import numpy as np

__all__ = ["tile_sums"]


def tile_sums(values: np.ndarray, offsets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Accumulate the steps of one tile: ``sum[r, c] = sum over steps of values[s, r] * groups[s, c, offsets[s, r]]``.

    Parameters
    ----------
    values : numpy.ndarray
        Weights, ``int8`` of shape (steps, rows).
    offsets : numpy.ndarray
        Which of a group each weight meets, of shape (steps, rows), each less than M.
    groups : numpy.ndarray
        Activations, ``int8`` of shape (steps, columns, M).

    Returns
    -------
    numpy.ndarray
        ``int32`` of shape (rows, columns); wraps where int32 does.
    """
    step = np.arange(len(values))[:, None, None]
    column = np.arange(groups.shape[1])[None, None, :]
    activations = groups[step, column, np.asarray(offsets, np.int64)[:, :, None]]
    return (values[:, :, None].astype(np.int64) * activations).sum(axis=0).astype(np.int32)
