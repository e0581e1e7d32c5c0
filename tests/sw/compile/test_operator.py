"""Which rows of the source rows of a result need, against the taps themselves."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crisp.compile.operator import Kind, Operator, Tensor
from crisp.golden import Window


@st.composite
def operators(draw: st.DrawFn) -> Operator:
    """An operator over 1 to 12 rows."""
    kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    extent = dilation * (kernel - 1) + 1
    above, below = (draw(st.integers(0, extent - 1)) for _ in range(2))
    height = draw(st.integers(max(1, extent - above - below), 12))
    window = Window(kernel=(kernel, 1), stride=(stride, 1), padding=(above, 0), dilation=(dilation, 1), padding_end=(below, 0))
    output = Tensor("output", *window.output_size(height, 3), 4)
    return Operator(
        name="output", kind=Kind.MAX, source=Tensor("source", height, 3, 4), output=output, window=window, taps=(), pad=0, residual="other"
    )


def seen(operator: Operator, row: int) -> set[int]:
    """Return the rows of the source that an output row sees."""
    window = operator.window
    rows = row * window.stride[0] - window.padding[0] + np.arange(window.kernel[0]) * window.dilation[0]
    return {int(row) for row in rows if 0 <= row < operator.source.height}


@given(operators(), st.data())
def test_rows_that_are_needed(operator: Operator, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, operator.output.height - 1))
    end = data.draw(st.integers(start + 1, operator.output.height))
    rows = set().union(*(seen(operator, row) for row in range(start, end)))
    if rows:
        assert operator.first_row(start) <= min(rows)
        assert operator.last_row(end) > max(rows)
    # No more than is needed: the last row of the last window that lies in the image is the last.
    bottom = (end - 1) * operator.window.stride[0] - operator.window.padding[0] + operator.window.extent[0]
    assert operator.last_row(end) == min(operator.source.height, max(0, bottom))
    assert operator.first_row(start) == max(0, min(operator.source.height, start * operator.window.stride[0] - operator.window.padding[0]))


@given(operators())
def test_no_rows_need_none_and_more_rows_not_fewer(operator: Operator) -> None:
    height = operator.output.height
    assert operator.last_row(0) == 0
    assert operator.last_row(height + 3) == operator.last_row(height) <= operator.source.height
    ends = [operator.last_row(end) for end in range(height + 1)]
    starts = [operator.first_row(start) for start in range(height + 1)]
    assert ends == sorted(ends)
    assert starts == sorted(starts)


@given(operators(), st.integers(0, 12))
def test_rows_of_either_input(operator: Operator, start: int) -> None:
    assert operator.inputs == ("source", "other")
    assert operator.first_needed("source", start) == operator.first_row(start)
    assert operator.first_needed("other", start) == start
    both = dataclasses.replace(operator, residual="source")
    assert both.first_needed("source", start) == min(start, operator.first_row(start))


def test_planes_need_the_whole_image() -> None:
    source = Tensor("source", 5, 7, 9)
    operator = Operator(
        name="mean", kind=Kind.PLANES, source=source, output=Tensor("mean", 1, 1, 9), window=Window(kernel=(5, 7)), taps=(), pad=0
    )
    assert (operator.first_row(0), operator.first_row(1), operator.last_row(0), operator.last_row(1)) == (0, 0, 0, 5)
    assert operator.inputs == ("source",)
    assert (source.pixels, source.planes(4), source.planes(8), source.planes(16)) == (35, 3, 2, 1)


def test_copies() -> None:
    source = Tensor("source", 5, 7, 9)
    copy = Operator(name="copy", kind=Kind.MAX, source=source, output=source, window=Window(), taps=((0, 0),), pad=-128)
    assert copy.is_copy
    assert not dataclasses.replace(copy, kind=Kind.PRODUCT).is_copy
    assert not dataclasses.replace(copy, window=Window(stride=(2, 2))).is_copy
    assert not dataclasses.replace(copy, window=Window(padding=(0, 0), padding_end=(1, 1))).is_copy
