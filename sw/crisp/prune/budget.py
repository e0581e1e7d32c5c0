"""Search for a budget: how much must go, so that what is left costs no more than is allowed."""

from collections.abc import Callable

from .errors import UnreachableError

__all__ = ["TOLERANCE", "narrow"]

#: What is so much below a budget of cycles is near enough, as a share of it.
TOLERANCE = 0.003


def halve(low: int, high: int, above: int, below: int) -> int:
    """Guess the middle."""
    return (low + high) // 2


def narrow(
    cost: Callable[[int], int],
    first: int,
    last: int,
    most: int,
    refuse: Callable[[int], UnreachableError],
    *,
    guess: Callable[[int, int, int, int], int] = halve,
    tolerance: float = 0.0,
) -> int:
    """Return how many must go, from ``first`` to ``last``, so that the rest costs at most ``most``: the fewest, or nearly.

    Few costs are asked for, since each may take time. Between too many that stay and few enough the next is a guess; where that did not
    halve what lies between, the middle.

    Parameters
    ----------
    cost : callable
        What the rest costs when so many are gone; falls as they go. Where it does not always, what is returned still fits.
    first, last : int
        Fewest and most that may go.
    most : int
        Budget.
    refuse : callable
        Makes the error of the cost that is left at least.
    guess : callable
        Guesses, of how many are too few and how many are enough, and of what these cost, how many must go.
    tolerance : float
        Share of the budget that may be left over. With 0 it is the fewest.

    Raises
    ------
    UnreachableError
        When even without ``last`` the rest costs too much.
    """
    low, above = first, cost(first)
    if above <= most:
        return low
    high, below = last, cost(last)
    if below > most:
        raise refuse(below)
    must_halve = False
    while high - low > 1 and (not tolerance or most - below > tolerance * most):
        middle = halve(low, high, above, below) if must_halve else guess(low, high, above, below)
        middle = min(max(middle, low + 1), high - 1)
        found, before = cost(middle), high - low
        if found <= most:
            high, below = middle, found
        else:
            low, above = middle, found
        must_halve = high - low > before // 2
    return high
