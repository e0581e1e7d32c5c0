"""Step issuer: the steps of a layer and the cycles they take. The hardware is ``crisp_hw/step_issuer.py``."""

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
    weight_address, column_address : int
        Step in the weight buffer, and word of the column buffer.
    last_of_tile, last_of_window, last_of_layer : bool
        What the step ends.
    """

    block: int
    weight_address: int
    column_address: int
    last_of_tile: bool
    last_of_window: bool
    last_of_layer: bool


def issue(blocks: Iterable[Block]) -> list[Step]:
    """List the steps of blocks: group by group, N steps each; weights begin anew with every window."""
    steps = []
    weight_address = 0
    for number, block in enumerate(blocks):
        for place in range(block.groups * block.n):
            is_last = place == block.groups * block.n - 1
            steps.append(
                Step(
                    block=number,
                    weight_address=weight_address,
                    column_address=block.address + place // block.n,
                    last_of_tile=is_last and block.last_of_tile,
                    last_of_window=is_last and block.last_of_window,
                    last_of_layer=is_last and block.last_of_layer,
                )
            )
            weight_address = 0 if steps[-1].last_of_window else weight_address + 1
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
        if step.last_of_tile:
            cycle = max(cycle, next_end)
            next_end = cycle + bank_rows
        cycles.append(cycle)
    return cycles
