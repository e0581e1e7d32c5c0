"""Cost: how long an EXECUTE keeps the array busy. The same numbers steer the schedule and predict a program's cycles."""

import math

import numpy as np

from crisp.arch import Config

from .chunks import Chunk
from .operator import Kind, Operator

__all__ = ["CHUNK_OVERHEAD", "DEPENDENT_OVERHEAD", "array_cycles", "execute_cycles", "walk_pixels"]

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


def execute_cycles(
    operator: Operator, chunk: Chunk, first: int, end: int, config: Config, source_phases: int = 1, output_phases: int = 1
) -> int:
    """Predict the cycles of the EXECUTEs that compute output rows ``first`` to ``end`` of a chunk, waiting for the one before included."""
    pixels = walk_pixels(operator, first, end, config.group_size) // output_phases
    cycles = output_phases * array_cycles(operator, chunk, pixels, config, source_phases, output_phases)
    return cycles + (CHUNK_OVERHEAD if chunk.first else DEPENDENT_OVERHEAD)


def array_cycles(operator: Operator, chunk: Chunk, pixels: int, config: Config, source_phases: int, output_phases: int) -> int:
    """Return the cycles for which an EXECUTE keeps the array busy, or the gather where there is nothing to multiply.

    A row tile takes its steps, or as many cycles as it needs to leave the array, whichever is more; a maximum, as many as the vector unit
    needs for a word. A window of its own for each row tile
    takes a cycle a word to gather, or as many as lanes meet in one bank: neighbouring pixels are as far apart as the stride, twice that
    where only every other one is computed, and half of it where the columns of the source are split.
    """
    tiles = -(-pixels // config.columns)
    stride = 1 if operator.kind is Kind.PLANES else operator.window.stride[1] * output_phases // source_phases
    words = len(chunk.words) * -(-config.columns // (config.banks // math.gcd(stride, config.banks)))
    if operator.kind is Kind.MAX:
        return tiles * chunk.row_tiles * max(words, config.group_size // config.drain_rows)
    steps = np.maximum(chunk.tile_steps, config.bank_rows)
    if operator.kind is Kind.DEPTHWISE:
        steps = np.maximum(steps, words)
    return tiles * max(int(steps.sum()), words)
