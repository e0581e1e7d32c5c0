"""Cost: how long an EXECUTE keeps the array busy. The same numbers steer the schedule and predict a program's cycles."""

import numpy as np

from crisp.arch import Config, Spread

from .chunks import Chunk
from .lanes import Lanes, serving_cycles
from .operator import Kind, Operator

__all__ = ["CHUNK_OVERHEAD", "DEPENDENT_OVERHEAD", "array_cycles", "execute_cycles", "fill_cycles", "window_cycles"]

#: Cycles that an EXECUTE takes beyond its steps where it needs the results of the one before: those leave the array, are written, and
#: the first windows are gathered.
DEPENDENT_OVERHEAD = 90

#: The same for the other chunks of an operator, which need nothing of each other.
CHUNK_OVERHEAD = 8


def execute_cycles(operator: Operator, chunk: Chunk, lanes: Lanes, phases: int, config: Config) -> int:
    """Predict the cycles of the EXECUTEs, one or two, that compute some rows of a chunk, waiting for the one before included."""
    cycles = phases * array_cycles(operator, chunk, lanes, config)
    return cycles + (CHUNK_OVERHEAD if chunk.first else DEPENDENT_OVERHEAD + fill_cycles(operator, chunk, lanes, config))


def array_cycles(operator: Operator, chunk: Chunk, lanes: Lanes, config: Config) -> int:
    """Return the cycles for which an EXECUTE keeps the array busy, or the gather where that takes longer.

    A row tile takes its steps, or as many cycles as it needs to leave the array, whichever is more; a maximum, as many as the vector unit
    needs for a word. Clusters share the row tiles out, or the pixel tiles. A word of a window takes a cycle to gather, or as many as lanes
    meet in one bank; all row tiles share a window, or each has its own.

    Parameters
    ----------
    operator : Operator
        What is computed.
    chunk : Chunk
        Its row tiles.
    lanes : Lanes
        Which pixels are walked.
    config : Config
        The machine.
    """
    words, tiles = gathered(operator, chunk, lanes, config)
    steps = np.maximum(chunk.tile_steps, config.bank_rows)
    slot_cycles = config.group_size // config.result_bytes
    if operator.kind is Kind.MAX:
        return int(tiles @ (chunk.row_tiles * np.maximum(words, slot_cycles)))
    if operator.kind is Kind.DEPTHWISE and config.clusters == 1:
        return int(tiles @ np.maximum(steps, words[:, None]).sum(axis=1))
    if operator.kind is Kind.DEPTHWISE:
        words = words * chunk.row_tiles
    # The slots of all clusters go through one result writer, and a word of a residual is read as one of a window.
    words_out = chunk.row_tiles * config.tile_words
    slots = words_out * slot_cycles
    if operator.residual is not None and config.clusters > 1:
        words = words + words_out
    if chunk.spread is Spread.PIXEL_TILES:
        busy = np.maximum(max(-(-int(steps.sum()) // config.clusters), slots), words)
        return max(int(tiles @ busy), -(-int(tiles.sum()) // config.clusters) * int(steps.sum()))
    share = max(int(steps[cluster :: config.clusters].sum()) for cluster in range(config.clusters))
    return int(tiles @ np.maximum(max(share, slots), words))


def fill_cycles(operator: Operator, chunk: Chunk, lanes: Lanes, config: Config) -> int:
    """Return the cycles for which the first row tile waits for words of the first window, where none was gathered ahead."""
    if operator.kind is not Kind.PRODUCT:
        return 0
    words, tiles = gathered(operator, chunk, lanes, config)
    return max(0, int(tiles @ words) // int(tiles.sum()) - int(chunk.tile_steps[0]))


def window_cycles(operator: Operator, chunk: Chunk, lanes: Lanes, config: Config) -> int:
    """Return the cycles in which one window of each pixel tile is gathered."""
    words, tiles = gathered(operator, chunk, lanes, config)
    return int(tiles @ words)


def gathered(operator: Operator, chunk: Chunk, lanes: Lanes, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Return for each kind of pixel tile the cycles in which a window is gathered, and how many tiles there are of it."""
    cycles, tiles = serving_cycles(lanes, config.columns, config.banks)
    if operator.kind is Kind.PLANES:
        return cycles[:, 0] * len(chunk.words), tiles
    return cycles @ np.bincount(chunk.words[:, 0], minlength=cycles.shape[1]), tiles
