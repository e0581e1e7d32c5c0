"""Selection: what is fused with what, what is put in terms of what, and what cannot run."""

import dataclasses
import re

import numpy as np
import pytest
from tests.sw.compile.integer_networks import Builder, check_program, select

from crisp.arch import Config, unpack
from crisp.compile import CompileError
from crisp.compile.operator import Kind, Operator, Patches
from crisp.golden import Add, Convolution, GroupedProduct, Window

TINY = Config.preset("tiny")
SAME = {"kernel": (3, 3), "padding": (1, 1)}


def summary(operators: list[Operator]) -> list[tuple]:
    return [(op.name, op.kind.name, op.source.name, op.residual, op.table is not None) for op in operators]


def test_a_sum_goes_to_the_later_operator() -> None:
    net = Builder(TINY, (6, 6, 4))
    first = net.conv("input", 8)
    second = net.conv(first, 8, **SAME)
    net.add(second, first)
    operators = check_program(net, TINY).plan.operators
    assert summary(operators) == [("conv0", "PRODUCT", "input", None, False), ("add2", "PRODUCT", "conv0", "conv0", False)]
    node, fused = net.nodes[2], operators[1].addition
    assert (fused.inputs, fused.multipliers, fused.zero_points) == (node.inputs, node.multipliers, node.zero_points)


def test_the_result_is_the_first_input_of_a_sum() -> None:
    """Where the later operator is the node's second input, scales and zero points change places."""
    net = Builder(TINY, (6, 6, 4))
    first = net.conv("input", 8)
    second = net.conv(first, 8, **SAME)
    net.add(first, second)
    operators = check_program(net, TINY).plan.operators
    node, fused = net.nodes[2], operators[1].addition
    assert operators[1].residual == "conv0"
    assert fused.inputs == node.inputs[::-1] == ("conv1", "conv0")
    assert fused.multipliers == node.multipliers[::-1]
    assert fused.zero_points == node.zero_points[::-1]
    assert node.multipliers[0] != node.multipliers[1]


def of_the_input(net: Builder) -> None:
    net.add("input", "input")


def of_one_tensor(net: Builder) -> None:
    first = net.conv("input", 8)
    net.add(first, first)


def of_what_others_need(net: Builder) -> None:
    first = net.conv("input", 8)
    second = net.conv(first, 8)
    total = net.add(second, first)
    net.add(net.table(total), second)


def of_depthwise(net: Builder) -> None:
    net.add(net.depthwise("input", **SAME), "input")


def of_means(net: Builder) -> None:
    mean = net.global_average("input")
    net.add(mean, net.conv("input", 4, kernel=(6, 6)))
    net.add(net.global_average(net.conv("input", 4)), mean)


def of_a_sum(net: Builder) -> None:
    first = net.conv("input", 4)
    net.add(net.add(first, "input"), "input")


def of_a_table(net: Builder) -> None:
    net.add(net.table(net.conv("input", 4)), "input")


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (of_the_input, [("MAX", "input", "input")]),
        (of_one_tensor, [("PRODUCT", "input", None), ("MAX", "conv0", "conv0")]),
        (
            of_what_others_need,
            [("PRODUCT", "input", None), ("PRODUCT", "conv0", None), ("MAX", "conv1", "conv0"), ("MAX", "table3", "conv1")],
        ),
        (of_depthwise, [("DEPTHWISE", "input", None), ("MAX", "depthwise0", "input")]),
        (
            of_means,
            [("PLANES", "input", None), ("PRODUCT", "input", "mean0"), ("PRODUCT", "input", None), ("PLANES", "conv3", None)]
            + [("MAX", "mean4", "mean0")],
        ),
        (of_a_sum, [("PRODUCT", "input", "input"), ("MAX", "add1", "input")]),
        (of_a_table, [("PRODUCT", "input", None), ("MAX", "table1", "input")]),
    ],
)
def test_sums_that_are_copies(build, wanted: list[tuple]) -> None:
    """What cannot add in its own pass is copied, and the copy adds."""
    net = Builder(TINY, (6, 6, 4))
    build(net)
    operators = select(net)
    assert [(op.kind.name, op.source.name, op.residual) for op in operators] == wanted
    assert operators[-1].name == net.nodes[-1].name
    copies = [op for op in operators if op.kind is Kind.MAX]
    assert all(op.is_copy and op.name == op.output.name for op in copies)
    check_program(net, TINY)


