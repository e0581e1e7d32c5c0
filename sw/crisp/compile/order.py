"""Order: operators are moved behind others where less is alive at a time then.

A network is written down branch by branch, and a branch whose result waits for the other ones takes room all that time. Such an operator is
better computed right before its result is used, unless what it is computed from takes more.
"""

from collections.abc import Sequence

from .operator import Operator

__all__ = ["order_operators"]


def order_operators(operators: Sequence[Operator]) -> list[Operator]:
    """Return the operators in an order in which at no time more is alive than necessary, as far as moving single ones can tell."""
    order = list(operators)
    for operator in operators:
        at = order.index(operator)
        users = [index for index, other in enumerate(order) if operator.output.name in other.inputs]
        if not users or users[0] == at + 1:
            continue
        moved = [*order[:at], *order[at + 1 : users[0]], operator, *order[users[0] :]]
        if peaks(moved, at, users[0]) < peaks(order, at, users[0]):
            order = moved
    return order


def peaks(order: Sequence[Operator], first: int, end: int) -> list[int]:
    """Return the bytes that are alive while each of the operators from ``first`` to ``end`` is computed, the most first."""
    sizes = {tensor.name: tensor.pixels * tensor.channels for operator in order for tensor in (operator.source, operator.output)}
    last = {name: index for index, operator in enumerate(order) for name in operator.inputs}
    born = {operator.output.name: index for index, operator in enumerate(order)}
    alive = [
        sum(size for name, size in sizes.items() if born.get(name, -1) <= index <= last.get(name, len(order)))
        for index in range(first, end + 1)
    ]
    return sorted(alive, reverse=True)
