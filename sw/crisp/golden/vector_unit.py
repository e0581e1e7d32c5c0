"""Vector unit: residual addition and activation table, and where results are written. The hardware is ``crisp_hw/vector_unit.py``."""

from collections.abc import Mapping

import numpy as np

from ..arch import Config, ExecuteKind, Sharing
from .pixel_walk import places
from .requantize import requantize

__all__ = ["add_residual", "output_positions", "output_shape", "residual_positions", "write_results"]


def output_shape(command: Mapping[str, int], config: Config) -> tuple[int, int]:
    """Return how many row tiles an EXECUTE gives, and how many words of M channels a pixel of each has.

    A product has ``rows / M`` words a row tile, and only one row tile where K is SPLIT. The maximum has one word a plane.
    """
    if command["kind"] == ExecuteKind.MAX:
        return command["row_tiles"], 1
    return (1 if command["sharing"] == Sharing.SPLIT else command["row_tiles"]), config.tile_words


def add_residual(results: np.ndarray, residual: np.ndarray, command: Mapping[str, int]) -> np.ndarray:
    """Add two int8 arrays of one shape, each with its zero point and multiplier, and round the sum once.

    ``clamp(round(((v - zv) * mv + (r - zr) * mr) / 2**shift) + zero point)``, halves to even, as `crisp.golden.nodes.Add`.
    """
    total = (results.astype(np.int32) - command["result_zero_point"]) * np.int32(command["result_multiplier"])
    total += (residual.astype(np.int32) - command["residual_zero_point"]) * np.int32(command["residual_multiplier"])
    zero, one = np.array(0), np.array(1)
    limits = (command["sum_zero_point"], command["sum_clamp_min"], command["sum_clamp_max"])
    return requantize(total, zero, one, np.array(command["sum_shift"]), *limits)


def output_positions(command: Mapping[str, int]) -> np.ndarray:
    """Return the place of every output pixel in the ring of a plane of the output, ``int64`` [pixels]."""
    return places(command, first=command["output_q"], step=1, wrap=command["output_wrap_dq"], ring=command["output_ring"])


def residual_positions(command: Mapping[str, int]) -> np.ndarray:
    """Return the place of every output pixel in the ring of a plane of the residual, ``int64`` [pixels]."""
    return places(command, first=command["residual_q"], step=1, wrap=command["output_wrap_dq"], ring=command["residual_ring"])


def addresses(command: Mapping[str, int], tensor: str, positions: np.ndarray, row_tiles: int, words: int) -> np.ndarray:
    """Return the address of every word of ``tensor`` (``output`` or ``residual``), ``int64`` [row tiles, words, pixels]."""
    tile, word = np.arange(row_tiles)[:, None, None], np.arange(words)[:, None]
    planes = command[f"{tensor}_base"] + tile * command[f"{tensor}_tile_stride"] + word * command[f"{tensor}_pitch"]
    return planes + (positions + word * command["output_word_dq"]) % command[f"{tensor}_ring"]


def write_results(command: Mapping[str, int], results: np.ndarray, activations: np.ndarray, table: np.ndarray, config: Config) -> None:
    """Finish the results of an EXECUTE, and write them to the activation buffer.

    All residuals are read before the first result is written: a program may write over the residual where each word takes the place of
    the very word that is added to it, and nowhere else.

    Parameters
    ----------
    command : mapping
        Fields of the EXECUTE.
    results : numpy.ndarray
        ``int8`` [row tiles, words, pixels, M], the first two as `output_shape` says.
    activations : numpy.ndarray
        The activation buffer, ``int8`` [words, M]; changed in place.
    table : numpy.ndarray
        The activation table, ``int8`` [256]: entry v + 128 is what v becomes.
    config : Config
        The configuration.
    """
    row_tiles, words = output_shape(command, config)
    wanted = (row_tiles, words, command["pixels"], config.group_size)
    if results.dtype != np.int8 or results.shape != wanted:
        raise ValueError(f"results must be int8 of shape {wanted}, not {results.dtype} of {results.shape}")
    # Words of a pixel beyond the limit take no part; they are the last of all row tiles.
    number = np.arange(row_tiles)[:, None] * words + np.arange(words)
    is_written = number < command["output_words"]

    values = results[is_written]
    if command["residual"]:
        address = addresses(command, "residual", residual_positions(command), row_tiles, words)
        values = add_residual(values, activations[address[is_written]], command)
    if command["table"]:
        values = table[values.astype(np.int64) + 128]
    address = addresses(command, "output", output_positions(command), row_tiles, words)
    activations[address[is_written]] = values