def test_tables() -> None:
    """Behind an operator whose result nobody else needs it is looked up in its pass; else a copy looks it up."""
    net = Builder(TINY, (6, 6, 4))
    first = net.table("input")
    second = net.table(net.conv(first, 8))
    third = net.table(net.maximum(second, kernel=(2, 2), stride=(2, 2)))
    fourth = net.table(third)
    net.add(net.table(net.conv(fourth, 8)), fourth)
    compilation = check_program(net, TINY)
    assert summary(select(net)) == [
        ("table0", "MAX", "input", None, True),
        ("table2", "PRODUCT", "table0", None, True),
        ("table4", "MAX", "table2", None, True),
        ("table5", "MAX", "table4", None, True),
        ("table7", "PRODUCT", "table5", None, True),
        ("add8", "MAX", "table7", "table5", False),
    ]
    assert all(np.array_equal(op.table, net.nodes[int(op.name[5:])].table) for op in compilation.plan.operators if op.table is not None)


def test_a_table_of_what_others_need_is_a_copy() -> None:
    net = Builder(TINY, (6, 6, 4))
    first = net.conv("input", 8)
    net.add(net.table(first), first)
    assert summary(select(net)) == [
        ("conv0", "PRODUCT", "input", None, False),
        ("table1", "MAX", "conv0", None, True),
        ("add2", "MAX", "table1", "conv0", False),
    ]
    check_program(net, TINY)


