"""Order: what waits for others is computed late, and nothing before what it needs."""

import pytest
from tests.sw.compile.integer_networks import Builder, check_program, random_network, select

from crisp.arch import Config
from crisp.compile.operator import Operator
from crisp.compile.order import order_operators

TINY = Config.preset("tiny")


def down_sampling(branch_first: bool) -> Builder:
    """Return a residual block that halves the image: its shortcut waits for both convolutions, and is smaller than what they need."""
    net = Builder(TINY, (12, 12, 8))
    source = net.conv("input", 8)
    shortcut = net.conv(source, 16, stride=(2, 2)) if branch_first else ""
    main = net.conv(net.conv(source, 4, stride=(2, 2)), 16, kernel=(3, 3), padding=(1, 1))
    net.add(main, shortcut or net.conv(source, 16, stride=(2, 2)))
    return net


def peak(order: list[Operator]) -> int:
    """Return the most bytes that are alive at a time, counted tensor by tensor."""
    sizes = {tensor.name: tensor.pixels * tensor.channels for operator in order for tensor in (operator.source, operator.output)}
    alive = {order[0].source.name}
    most = 0
    for index, operator in enumerate(order):
        alive.add(operator.output.name)
        most = max(most, sum(sizes[name] for name in alive))
        needed = {name for other in order[index + 1 :] for name in other.inputs}
        alive = {name for name in alive if name in needed}
    return most


def test_the_shortcut_is_computed_last() -> None:
    """Written first, it would stand beside the main branch; the sum is then fused with the main branch's last convolution."""
    operators = select(down_sampling(branch_first=True))
    assert [operator.name for operator in operators] == ["conv0", "conv1", "conv2", "add4"]
    assert [operator.name for operator in order_operators(operators)] == ["conv0", "conv2", "conv1", "add4"]


def test_what_is_in_order_stays() -> None:
    operators = select(down_sampling(branch_first=False))
    assert [operator.name for operator in operators] == ["conv0", "conv1", "conv2", "add4"]
    assert order_operators(operators) == operators


def test_a_branch_stays_where_its_source_is_larger() -> None:
    """To keep the source for the shortcut would take more than the shortcut does."""
    net = Builder(TINY, (12, 12, 8))
    source = net.conv("input", 32)
    shortcut = net.maximum(source, kernel=(4, 4), stride=(4, 4))
    net.add(net.conv(net.conv(net.conv(source, 4), 16), 32, kernel=(4, 4), stride=(4, 4)), shortcut)
    operators = select(net)
    assert [operator.name for operator in order_operators(operators)] == [operator.name for operator in operators]


@pytest.mark.parametrize("seed", range(20))
def test_every_input_is_there(seed: int) -> None:
    operators = select(random_network(TINY, seed, length=10))
    ordered = order_operators(operators)
    assert sorted(operator.name for operator in ordered) == sorted(operator.name for operator in operators)
    known = {operators[0].source.name}
    for operator in ordered:
        assert known.issuperset(operator.inputs)
        known.add(operator.output.name)
    assert peak(ordered) <= peak(operators)


def test_programs_in_another_order() -> None:
    compilation = check_program(down_sampling(branch_first=True), TINY)
    assert [operator.name for operator in compilation.plan.operators] == ["conv0", "conv2", "conv1", "add4"]
