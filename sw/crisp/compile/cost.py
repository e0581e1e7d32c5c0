"""Cost: how long an EXECUTE keeps the array busy. The same numbers steer the schedule and predict a program's cycles."""

import numpy as np

from crisp.arch import Config

from .chunks import Chunk
from .operator import Kind, Operator

__all__ = ["CHUNK_OVERHEAD", "DEPENDENT_OVERHEAD", "execute_cycles", "walk_pixels"]

#: Cycles that an EXECUTE takes beyond its steps where it needs the results of the one before: those leave the array, are written, and
#: the first windows are gathered.
DEPENDENT_OVERHEAD = 90

#: The same for the other chunks of an operator, which need nothing of each other.
CHUNK_OVERHEAD = 8


def walk_pixels(operator: Operator, first: int, end: int, group: int) -> int:
    """Return how many places of lanes the output rows from ``first`` to ``end`` take."""
    if operator.kind is Kind.PLANES:
        return operator.source.planes(group)
    return -(-(end - first) // operator.row_step) * operator.output.width


def execute_cycles(operator: Operator, chunk: Chunk, first: int, end: int, config: Config) -> int:
    """Predict the cycles of an EXECUTE that computes output rows ``first`` to ``end`` of a chunk.

    A row tile takes its steps, or as many cycles as it needs to leave the array, whichever is more. A window of its own for each row tile
    takes a cycle a word to gather, or more: neighbouring pixels of a strided row share banks.
    """
    tiles = -(-walk_pixels(operator, first, end, config.group_size) // config.columns)
    conflicts = gather_cycles(operator, config)
    words = len(chunk.words)
    overhead = CHUNK_OVERHEAD if chunk.first else DEPENDENT_OVERHEAD
    if operator.kind is Kind.MAX:
        return overhead + tiles * chunk.row_tiles * words * conflicts
    steps = np.maximum(chunk.tile_steps, config.bank_rows)
    if operator.kind is Kind.DEPTHWISE:
        steps = np.maximum(steps, words * conflicts)
    total = max(int(steps.sum()), words * conflicts)
    return overhead + tiles * total


def gather_cycles(operator: Operator, config: Config) -> int:
    """Return the cycles that a word of a window takes: as many as lanes meet in one bank."""
    stride = 1 if operator.kind is Kind.PLANES else operator.window.stride[1]
    return -(-config.columns // (config.banks // int(np.gcd(stride, config.banks))))
