"""Stripes: a segment of operators computed some rows at a time, so that what flows between them never stands in memory as a whole.

In every stripe each operator computes the rows that the operators behind it need. A tensor between them lives in a ring of rows: those
of this stripe, and those above that a kernel still reaches into. With one stripe this is the usual order, layer after layer.
Source: depth-first or fused-layer scheduling, M. Alwani et al., "Fused-Layer CNN Accelerators", MICRO 2016.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from .operator import Operator, Tensor

__all__ = ["StripePlan", "plan_stripes"]


@dataclasses.dataclass(frozen=True)
class StripePlan:
    """Which rows of every tensor exist after every stripe, and how many are kept.

    Parameters
    ----------
    ends : dict
        For each tensor of the segment that is computed or loaded in it, the number of rows that exist after stripe 0, 1, ...
    rings : dict
        Rows of each one's ring.
    homes : dict
        Tensor whose ring each one uses: itself, or where a sum takes the place of what is added, that; it may be one that lay on chip
        before.
    """

    ends: dict[str, list[int]]
    rings: dict[str, int]
    homes: dict[str, str]

    @property
    def stripes(self) -> int:
        """Number of stripes."""
        return len(next(iter(self.ends.values())))

    def rows(self, name: str, stripe: int) -> tuple[int, int]:
        """Return the first row of ``name`` that ``stripe`` adds, and the one behind the last."""
        ends = self.ends[name]
        return (ends[stripe - 1] if stripe else 0), ends[stripe]


Rows = TypeVar("Rows", int, np.ndarray)


def round_up(value: Rows, step: int) -> Rows:
    """Return the least multiple of ``step`` that is not less than ``value``."""
    return value if step == 1 else -(-value // step) * step


def plan_stripes(
    operators: Sequence[Operator],
    *,
    stripes: int,
    kept: Mapping[str, Tensor],
    loaded: Mapping[str, Tensor],
    stored: Mapping[str, Tensor],
    resident: Mapping[str, Tensor],
    steps: Mapping[str, int],
    in_place: Mapping[str, str],
    is_ahead: bool = True,
) -> StripePlan:
    """Cut a segment into stripes.

    Parameters
    ----------
    operators : sequence of Operator
        The segment, in order.
    stripes : int
        Stripes wanted.
    kept : mapping
        Tensors computed here that stay on chip as a whole behind the segment.
    loaded : mapping
        Tensors that are loaded from memory stripe by stripe.
    stored : mapping
        Tensors computed here that are stored to memory stripe by stripe.
    resident : mapping
        Tensors that lie on chip as a whole from before.
    steps : mapping
        Rows that a stripe of a tensor must be a multiple of; 1 where a tensor is not named.
    in_place : mapping
        Tensor in whose place each sum may be written, and each of several images is; it is used where no operator would still need what
        is overwritten.
    is_ahead : bool
        Whether there is room to load the next stripe, and to store the one before, while one is computed.

    Returns
    -------
    StripePlan
        Rows of every tensor.
    """
    produced = {operator.output.name: operator.output for operator in operators}
    tensors = {**loaded, **produced}
    consumers: dict[str, list[Operator]] = {name: [] for name in (*tensors, *resident)}
    for operator in operators:
        for name in operator.inputs:
            if name in consumers:
                consumers[name].append(operator)
    height = {name: tensor.height for name, tensor in loaded.items()}
    height |= {operator.output.name: round_up(operator.output.height, operator.row_step) for operator in operators}
    sinks = [name for name in produced if name in kept or name in stored or not consumers[name]]

    # Rows that exist after each stripe, all stripes at a time. More is never needed later than was before, so none is computed twice.
    needed = {name: np.zeros(stripes, int) for name in tensors}
    for name in sinks:
        needed[name] = -(-tensors[name].height * np.arange(1, stripes + 1) // stripes)
    ends: dict[str, np.ndarray] = {}
    for operator in reversed(operators):
        name, source, beside = operator.output.name, operator.source.name, operator.beside
        ends[name] = np.minimum(height[name], round_up(needed[name], steps.get(name, 1)))
        if source in needed:
            needed[source] = np.maximum(needed[source], operator.last_rows.take(ends[name], mode="clip"))
        if beside in needed:
            needed[beside] = np.maximum(needed[beside], np.minimum(tensors[beside].height, ends[name]))
    for name in loaded:
        ends[name] = np.minimum(height[name], round_up(needed[name], steps.get(name, 1)))
    starts = {name: np.concatenate([[0], rows[:-1]]) for name, rows in ends.items()}

    def low(name: str) -> np.ndarray:
        """Return the first row of ``name`` that is still needed when each stripe is computed."""
        rows = starts[name] if name in produced else ends[name]
        if is_ahead and name in stored:  # what the stripe before computed may still be on its way to memory
            rows = np.concatenate([[0], rows[:-1]])
        for operator in consumers[name]:
            rows = np.minimum(rows, operator.first_needed_rows(name, starts[operator.output.name]))
        return rows

    def high(name: str) -> np.ndarray:
        """Return the row behind the last one that exists, or is on its way, when each stripe is computed."""
        return np.concatenate([ends[name][1:], ends[name][-1:]]) if is_ahead and name in loaded else ends[name]

    homes = {name: name for name in (*tensors, *resident)}
    for operator in operators:
        name, place = operator.output.name, in_place.get(operator.output.name)
        if place not in homes or (operator.source.name == place and not operator.is_copy):
            continue
        free = all(
            (
                (other.first_needed_rows(place, ends[other.output.name]) >= ends[name]) | (ends[other.output.name] >= other.output.height)
            ).all()
            for other in consumers[place]
            if other is not operator
        )
        if free and place not in stored and place not in kept and steps.get(name, 1) == 1:
            homes[name] = homes[place]

    rings = {}
    for home in dict.fromkeys(homes.values()):  # not a set, whose order is another in every process
        members = [name for name in tensors if homes[name] == home]
        if home in resident:
            rows = resident[home].height
        elif stripes == 1 or any(name in kept for name in members):
            rows = max(height[name] for name in members)
        elif members:
            top, bottom = (functools.reduce(join, map(edge, members)) for join, edge in ((np.maximum, high), (np.minimum, low)))
            step = max(steps.get(name, 1) for name in members)
            rows = min(round_up(int((top - bottom).max()), step), max(height[name] for name in members))
        for name in members:
            rings[name] = rows
    return StripePlan(ends={name: ends[name].tolist() for name in tensors}, rings=rings, homes=homes)
