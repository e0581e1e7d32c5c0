"""Step issuer: the steps of commands and the cycles they take. The hardware is ``crisp_hw/step_issuer.py``."""

import dataclasses
from collections.abc import Iterable, Sequence

from .block_walker import Block

__all__ = ["Step", "issue", "issue_cycles"]


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of the array.

    Parameters
    ----------
    block : int
        Number of the block it belongs to.
    step : int
        Which of its pixel tile it is; it lies that far behind the command's first step in the weight buffer.
    word : int
        Word of the window that it meets.
    block_end, list_end, tile_end, window_end, pixel_tile_end, command_end : bool
        What the step ends.
    """

    block: int
    step: int
    word: int
    block_end: bool
    list_end: bool
    tile_end: bool
    window_end: bool
    pixel_tile_end: bool
    command_end: bool


def issue(blocks: Iterable[Block]) -> list[Step]:
    """List the steps of blocks: group by group, N steps each; weights begin anew with every pixel tile."""
    steps = []
    step = 0
    for number, block in enumerate(blocks):
        for place in range(block.groups * block.n):
            is_last = place == block.groups * block.n - 1
            steps.append(
                Step(
                    block=number,
                    step=step,
                    word=block.address + place // block.n,
                    block_end=is_last,
                    list_end=is_last and block.last_of_list,
                    tile_end=is_last and block.last_of_tile,
                    window_end=is_last and block.last_of_window,
                    pixel_tile_end=is_last and block.last_of_pixel_tile,
                    command_end=is_last and block.last_of_command,
                )
            )
            step = 0 if steps[-1].pixel_tile_end else step + 1
    return steps


def issue_cycles(steps: Sequence[Step], bank_rows: int) -> list[int]:
    """Return the cycle of each step, the first being 0, when neither weights, windows nor outputs are waited for.

    One step a cycle, but a tile's last one comes no sooner than ``bank_rows`` cycles after that of the tile before. So a
    tile of S steps takes ``max(S, bank_rows)`` cycles.
    """
    cycles: list[int] = []
    next_end = 0
    for step in steps:
        cycle = cycles[-1] + 1 if cycles else 0
        if step.tile_end:
            cycle = max(cycle, next_end)
            next_end = cycle + bank_rows
        cycles.append(cycle)
    return cycles
