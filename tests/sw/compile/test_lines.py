"""Lines: rows apart so that lanes of two rows meet in different banks, and the bytes stay what they are."""

import numpy as np
import pytest
from tests.sw.compile.integer_networks import Builder, check_program, plan_of

from crisp.arch import Config
from crisp.compile.lines import choose_lines, reading_cycles
from crisp.compile.segments import choose_segments

WIDE = Config(rows=16, columns=16, activation_buffer_depth=512)
SAME = {"kernel": (3, 3), "padding": (1, 1)}


def depthwise(config: Config = WIDE) -> Builder:
    """Return a depthwise convolution of 28 columns, whose rows wrap in most tiles, between convolutions of single pixels."""
    net = Builder(config, (28, 28, 4))
    net.conv(net.depthwise(net.conv("input", 16), **SAME), 8)
    return net


def lines_of(net: Builder) -> dict[str, int]:
    plan = plan_of(net)
    return choose_lines(plan, choose_segments(plan, net.config.activation_words))


def test_no_line_is_better() -> None:
    """Four rows of 31 words are 12 banks further, where 28 columns end."""
    net = depthwise()
    assert lines_of(net) == {"conv0": 31}
    plan = plan_of(net)
    consumers = [plan.operators[1]]
    cycles = {line: reading_cycles(plan, consumers, line) for line in range(28, 28 + 16)}
    assert cycles[31] == min(cycles.values()) < cycles[28]
    assert all(cycles[line] > cycles[31] for line in range(28, 31))


@pytest.mark.parametrize("kind", ["depthwise", "maximum"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("columns", [14, 16])
def test_the_same_bytes(kind: str, stride: int, columns: int) -> None:
    config = Config(rows=16, columns=columns, activation_buffer_depth=512)
    net = Builder(config, (20, 28, 4))
    net.conv(getattr(net, kind)(net.conv("input", 16, **SAME), stride=(stride, stride), **SAME), 8)
    compilation = check_program(net, config)
    homes = compilation.scheduler.lines
    assert all(line > 28 for line in homes.values())


def test_what_goes_through_memory_or_is_added_stays_as_it_is() -> None:
    net = Builder(WIDE, (28, 28, 4))
    first = net.conv("input", 16)
    net.conv(net.add(net.depthwise(first, **SAME), first), 8)
    assert lines_of(net) == {}
    net = Builder(WIDE, (28, 28, 4))
    net.depthwise("input", **SAME)
    assert lines_of(net) == {}


def test_where_there_is_no_room_rows_follow_each_other() -> None:
    """28 x 28 pixels of 16 channels on either side of the depthwise convolution are 6272 words, 6720 with longer lines."""
    net = depthwise(Config(rows=16, columns=16, activation_buffer_depth=400))
    assert lines_of(net) == {"conv0": 31}
    compilation = check_program(net, net.config)
    assert compilation.scheduler.lines == {}
    np.testing.assert_array_equal([segment.plan.stripes for segment in compilation.scheduler.segments][1:2], [1])
