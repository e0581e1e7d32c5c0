"""Images: an operator of one image for another one, or for several side by side, and which can be so.

Column x of image k of G is column x G + k. So a window whose taps are d columns apart has them d G apart, and padding counts G times.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from crisp.golden import Window

from .operator import FARTHEST, Kind, Operator, Tensor

__all__ = ["crossing", "is_joinable", "join", "joinable_from", "rename", "repeat", "widen"]

#: Widest map, and most places from a window's first pixel to its last, that the fields of EXECUTE and RUN can tell.
MAX_WIDTH, MAX_PLACES = (1 << 13) - 1, (1 << 15) - 1


def rename(tensor: Tensor, part: str) -> Tensor:
    """Return a tensor of one image."""
    return dataclasses.replace(tensor, name=tensor.name + part)


def widen(tensor: Tensor, images: int, label: str = "") -> Tensor:
    """Return a tensor of several images side by side."""
    return dataclasses.replace(tensor, name=tensor.name + label, width=tensor.width * images, images=images)


def repeat(operator: Operator, part: str) -> Operator:
    """Return an operator for one image of several."""
    return dataclasses.replace(
        operator,
        name=operator.name + part,
        title=operator.report_name,
        source=rename(operator.source, part),
        output=rename(operator.output, part),
        residual=None if operator.residual is None else operator.residual + part,
    )


def join(operator: Operator, images: int, label: str = "") -> Operator:
    """Return an operator for several images side by side: the columns of each lie between those of the others."""
    window = operator.window
    (above, below), (left, right) = window.borders
    wide = Window(
        kernel=window.kernel,
        stride=(window.stride[0], 1),
        padding=(above, left * images),
        dilation=(window.dilation[0], window.dilation[1] * images),
        padding_end=(below, right * images),
    )
    return dataclasses.replace(
        operator,
        name=operator.name + label,
        title=operator.report_name,
        source=widen(operator.source, images, label),
        output=widen(operator.output, images, label),
        window=operator.window if operator.kind is Kind.PLANES else wide,
        taps=tuple((row, column * images) for row, column in operator.taps),
        residual=None if operator.residual is None else operator.residual + label,
        macs=operator.macs * images,
        kept_macs=operator.kept_macs * images,
    )


def is_joinable(operator: Operator, images: int) -> bool:
    """Tell whether an operator can compute several images side by side."""
    if operator.patches is not None or operator.source.width * images > MAX_WIDTH:
        return False
    if operator.kind is Kind.PLANES:
        return operator.source.pixels * images <= MAX_PLACES
    rows, columns = (max(places) for places in zip(*operator.taps, strict=True))
    is_near = columns * images <= FARTHEST or (operator.window.borders == ((0, 0), (0, 0)) and operator.row_step == 1)
    is_within = (rows * operator.source.width + columns) * images <= MAX_PLACES
    return is_near and is_within and (operator.window.stride[1] == 1 or operator.output.width == 1)


def joinable_from(operators: Sequence[Operator], images: int) -> list[int]:
    """Return the operators that can be joined, so that all that needs their results can be as well: their indices, ascending."""
    found: list[int] = []
    apart: set[str] = set()
    for index in reversed(range(len(operators))):
        operator = operators[index]
        if operator.output.name not in apart and is_joinable(operator, images):
            found.append(index)
        else:
            apart.update(operator.inputs)
    return found[::-1]


def crossing(operators: Sequence[Operator], joined: Iterable[int]) -> list[Tensor]:
    """Return what joined operators read and repeated ones, or the host, make: each must be joined by copies.

    A global average of one image writes to its pixel by itself.
    """
    inside = {operators[index].output.name for index in joined}
    tensors = {tensor.name: tensor for operator in operators for tensor in (operator.source, operator.output)}
    return [
        tensors[name]
        for name in dict.fromkeys(
            name for index in joined if operators[index].kind is not Kind.PLANES for name in operators[index].inputs if name not in inside
        )
    ]
