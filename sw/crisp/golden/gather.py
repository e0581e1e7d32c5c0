"""Gather: the windows of an EXECUTE's pixels, from the runs of its window. The hardware is ``crisp_hw/gather.py``."""

from collections.abc import Mapping

import numpy as np

from ..arch import RUN, FieldError, Sharing
from .pixel_walk import pixel_positions

__all__ = ["gather_tiles", "gather_windows", "part_runs"]


def part_runs(command: Mapping[str, int], runs: np.ndarray, part: int) -> dict[str, np.ndarray]:
    """Return the runs of a window.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    runs : numpy.ndarray
        The run buffer, words `RUN`.
    part : int
        Part of K or group; 0 where all row tiles share one window.

    Returns
    -------
    dict
        An array of shape (runs,) for each field of `RUN`, the last run the window's last.

    Raises
    ------
    FieldError
        When the run buffer ends before the window does.
    """
    number = part if command["sharing"] == Sharing.SPLIT else 0
    fields = RUN.unpack_array(runs[command["run_base"] :])
    ends = np.flatnonzero(fields["last"])
    if len(ends) <= number:
        raise FieldError(f"runs from {command['run_base']} on must end {number + 1} windows, not {len(ends)}")
    begin = 0 if number == 0 else ends[number - 1] + 1
    return {name: values[begin : ends[number] + 1] for name, values in fields.items()}


def gather_windows(command: Mapping[str, int], runs: np.ndarray, activations: np.ndarray, part: int = 0) -> np.ndarray:
    """Gather one window of every output pixel.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    runs : numpy.ndarray
        The run buffer, words `RUN`.
    activations : numpy.ndarray
        The activation buffer, ``int8`` of shape (words, M).
    part : int
        Part of K or group; 0 where all row tiles share one window.

    Returns
    -------
    numpy.ndarray
        ``int8`` of shape (words of the window, pixels, M).

    Raises
    ------
    FieldError
        When the run buffer ends before the window does, a word lies outside the activation buffer, or a tap is more than a ring away.
    """
    fields = part_runs(command, runs, part)
    y, x, q = pixel_positions(command)
    base = command["input_base"] + (part * command["part_stride"] if command["sharing"] == Sharing.GROUPED else 0)
    num_words = fields["words_minus_1"] + 1
    windows = np.empty((int(num_words.sum()), len(q), activations.shape[1]), np.int8)
    begin = 0
    for run, words in enumerate(num_words):
        row, column = y + fields["dy"][run], x + fields["dx"][run]
        inside = (row >= 0) & (row < command["input_height"]) & (column >= 0) & (column < command["input_width"])
        if abs(fields["pixels"][run]) > command["input_ring"]:
            raise FieldError(f"run {run}: pixels must be at most the ring of {command['input_ring']}, not {fields['pixels'][run]}")
        place = (q + fields["pixels"][run]) % command["input_ring"]
        word = base + fields["plane"][run] + np.arange(words) * command["input_pitch"]
        if inside.any() and word[-1] + place[inside].max() >= len(activations):
            raise FieldError(f"run {run} must stay in the {len(activations)} words of the activation buffer")
        # Padding reads word 0, which is there, and is overwritten.
        address = np.where(inside, place, 0) + np.where(inside.any(), word, 0)[:, None]
        np.take(activations, address, axis=0, out=windows[begin : begin + words], mode="clip")
        if not inside.all():
            windows[begin : begin + words, ~inside] = command["pad"]
        begin += int(words)
    return windows


def gather_tiles(command: Mapping[str, int], runs: np.ndarray, activations: np.ndarray, columns: int) -> list[np.ndarray]:
    """Gather the windows of all pixel tiles in the order of the hardware.

    Parameters
    ----------
    command, runs, activations
        As of `gather_windows`.
    columns : int
        Columns of the array.

    Returns
    -------
    list of numpy.ndarray
        ``int8`` of shape (words of the window, columns, M), one a window: pixel tile, part. Lanes beyond the last pixel are padding.
    """
    parts = 1 if command["sharing"] == Sharing.SHARED else command["row_tiles"]
    windows = [gather_windows(command, runs, activations, part) for part in range(parts)]
    beyond = -command["pixels"] % columns
    padded = [np.pad(window, ((0, 0), (0, beyond), (0, 0)), constant_values=command["pad"]) for window in windows]
    return [window[:, first : first + columns] for first in range(0, command["pixels"], columns) for window in padded]
