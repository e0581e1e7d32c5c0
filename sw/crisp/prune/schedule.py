"""The goals of the iterations: how the density ramps down, and whether N:M or blocks come first.

With d(i) the density after iteration i of k, d(0) what N:M leaves by itself, N / M where no group is padded:

- geometric: d(i) = d(0) (d(k) / d(0)) ** (i / k): a constant share of what is left goes at a time, as in S. Han et al., arXiv 1506.02626
- linear: d(i) = d(0) - (d(0) - d(k)) i / k
- cubic: d(i) = d(k) + (d(0) - d(k)) (1 - i / k) ** 3: fast while much is left, as in M. Zhu, S. Gupta, arXiv 1710.01878

A budget of cycles ramps down alike, as a share of the dense network's cycles.
"""

from collections.abc import Callable, Mapping

from crisp.arch import Pattern

from .options import Order, PruneOptions, Schedule
from .selection import Goal

__all__ = ["plan_goals", "ramp"]


def ramp(start: float, end: float, count: int, schedule: Schedule) -> list[float]:
    """Return ``count`` numbers on the way from ``start`` to ``end``, the last of which is ``end``."""
    shares = [number / count for number in range(1, count + 1)]
    match schedule:
        case Schedule.GEOMETRIC:
            return [start * (end / start) ** share for share in shares]
        case Schedule.LINEAR:
            return [start + (end - start) * share for share in shares]
        case Schedule.CUBIC:
            return [end + (start - end) * (1 - share) ** 3 for share in shares]


def plan_goals(
    options: PruneOptions,
    dense_cycles: int | None = None,
    measure: Callable[[Mapping[str, Pattern]], int] | None = None,
    whole: float | None = None,
) -> list[Goal]:
    """Return the goal of each iteration.

    Parameters
    ----------
    options : PruneOptions
        Sparsity and cycles to arrive at, iterations, schedule, order.
    dense_cycles : int, optional
        Predicted cycles of the dense network; needed with a budget of cycles.
    measure : callable, optional
        Predicts cycles from patterns; needed with a budget of cycles.
    whole : float, optional
        Density that N:M leaves by itself; by default N / M. Where groups are padded it is more.
    """
    whole, count = whole or options.n / options.group, options.iterations
    match options.order:
        case Order.TOGETHER:
            ns, shares = [options.n] * count, along(options, whole, count, 1)
        case Order.NM_FIRST:  # the first iteration takes what N:M takes and no block
            ns, shares = [options.n] * count, [(whole, 1.0), *along(options, whole, count - 1, 1)]
        case Order.BLOCKS_FIRST:  # only blocks, down to as many as N:M leaves the right number of weights of; then N:M
            ns = [options.group] * (count - 1) + [options.n]
            shares = [*along(options, 1.0, count - 1, 1 / whole), *along(options, whole, 1, 1)]
    cycles = [None if options.cycles is None or dense_cycles is None else int(share * dense_cycles) for _, share in shares]
    return [
        Goal(sparsity=1 - density, cycles=budget, measure=measure, dense_cycles=dense_cycles, n=n)
        for n, (density, _), budget in zip(ns, shares, cycles, strict=True)
    ]


def along(options: PruneOptions, start: float, count: int, factor: float) -> list[tuple[float, float]]:
    """Return density and share of the dense network's cycles, ``count`` times, on the way to ``factor`` times what the options ask for."""
    density = ramp(start, min(start, factor * (1 - options.sparsity)), count, options.schedule)
    cycles = ramp(1.0, min(1.0, factor * (options.cycles or 1.0)), count, options.schedule)
    return list(zip(density, cycles, strict=True))
