"""Clusters: who computes what of an EXECUTE's product. The hardware is ``crisp_hw/clusters.py``."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from ..arch import Config, Sharing, Spread

__all__ = ["Share", "row_tile_share", "shares"]


@dataclasses.dataclass(frozen=True, eq=False)
class Share:
    """What a cluster computes.

    Parameters
    ----------
    cluster : int
        Which one.
    row_tiles : range
        Its row tiles; with SPLIT parts of K, all of which one cluster has.
    pixels : slice or numpy.ndarray
        Which output pixels, as an index of them.
    """

    cluster: int
    row_tiles: range
    pixels: slice | np.ndarray


def row_tile_share(row_tiles: int, cluster: int, clusters: int) -> range:
    """Return the row tiles of a cluster where clusters take row tiles in turn; there may be none."""
    return range(cluster, row_tiles, clusters)


def shares(command: Mapping[str, int], config: Config) -> Iterator[Share]:
    """Share an EXECUTE of kind PRODUCT out to the clusters; those that take no part are left out.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    config : Config
        The machine.
    """
    row_tiles, pixel_tile = range(command["row_tiles"]), np.arange(command["pixels"]) // config.columns
    for cluster in range(config.clusters):
        if command["spread"] == Spread.PIXEL_TILES:
            pixels = np.flatnonzero(pixel_tile % config.clusters == cluster)
            if pixels.size:
                yield Share(cluster, row_tiles, pixels if config.clusters > 1 else slice(None))
        elif command["sharing"] == Sharing.SPLIT:
            if cluster == 0:
                yield Share(cluster, row_tiles, slice(None))
        elif own := row_tile_share(command["row_tiles"], cluster, config.clusters):
            yield Share(cluster, own, slice(None))
