"""Lanes: where the lanes of a pixel tile stand in a plane, and how many cycles its banks take to serve them."""

import dataclasses
import functools

import numpy as np

from .operator import Kind, Operator

__all__ = ["Lanes", "serving_cycles", "source_lanes"]


@dataclasses.dataclass(frozen=True)
class Lanes:
    """The walk of an EXECUTE over the planes that it gathers from.

    Parameters
    ----------
    pixels : int
        Pixels that are walked.
    width : int
        Pixels of a row, behind which the walk wraps.
    step, row_step : int
        Places from a pixel to the next, and from a row to the next.
    image : tuple of int
        Height and width of the source; what lies outside is not served.
    first, stride : tuple of int
        Row and column of the first pixel's window, and from a row to the next and a pixel to the next.
    taps : tuple
        Row and column of each tap of a window, from its first.
    """

    pixels: int
    width: int
    step: int
    row_step: int
    image: tuple[int, int] = (1, 1)
    first: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    taps: tuple[tuple[int, int], ...] = ((0, 0),)


def source_lanes(
    operator: Operator,
    first: int,
    end: int,
    *,
    group: int,
    pitch: int,
    line: int,
    source_phases: int = 1,
    output_phases: int = 1,
    phase: int = 0,
) -> Lanes:
    """Return the walk that computes output rows ``first`` to ``end`` of an operator.

    Parameters
    ----------
    operator : Operator
        What is computed.
    first, end : int
        Output rows.
    group : int
        M.
    pitch, line : int
        Places from a plane of the source to the next, and from a row to the next.
    source_phases, output_phases : int
        2 where the even columns of source or output lie before the odd ones; every other column of the output is then walked.
    phase : int
        The first of them.
    """
    if operator.kind is Kind.PLANES:
        planes, images = operator.source.planes(group), operator.source.images
        if operator.output.images == 1:
            return Lanes(pixels=planes, width=planes, step=pitch, row_step=0)
        return Lanes(pixels=planes * images, width=images, step=1, row_step=pitch)
    if operator.image is not None:  # each pixel is a row, between which those of the other images lie
        return Lanes(pixels=(end - first) * operator.source.width, width=1, step=1, row_step=1)
    width = operator.output.width // output_phases
    (stride_y, stride_x), (padding_y, padding_x) = operator.window.stride, operator.window.padding
    rows = -(-(end - first) // operator.row_step)
    return Lanes(
        pixels=rows * width,
        width=width,
        step=stride_x * output_phases // source_phases,
        row_step=stride_y * operator.row_step * line,
        image=(operator.source.height, operator.source.width),
        first=(first // operator.row_step * operator.row_step * stride_y - padding_y, phase * stride_x - padding_x),
        stride=(stride_y * operator.row_step, stride_x * output_phases),
        taps=operator.taps,
    )


@functools.lru_cache(maxsize=1 << 12)
def serving_cycles(lanes: Lanes, columns: int, banks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many cycles the words of each tap take: as many as lanes inside the image meet in one bank, at least one.

    Where the ring of the source ends within a tile, lanes may meet that do not by this count, and the other way round.

    Parameters
    ----------
    lanes : Lanes
        The walk.
    columns : int
        Lanes of a tile.
    banks : int
        Banks of the activation buffer.

    Returns
    -------
    cycles : numpy.ndarray [kinds, taps]
        Of each tap, for every kind of pixel tile.
    numbers : numpy.ndarray [kinds]
        How many tiles there are of each kind.
    """
    tiles = -(-lanes.pixels // columns)
    pixels = np.arange(tiles * columns)
    rows, places = np.divmod(pixels, lanes.width)
    wanted = (rows * lanes.row_step + places * lanes.step) % banks  # but for what all lanes have in common
    taps = np.array(lanes.taps)
    y = lanes.first[0] + rows * lanes.stride[0] + taps[:, :1]
    x = lanes.first[1] + places * lanes.stride[1] + taps[:, 1:]
    served = (y >= 0) & (y < lanes.image[0]) & (x >= 0) & (x < lanes.image[1]) & (pixels < lanes.pixels)
    met = np.zeros((len(taps), tiles, banks), np.int16)
    tap, pixel = np.nonzero(served)
    np.add.at(met, (tap, pixel // columns, wanted[pixel]), 1)
    return np.unique(np.maximum(met.max(axis=2), 1).T, axis=0, return_counts=True)
