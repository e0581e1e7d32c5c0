"""Block walker: the kept blocks of a layer in the order of work. The hardware is ``crisp_hw/block_walker.py``."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..arch import ENTRY

__all__ = ["Block", "walk"]


@dataclasses.dataclass(frozen=True)
class Block:
    """A kept block as the step issuer wants it.

    Parameters
    ----------
    address : int
        Word of the column buffer with its first group.
    groups : int
        Groups of the block; the last block column may have fewer than the others.
    n : int
        Steps of each group.
    last_of_tile, last_of_window, last_of_layer : bool
        What the block ends.
    skipped : int
        Absent blocks passed over for it: those before it, and those behind the last one of a tile.
    """

    address: int
    groups: int
    n: int
    last_of_tile: bool
    last_of_window: bool
    last_of_layer: bool
    skipped: int


def walk(layer: Mapping[str, int], counts: np.ndarray, entries: np.ndarray) -> list[Block]:
    """List the kept blocks of a layer: pixel tile, row tile, kept block.

    Parameters
    ----------
    layer : mapping
        Fields of the word `LAYER`.
    counts : numpy.ndarray
        Words `COUNT`, one a block row.
    entries : numpy.ndarray
        Words `ENTRY`, one a kept block.

    Returns
    -------
    list of Block
        As the hardware lists them.
    """
    fields = ENTRY.unpack_array(entries)
    first_entry = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    blocks = []
    for pixel_tile in range(layer["pixel_tiles"]):
        window_address = pixel_tile % layer["windows"] * layer["window_words"]
        for row_tile in range(layer["row_tiles"]):
            block_row = row_tile // layer["block_tiles"]
            entry_numbers = range(first_entry[block_row], first_entry[block_row + 1])
            expected = 0
            for number in entry_numbers:
                index = int(fields["index"][number])
                is_tail = index == layer["block_columns"] - 1
                last_of_tile = number == entry_numbers[-1]
                last_of_window = last_of_tile and row_tile == layer["row_tiles"] - 1
                blocks.append(
                    Block(
                        address=window_address + (index << layer["block_groups_log2"]),
                        groups=layer["tail_groups"] if is_tail else 1 << layer["block_groups_log2"],
                        n=int(fields["n_minus_1"][number]) + 1,
                        last_of_tile=last_of_tile,
                        last_of_window=last_of_window,
                        last_of_layer=last_of_window and pixel_tile == layer["pixel_tiles"] - 1,
                        skipped=index - expected + (layer["block_columns"] - 1 - index if last_of_tile else 0),
                    )
                )
                expected = index + 1
    return blocks
