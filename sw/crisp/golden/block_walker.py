"""Block walker: the kept blocks of a command in the order of work. The hardware is ``crisp_hw/block_walker.py``."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..arch import COUNT, ENTRY, Sharing, Spread

__all__ = ["Block", "walk"]


@dataclasses.dataclass(frozen=True)
class Block:
    """A kept block as the step issuer wants it.

    Parameters
    ----------
    address : int
        Word of its window with its first group.
    groups : int
        Groups of the block; the last block column may have fewer than the others.
    n : int
        Steps of each group.
    last_of_list : bool
        It is the last kept block of a row tile.
    last_of_tile : bool
        It ends a sum.
    last_of_window : bool
        Its window is not used after it.
    last_of_pixel_tile, last_of_command : bool
        It ends that.
    """

    address: int
    groups: int
    n: int
    last_of_list: bool
    last_of_tile: bool
    last_of_window: bool
    last_of_pixel_tile: bool
    last_of_command: bool


def walk(command: Mapping[str, int], counts: np.ndarray, entries: np.ndarray, columns: int, clusters: int = 1) -> list[Block]:
    """List the kept blocks of a cluster's command: pixel tile, row tile, kept block.

    Parameters
    ----------
    command : mapping
        Fields of the word `EXECUTE`.
    counts, entries : numpy.ndarray
        Words `COUNT` and `ENTRY`, as the buffers hold them.
    columns : int
        Columns of the array: pixels of a tile.
    clusters : int
        Clusters, each of which has every so manieth pixel tile where the command is spread by them, from its own first pixel on.

    Returns
    -------
    list of Block
        As the hardware lists them.
    """
    fields = ENTRY.unpack_array(entries)
    pixel_tiles = -(-command["pixels"] // (columns * clusters if command["spread"] == Spread.PIXEL_TILES else columns))
    # First entry and number of entries of each row tile.
    lists: list[tuple[int, int]] = []
    for row_tile in range(command["row_tiles"]):
        block_row, place = divmod(row_tile, command["block_tiles"])
        if place == 0:
            first = sum(lists[-1]) if lists else command["entry_base"]
            blocks = COUNT.unpack(int(counts[command["count_base"] + block_row]))["blocks"]
        lists.append((first, blocks))

    walked = []
    for pixel_tile in range(pixel_tiles):
        for row_tile, (first, blocks) in enumerate(lists):
            ends_pixel_tile = row_tile == len(lists) - 1
            for number in range(first, first + blocks):
                index = int(fields["index"][number])
                is_tail = index == command["block_columns"] - 1
                last_of_list = number == first + blocks - 1
                last_of_pixel_tile = last_of_list and ends_pixel_tile
                walked.append(
                    Block(
                        address=index << command["block_groups_log2"],
                        groups=command["tail_groups"] if is_tail else 1 << command["block_groups_log2"],
                        n=int(fields["n_minus_1"][number]) + 1,
                        last_of_list=last_of_list,
                        last_of_tile=last_of_list and (ends_pixel_tile or command["sharing"] != Sharing.SPLIT) and not command["open"],
                        last_of_window=last_of_list and (ends_pixel_tile or command["sharing"] != Sharing.SHARED),
                        last_of_pixel_tile=last_of_pixel_tile,
                        last_of_command=last_of_pixel_tile and pixel_tile == pixel_tiles - 1,
                    )
                )
    return walked
