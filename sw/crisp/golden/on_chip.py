"""The buffers of the machine: what LOAD fills, EXECUTE works on and STORE reads."""

import dataclasses
from typing import Self

import numpy as np

from crisp.arch import Word
from crisp.arch.config import Config
from crisp.arch.loads import TABLE_DEPTH

__all__ = ["Cluster", "OnChip", "fields_of"]


def fields_of(word: Word, words: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields of words that a buffer holds, ``int64`` each; bits that no field has mean nothing."""
    return word.unpack_array(words & words.dtype.type((1 << word.used) - 1))


@dataclasses.dataclass(frozen=True, eq=False)
class Cluster:
    """Contents of the buffers of which every cluster has its own.

    Parameters
    ----------
    values : numpy.ndarray
        Weight buffer: ``int8`` of shape (weight_buffer_depth, rows).
    offsets : numpy.ndarray
        Its offsets: ``uint8`` of the same shape, each less than M.
    counts : numpy.ndarray
        ``uint16`` of shape (block_row_buffer_depth,): words `COUNT`.
    entries : numpy.ndarray
        ``uint16`` of shape (entry_buffer_depth,): words `ENTRY`.
    channels : numpy.ndarray
        ``uint64`` of shape (channel_buffer_depth,): words `CHANNEL`.
    """

    values: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray
    entries: np.ndarray
    channels: np.ndarray

    @classmethod
    def cleared(cls, config: Config) -> Self:
        """Return buffers that hold zeros."""
        return cls(
            values=np.zeros((config.weight_buffer_depth, config.rows), np.int8),
            offsets=np.zeros((config.weight_buffer_depth, config.rows), np.uint8),
            counts=np.zeros(config.block_row_buffer_depth, np.uint16),
            entries=np.zeros(config.entry_buffer_depth, np.uint16),
            channels=np.zeros(config.channel_buffer_depth, np.uint64),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class OnChip:
    """Contents of all buffers. The arrays stay; commands change what is in them.

    Parameters
    ----------
    config : Config
        The machine.
    clusters : tuple of Cluster
        What each cluster has.
    runs : numpy.ndarray
        ``uint64`` of shape (run_buffer_depth,): words `RUN`.
    table : numpy.ndarray
        Activation table: ``int8`` of shape (256,); entry v + 128 belongs to the value v.
    activations : numpy.ndarray
        Activation buffer: ``int8`` of shape (activation_words, group_size), by address.
    """

    config: Config
    clusters: tuple[Cluster, ...]
    runs: np.ndarray
    table: np.ndarray
    activations: np.ndarray

    @classmethod
    def cleared(cls, config: Config) -> Self:
        """Return buffers that hold zeros."""
        return cls(
            config=config,
            clusters=tuple(Cluster.cleared(config) for _ in range(config.clusters)),
            runs=np.zeros(config.run_buffer_depth, np.uint64),
            table=np.zeros(TABLE_DEPTH, np.int8),
            activations=np.zeros((config.activation_words, config.group_size), np.int8),
        )
