"""What the bytes of a LOAD are: elements of each target, and steps as they lie in memory."""

import numpy as np

from .commands import RUN, LoadTarget
from .config import Config
from .fields import CHANNEL, COUNT, ENTRY

__all__ = ["PATCH_ROW_BYTES", "TABLE_DEPTH", "decode_steps", "element_bytes", "encode_steps", "offset_bits", "offset_steps", "target_depth"]

#: Longest row that PATCHES can cut.
PATCH_ROW_BYTES = 2048

#: Entries of the activation table, one for each int8.
TABLE_DEPTH = 256


def element_bytes(target: LoadTarget, config: Config) -> int:
    """Return the bytes of what a target's row consists of; ``row_bytes`` is a multiple of it, but for PATCHES, which cuts any row."""
    match target:
        case LoadTarget.STEPS | LoadTarget.DENSE_STEPS:
            return config.rows
        case LoadTarget.COUNTS:
            return COUNT.num_bytes
        case LoadTarget.ENTRIES:
            return ENTRY.num_bytes
        case LoadTarget.CHANNELS:
            return CHANNEL.num_bytes
        case LoadTarget.RUNS:
            return RUN.num_bytes
        case LoadTarget.TABLE | LoadTarget.PATCHES:
            return 1
        case LoadTarget.ACTIVATIONS:
            return config.group_size


def target_depth(target: LoadTarget, config: Config) -> int:
    """Return the elements of the buffer that a target fills; for PATCHES words of the activation buffer."""
    match target:
        case LoadTarget.STEPS | LoadTarget.DENSE_STEPS:
            return config.weight_buffer_depth
        case LoadTarget.COUNTS:
            return config.block_row_buffer_depth
        case LoadTarget.ENTRIES:
            return config.entry_buffer_depth
        case LoadTarget.CHANNELS:
            return config.channel_buffer_depth
        case LoadTarget.RUNS:
            return config.run_buffer_depth
        case LoadTarget.TABLE:
            return TABLE_DEPTH
        case LoadTarget.ACTIVATIONS | LoadTarget.PATCHES:
            return config.activation_words


def offset_bits(group_size: int) -> int:
    """Return the bits of an offset in memory: log2 M, rounded up to a power of two, so that words of offsets hold whole steps."""
    return 1 << (max(1, (group_size - 1).bit_length()) - 1).bit_length()


def offset_steps(group_size: int) -> int:
    """Return the steps whose offsets fill a word of as many bytes as the array has rows: 8, 4, 2, 2 for M = 2, 4, 8, 16."""
    return 8 // offset_bits(group_size)


def encode_steps(values: np.ndarray, offsets: np.ndarray, group_size: int) -> np.ndarray:
    """Return steps as STEPS reads them: for every `offset_steps` steps a word of their offsets, then their values.

    The offset of row r of the j-th of them lies in `offset_bits` bits from bit ``(j * rows + r) * offset_bits`` on. The last word
    of offsets may stand before fewer steps; the others' offsets are 0.

    Parameters
    ----------
    values : numpy.ndarray
        ``int8`` of shape (steps, rows).
    offsets : numpy.ndarray
        Unsigned, less than M, of the same shape.
    group_size : int
        M.

    Returns
    -------
    numpy.ndarray
        ``uint8`` of shape (words, rows).
    """
    steps, rows = values.shape
    together, width = offset_steps(group_size), offset_bits(group_size)
    full = -(-steps // together)
    padded = np.zeros((2, full * together, rows), np.uint8)
    padded[0, :steps], padded[1, :steps] = values.view(np.uint8), offsets
    bits = (padded[1].reshape(full, -1, 1) >> np.arange(width, dtype=np.uint8)) & 1
    offset_words = np.packbits(bits.reshape(full, -1), axis=1, bitorder="little")
    words = np.concatenate([offset_words[:, None], padded[0].reshape(full, together, rows)], axis=1)
    return words.reshape(-1, rows)[: full + steps]


def decode_steps(words: np.ndarray, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the values and offsets that `encode_steps` made ``words``, ``uint8`` of shape (words, rows), from.

    Returns
    -------
    values : numpy.ndarray
        ``int8`` of shape (steps, rows).
    offsets : numpy.ndarray
        ``uint8`` of the same shape.
    """
    rows = words.shape[1]
    together, width = offset_steps(group_size), offset_bits(group_size)
    first = np.arange(len(words)) % (together + 1) == 0
    bits = np.unpackbits(words[first], axis=1, bitorder="little").reshape(-1, together * rows, width)
    offsets = (bits << np.arange(width, dtype=np.uint8)).sum(axis=2, dtype=np.uint8).reshape(-1, rows)
    values = np.ascontiguousarray(words[~first]).view(np.int8)
    return values, offsets[: len(values)] & np.uint8(group_size - 1)
