"""Places on chip: rings that forget what they overwrite, and first fit."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp.compile import CompileError
from crisp.compile.buffers import FreeList, Home, Ring


@given(st.integers(2, 24), st.data())
def test_a_ring_forgets_what_it_overwrites(depth: int, data: st.DataObject) -> None:
    """Against the buffer itself, place by place: what is found is whole, and what is not found is not."""
    ring, buffer, sizes = Ring("weight_buffer_depth", depth), [-1] * depth, {}
    for key in range(data.draw(st.integers(1, 12))):
        size = data.draw(st.integers(1, depth))
        base = ring.take(key, size, "layer")
        assert 0 <= base <= depth - size
        buffer[base : base + size] = [key] * size
        sizes[key] = size
        half = depth // 2
        assert size > half or not base < half < base + size, "a piece that fits a half must not lie across the middle"
        for other, length in sizes.items():
            place = ring.find(other)
            assert (place is not None) == (buffer.count(other) == length)
            assert place is None or buffer[place : place + length] == [other] * length


def test_a_ring_goes_round() -> None:
    """Halves in turn: what is loaded into one lies where the other is not."""
    ring = Ring("weight_buffer_depth", 10)
    assert [ring.take(key, 5, "layer") for key in range(4)] == [0, 5, 0, 5]
    assert [ring.find(key) for key in range(4)] == [None, None, 0, 5]
    assert [ring.take(key, 3, "layer") for key in range(4, 8)] == [0, 5, 0, 5]
    assert ring.take(8, 10, "layer") == 0
    assert list(ring.pieces) == [8]


def test_a_piece_that_is_too_large() -> None:
    message = "conv1: needs run_buffer_depth of 5, but the configuration has 4; choose a larger configuration"
    with pytest.raises(CompileError, match=f"^{re.escape(message)}$"):
        Ring("run_buffer_depth", 4).take("key", 5, "conv1")


@given(st.integers(1, 30), st.data())
def test_free_words(size: int, data: st.DataObject) -> None:
    """Against the buffer itself: the lowest or highest gap that is large enough, None only where there is none."""
    free, buffer = FreeList(size), [""] * size
    for number in range(data.draw(st.integers(1, 12))):
        if free.used and data.draw(st.booleans()):
            name = data.draw(st.sampled_from(sorted(free.used)))
            free.free(name)
            buffer = ["" if owner == name else owner for owner in buffer]
            continue
        length, high = data.draw(st.integers(1, size)), data.draw(st.booleans())
        fits = [base for base in range(size - length + 1) if not any(buffer[base : base + length])]
        base = free.take(str(number), length, high=high)
        assert base == (None if not fits else fits[-1] if high else fits[0])
        if base is not None:
            buffer[base : base + length] = [str(number)] * length
    for name, (base, end) in free.used.items():
        assert [place for place, owner in enumerate(buffer) if owner == name] == list(range(base, end))


def test_home() -> None:
    home = Home(base=7, width=5, line=5, rows=3, pitch=17, planes=2)
    assert home.ring == 15
    assert home.words == 34
    assert [home.place(row) for row in range(5)] == [0, 5, 10, 0, 5]
