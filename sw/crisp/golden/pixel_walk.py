"""Pixel walk: where each output pixel's window and result lie. The hardware is ``crisp_hw/pixel_walk.py`` and its lanes.

The hardware goes from pixel to pixel and from tile to tile; here is the closed form, from the steps of a single pixel.
"""

from collections.abc import Mapping

import numpy as np

__all__ = ["pixel_positions", "places", "tile_steps", "wraps"]


def wraps(command: Mapping[str, int]) -> np.ndarray:
    """Return how many rows below the first one each output pixel lies, ``int64`` of shape (pixels,).

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    """
    return (command["first_column"] + np.arange(command["pixels"], dtype=np.int64)) // command["width"]


def places(command: Mapping[str, int], *, first: int, step: int, wrap: int, ring: int) -> np.ndarray:
    """Return each output pixel's place in a ring, ``int64`` of shape (pixels,).

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    first : int
        Place of the first pixel.
    step, wrap : int
        Places from a pixel to the next, and how many more to the next row.
    ring : int
        Places of the ring.
    """
    pixels = np.arange(command["pixels"], dtype=np.int64)
    return (first + pixels * step + wraps(command) * wrap) % ring


def pixel_positions(command: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the window of each output pixel begins.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.

    Returns
    -------
    y, x, q : numpy.ndarray
        Row and column of the input, and place in its ring; ``int64`` of shape (pixels,).
    """
    pixels = np.arange(command["pixels"], dtype=np.int64)
    rows = wraps(command)
    y = command["first_y"] + rows * command["wrap_dy"]
    x = command["first_x"] + pixels * command["lane_dx"] + rows * command["wrap_dx"]
    q = places(command, first=command["first_q"], step=command["lane_dq"], wrap=command["wrap_dq"], ring=command["input_ring"])
    return y, x, q


def tile_steps(
    *, columns: int, width: int, lane_dx: int, wrap_dx: int, wrap_dy: int, lane_dq: int, wrap_dq: int, ring: int
) -> dict[str, int]:
    """Return the fields of `EXECUTE` that follow from those of a single pixel and the columns of the array.

    Parameters
    ----------
    columns : int
        Columns of the array.
    width, lane_dx, wrap_dx, wrap_dy, lane_dq, wrap_dq : int
        Fields of the same names.
    ring : int
        The field ``input_ring``.

    Returns
    -------
    dict
        ``tile_columns``, ``tile_dx``, ``tile_dy``, ``tile_dq``: a step of as many pixels, whole rows of which wrap.
    """
    rows, rest = divmod(columns, width)
    return {
        "tile_columns": rest,
        "tile_dx": columns * lane_dx + rows * wrap_dx,
        "tile_dy": rows * wrap_dy,
        "tile_dq": (columns * lane_dq + rows * wrap_dq) % ring,
    }
