"""Cluster share: which clusters take part in a command, and in which part of it. The golden model is ``crisp.golden.clusters``."""

from amaranth import Cat, Mux, Value
from amaranth.lib import data

from crisp.arch import Sharing, Spread

__all__ = ["local_pixels", "local_row_tiles", "participants", "turn_bits"]


def turn_bits(clusters: int) -> int:
    """Return the bits of a cluster's number."""
    return (clusters - 1).bit_length()


def participants(command: data.View, *, clusters: int, columns: int) -> Value:
    """Return a bit for each cluster that takes part in a product: those that have a pixel tile of it, or a row tile.

    Parameters
    ----------
    command : data.View
        Fields ``spread``, ``sharing``, ``row_tiles`` and ``pixels`` of an `EXECUTE`.
    clusters, columns : int
        Clusters, and pixels of a tile.
    """
    bits: list[Value | int] = [1]
    for cluster in range(1, clusters):
        has_row_tile = (command.sharing != Sharing.SPLIT) & (command.row_tiles > cluster)
        bits.append(Mux(command.spread == Spread.PIXEL_TILES, command.pixels > cluster * columns, has_row_tile))
    return Cat(*bits)


def local_row_tiles(command: data.View, cluster: int, clusters: int) -> Value:
    """Return how many row tiles a cluster that takes part has."""
    is_whole = (command.spread == Spread.PIXEL_TILES) | (command.sharing == Sharing.SPLIT)
    return Mux(is_whole, command.row_tiles, (command.row_tiles + clusters - 1 - cluster) >> turn_bits(clusters))


def local_pixels(command: data.View, cluster: int, columns: int) -> Value:
    """Return the pixels from a cluster's first one on: the walk of those that take pixel tiles in turn goes on by several tiles."""
    return Mux(command.spread == Spread.PIXEL_TILES, command.pixels - cluster * columns, command.pixels)
