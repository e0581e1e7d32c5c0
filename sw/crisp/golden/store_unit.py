"""STORE: activation buffer to memory. The hardware is ``crisp_hw/store_unit.py``."""

from collections.abc import Mapping

import numpy as np

from crisp.arch.errors import CapacityError, FieldError

from .on_chip import OnChip

__all__ = ["store"]


def store(command: Mapping[str, int], window: np.ndarray, on_chip: OnChip) -> None:
    """Carry a STORE out.

    Parameters
    ----------
    command : mapping
        Fields of the word `STORE`.
    window : numpy.ndarray
        ``uint8``: the bytes of the command's memory window, which change.
    on_chip : OnChip
        Buffers.

    Raises
    ------
    CapacityError
        When the rows do not end within the window, or the words not within the activation buffer.
    FieldError
        When a row is no whole number of words.
    """
    group_size = on_chip.config.group_size
    words, rest = divmod(command["row_bytes"], group_size)
    if rest:
        raise FieldError(f"store.row_bytes must be a multiple of {group_size}, not {command['row_bytes']}")
    for row in range(command["rows"]):
        start = command["offset"] + row * command["row_stride"]
        if start + command["row_bytes"] > len(window):
            raise CapacityError(f"rows must end within the window of {len(window)} bytes, not at byte {start + command['row_bytes']}")
        first = command["source"] + row * command["source_stride"]
        if first + words > len(on_chip.activations):
            raise CapacityError(f"rows must end within the activation buffer of {len(on_chip.activations)} words, not at {first + words}")
        window[start : start + command["row_bytes"]] = on_chip.activations[first : first + words].view(np.uint8).reshape(-1)
