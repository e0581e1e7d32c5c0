"""LOAD: memory to a buffer. The hardware is ``crisp_hw/load_unit.py``."""

from collections.abc import Mapping

import numpy as np

from crisp.arch.commands import LoadTarget
from crisp.arch.errors import CapacityError, FieldError
from crisp.arch.loads import PATCH_ROW_BYTES, decode_steps, element_bytes, target_depth

from .on_chip import OnChip

__all__ = ["cut_patches", "load", "read_rows"]


def load(command: Mapping[str, int], window: np.ndarray, on_chip: OnChip) -> None:
    """Carry a LOAD out.

    Parameters
    ----------
    command : mapping
        Fields of the word `LOAD`.
    window : numpy.ndarray
        ``uint8``: the bytes of the command's memory window.
    on_chip : OnChip
        Buffers; one of them changes.

    Raises
    ------
    CapacityError
        When the rows do not end within the window, or what they hold not within the buffer.
    FieldError
        When a row is no whole number of elements, or there are several where the target takes one, or the cluster is none.
    """
    config = on_chip.config
    target = LoadTarget(command["target"])
    rows = read_rows(command, window)
    size = element_bytes(target, config)
    if rows.shape[1] % size:
        raise FieldError(f"load.row_bytes must be a multiple of {size} for {target.name}, not {rows.shape[1]}")
    if target not in (LoadTarget.ACTIVATIONS, LoadTarget.PATCHES) and len(rows) != 1:
        raise FieldError(f"load.rows must be 1 for {target.name}, not {len(rows)}")
    clusters = on_chip.clusters if command["all_clusters"] else on_chip.clusters[command["cluster"] :][:1]
    if not clusters:
        raise FieldError(f"load.cluster must be less than {config.clusters}, not {command['cluster']}")
    match target:
        case LoadTarget.STEPS:
            values, offsets = decode_steps(rows.reshape(-1, config.rows), config.group_size)
            place = extent(command, target, len(values), on_chip)
            for cluster in clusters:
                cluster.values[place], cluster.offsets[place] = values, offsets
        case LoadTarget.DENSE_STEPS:
            values = rows.view(np.int8).reshape(-1, config.rows)
            place = extent(command, target, len(values), on_chip)
            for cluster in clusters:
                cluster.values[place] = values
                cluster.offsets[place] = (np.arange(len(values)) % config.group_size)[:, None]
        case LoadTarget.COUNTS | LoadTarget.ENTRIES | LoadTarget.CHANNELS:
            for cluster in clusters:
                own = {LoadTarget.COUNTS: cluster.counts, LoadTarget.ENTRIES: cluster.entries, LoadTarget.CHANNELS: cluster.channels}
                write_elements(command, rows, own[target], on_chip)
        case LoadTarget.RUNS:
            write_elements(command, rows, on_chip.runs, on_chip)
        case LoadTarget.TABLE:
            write_elements(command, rows, on_chip.table, on_chip)
        case LoadTarget.ACTIVATIONS:
            words = rows.view(np.int8).reshape(len(rows), -1, config.group_size)
            for index, row in enumerate(words):
                start = index * command["destination_stride"]
                on_chip.activations[extent(command, target, len(row), on_chip, start=start)] = row
        case LoadTarget.PATCHES:
            if rows.shape[1] > PATCH_ROW_BYTES:
                raise FieldError(f"load.row_bytes must not exceed {PATCH_ROW_BYTES} for PATCHES, not {rows.shape[1]}")
            for index, row in enumerate(rows):
                for plane, words in enumerate(cut_patches(command, row, config.group_size)):
                    start = index * command["patches"] + plane * command["destination_stride"]
                    on_chip.activations[extent(command, target, len(words), on_chip, start=start)] = words


def write_elements(command: Mapping[str, int], rows: np.ndarray, buffer: np.ndarray, on_chip: OnChip) -> None:
    """Write a row of memory into a buffer of small words."""
    elements = rows.view(buffer.dtype.newbyteorder("<")).reshape(-1)
    buffer[extent(command, LoadTarget(command["target"]), len(elements), on_chip)] = elements


def read_rows(command: Mapping[str, int], window: np.ndarray) -> np.ndarray:
    """Return the rows of memory that a LOAD or STORE names, ``uint8`` of shape (rows, row_bytes), as a copy.

    Raises
    ------
    CapacityError
        When they do not end within the window.
    """
    starts = command["offset"] + np.arange(command["rows"], dtype=np.int64) * command["row_stride"]
    end = int(starts[-1]) + command["row_bytes"] if len(starts) else 0
    if end > len(window):
        raise CapacityError(f"rows must end within the window of {len(window)} bytes, not at byte {end}")
    return np.ascontiguousarray(window[starts[:, None] + np.arange(command["row_bytes"])])


def cut_patches(command: Mapping[str, int], row: np.ndarray, group_size: int) -> np.ndarray:
    """Cut a row into patches, ``fill`` where they reach beyond it.

    Parameters
    ----------
    command : mapping
        Fields of the word `LOAD`.
    row : numpy.ndarray
        ``uint8`` of shape (row_bytes,).
    group_size : int
        M.

    Returns
    -------
    numpy.ndarray
        ``int8`` of shape (patch_words, patches, M): word w of every patch.
    """
    plane, patch, byte = np.ogrid[: command["patch_words"], : command["patches"], :group_size]
    position = patch * command["patch_step"] + plane * group_size + byte - command["patch_lead"]
    inside = (position >= 0) & (position < len(row))
    return np.where(inside, row[np.where(inside, position, 0)].view(np.int8), np.int8(command["fill"]))


def extent(command: Mapping[str, int], target: LoadTarget, number: int, on_chip: OnChip, *, start: int = 0) -> slice:
    """Return where ``number`` elements go, ``start`` behind the destination.

    Raises
    ------
    CapacityError
        When they do not end within the buffer.
    """
    first = command["destination"] + start
    depth = target_depth(target, on_chip.config)
    if first + number > depth:
        raise CapacityError(f"{target.name} must end within the buffer of {depth}, not at {first + number}")
    return slice(first, first + number)
