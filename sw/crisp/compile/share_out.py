"""Share out: whether the clusters of a machine take row tiles of an operator in turn, or pixel tiles."""

from crisp.arch import Config, Spread

from .chunks import Chunk, cut
from .cost import execute_cycles
from .lanes import source_lanes
from .operator import Kind, Operator

__all__ = ["cut_for_clusters"]

#: How much faster pixel tiles must be. They take more room: each cluster has the weights of all row tiles.
PREFERENCE = 1.05


def cut_for_clusters(operator: Operator, config: Config) -> list[Chunk]:
    """Cut an operator into chunks, and choose what clusters take in turn: what is predicted to be faster.

    Row tiles are best where they are many, since weights then lie in one cluster each. Where their number is no multiple of the clusters,
    some have nothing to do, and pixel tiles, of which there are mostly more, may be better.

    Parameters
    ----------
    operator : Operator
        The operator.
    config : Config
        The machine.

    Raises
    ------
    CompileError
        As `cut`.
    """
    by_rows = cut(operator, config)
    if config.clusters == 1 or operator.kind is Kind.MAX or all(chunk.row_tiles % config.clusters == 0 for chunk in by_rows):
        return by_rows
    source = operator.source
    lanes = source_lanes(operator, 0, operator.output.height, group=config.group_size, pitch=source.pixels, line=source.width)
    by_pixels = cut(operator, config, Spread.PIXEL_TILES)
    rows, pixels = (sum(execute_cycles(operator, chunk, lanes, 1, config) for chunk in chunks) for chunks in (by_rows, by_pixels))
    return by_pixels if rows > PREFERENCE * pixels else by_rows
