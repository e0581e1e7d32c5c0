"""Lines: rows of a tensor a few words further apart than they are long, so that lanes of two rows meet in different banks."""

from collections.abc import Iterable, Sequence

from .operator import Kind, Operator
from .plan import Plan
from .segments import Segment

__all__ = ["choose_lines"]


def choose_lines(plan: Plan, segments: Sequence[Segment]) -> dict[str, int]:
    """Choose the words from a row to the next for tensors that are gathered faster for it.

    A pixel tile that holds the end of a row and the begin of the next gathers both at a time. Where those lie in the same banks each word
    takes two cycles, which costs time if windows are used once or twice, as in pooling and depthwise convolution.

    Tensors that go through memory keep their rows one behind the other, since they are moved many rows at a time; those that are
    added do too, for a sum is walked as its residual is.

    Parameters
    ----------
    plan : Plan
        The operators.
    segments : sequence of Segment
        How they are computed.

    Returns
    -------
    dict
        By tensor, where it is not the width; those that save most come first.
    """
    moved = {name for segment in segments for name in (*segment.loaded, *segment.stored)}
    lines, saved = {}, {}
    for operator in plan.operators:
        name = operator.output.name
        consumers = [other for other in plan.operators if name in other.inputs]
        is_free = name not in moved and operator.beside is None and all(other.beside != name for other in consumers)
        is_plain = operator.output.images == 1 and all(other.image is None and other.kind is not Kind.PLANES for other in consumers)
        if is_free and is_plain and consumers and operator.kind is not Kind.PLANES:
            width = operator.output.width
            cycles = {line: reading_cycles(plan, consumers, line) for line in range(width, width + plan.config.banks)}
            line = min(cycles, key=lambda line: (cycles[line], line))
            if line != width:
                lines[name], saved[name] = line, cycles[width] - cycles[line]
    return {name: lines[name] for name in sorted(lines, key=lambda name: -saved[name])}


def reading_cycles(plan: Plan, consumers: Iterable[Operator], line: int) -> int:
    """Return the predicted cycles of all that read a tensor, when its rows are ``line`` words apart."""
    return sum(plan.chunk_cycles(operator, operator.output.height, *plan.phases(operator), line) for operator in consumers)