# What an image has few channels of.


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "patches", "taps"),
    [
        (1, 3, 1, Patches(step=1, words=1, lead=1), 3),
        (3, 7, 2, Patches(step=6, words=6, lead=9), 7),
        (2, 5, 2, Patches(step=4, words=3, lead=4), 5),
    ],
)
def test_an_image_of_few_channels_becomes_patches(channels: int, kernel: int, stride: int, patches: Patches, taps: int) -> None:
    net = Builder(TINY, (11, 10, channels))
    net.conv("input", 8, kernel=(kernel, kernel), stride=(stride, stride), padding=(kernel // 2, kernel // 2))
    (operator,) = check_program(net, TINY).plan.operators
    assert operator.patches == patches
    assert operator.source.name == "input patches"
    assert (operator.source.height, operator.source.width) == (11, operator.output.width)
    assert operator.source.channels == patches.words * 4
    assert operator.taps == tuple((row, 0) for row in range(taps))
    assert operator.window == Window(kernel=(kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0))
    assert operator.pad == net.nodes[0].input_zero_point


@pytest.mark.parametrize("reason", ["used twice", "dilated", "not the input"])
def test_else_few_channels_are_padded(reason: str) -> None:
    net = Builder(TINY, (8, 8, 3))
    source = net.conv(net.conv("input", 4), 3) if reason == "not the input" else "input"
    dilation = (2, 2) if reason == "dilated" else (1, 1)
    conv = net.conv(source, 8, kernel=(3, 3), padding=(2, 2), dilation=dilation)
    if reason == "used twice":
        net.add(net.conv(source, 8, kernel=(3, 3), padding=(2, 2)), conv)
    operators = check_program(net, TINY).plan.operators
    operator = next(op for op in operators if op.name == conv)
    assert operator.patches is None
    assert len(operator.taps) == 9
    assert unpack(operator.layer.packed).shape == (8, 9 * 4)
    assert not unpack(operator.layer.packed).reshape(8, 9, 4)[:, :, 3].any()


# What has no operation of its own.


def test_averages_are_depthwise_convolutions_of_ones() -> None:
    net = Builder(Config(rows=16, columns=4), (6, 6, 5))
    net.average("input", kernel=(2, 3), stride=(2, 1))
    (operator,) = check_program(net, net.config).plan.operators
    assert operator.kind is Kind.DEPTHWISE
    assert operator.row_step == 4
    assert operator.output.height == 3
    matrix = unpack(operator.layer.packed).reshape(2, 4, 4, -1)
    assert set(np.unique(matrix)) == {0, 1}
    assert (matrix[0].sum(axis=-1) == 6).all()
    assert (matrix[1].sum(axis=-1) == [6, 0, 0, 0]).all(), "channels beyond the last have no weights"
    assert operator.layer.bias.reshape(2, 4, 4)[0].tolist() == [[-6 * net.nodes[0].input_zero_point] * 4] * 4


def test_global_averages_take_planes_for_pixels() -> None:
    net = Builder(TINY, (3, 5, 9))
    net.global_average("input")
    (operator,) = check_program(net, TINY).plan.operators
    assert operator.kind is Kind.PLANES
    assert operator.taps == tuple((0, pixel) for pixel in range(15))
    assert np.array_equal(unpack(operator.layer.packed), np.tile(np.eye(4, dtype=np.int8), (1, 15)))


def test_products_that_are_kept_are_counted() -> None:
    net = Builder(TINY, (6, 6, 8))
    net.conv(net.conv("input", 16), 32, density=0.5, kernel=(3, 3))
    dense, sparse = select(net)
    assert dense.macs == dense.kept_macs == 36 * 16 * 8
    assert sparse.macs == 16 * 32 * 16 * 9
    kept = sparse.layer.packed.pattern
    assert sparse.kept_macs == 16 * 16 * int((kept.n.astype(int) * kept.column_groups).sum())


# What cannot run.


def grouped(net: Builder) -> None:
    convolution = Convolution(channels=4, groups=2)
    net.append(
        GroupedProduct(
            name="grouped",
            inputs=("input",),
            weights=np.ones((6, 2), np.int8),
            bias=np.zeros(6, np.int32),
            multiplier=np.full(6, 1 << 15, np.uint16),
            shift=np.full(6, 15, np.uint8),
            convolution=convolution,
            input_zero_point=0,
        ),
        convolution,
        6,
    )


def unequal(net: Builder) -> None:
    first, second = net.conv("input", 4), net.conv("input", 8)
    sample = Add(name="sum", inputs=(first, second), zero_points=(0, 0), multipliers=(1, 1), shift=0)
    net.nodes.append(sample)


def wide(net: Builder) -> None:
    net.image = net.shapes["input"] = (3, 90, 1)
    net.conv("input", 4, kernel=(1, 61))


def far(net: Builder) -> None:
    net.image = net.shapes["input"] = (3, 600, 1)
    net.conv("input", 4, stride=(1, 256))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            grouped,
            "grouped: a convolution with groups must have one input and one output channel a group, not 4 and 6 in 2 groups; use one group",
        ),
        (
            unequal,
            "sum: inputs must have one shape, not Tensor(name='conv0', height=6, width=6, channels=4) and "
            "Tensor(name='conv1', height=6, width=6, channels=8)",
        ),
        (wide, "conv0: a patch must have at most 15 words, not 16, and step and lead at most 255 bytes"),
        (far, "conv0: a patch must have at most 15 words, not 1, and step and lead at most 255 bytes"),
    ],
)
def test_what_cannot_run(build, message: str) -> None:
    net = Builder(TINY, (6, 6, 4))
    build(net)
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        select(net)


def test_geometry_that_is_kept() -> None:
    """A window with unequal borders stays what it is."""
    net = Builder(TINY, (7, 6, 8))
    net.conv("input", 8, kernel=(3, 2), stride=(2, 1), padding=(0, 1), padding_end=(1, 0), dilation=(1, 2))
    (operator,) = check_program(net, TINY).plan.operators
    assert dataclasses.asdict(operator.window) == {
        "kernel": (3, 2),
        "stride": (2, 1),
        "padding": (0, 1),
        "dilation": (1, 2),
        "padding_end": (1, 0),
    }
    assert operator.taps == ((0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2))
