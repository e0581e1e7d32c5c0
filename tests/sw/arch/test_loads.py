"""Steps as they lie in memory: against a reader that goes bit by bit, and there and back."""

import numpy as np
import pytest

from crisp.arch import Config
from crisp.arch.commands import LoadTarget
from crisp.arch.loads import decode_steps, element_bytes, encode_steps, offset_steps, target_depth


@pytest.mark.parametrize(("group_size", "expected"), [(2, 8), (4, 4), (8, 2), (16, 2)])
def test_steps_that_share_a_word_of_offsets(group_size, expected):
    assert offset_steps(group_size) == expected


@pytest.mark.parametrize("group_size", [2, 4, 8, 16])
@pytest.mark.parametrize("rows", [2, 4, 16, 32])
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 41])
def test_steps_bit_by_bit(group_size, rows, steps):
    rng = np.random.default_rng(steps)
    values = rng.integers(-128, 128, (steps, rows)).astype(np.int8)
    offsets = rng.integers(0, group_size, (steps, rows)).astype(np.uint8)
    words = encode_steps(values, offsets, group_size)
    together = offset_steps(group_size)
    width = 8 // together
    position = 0
    for step in range(steps):
        if step % together == 0:
            offset_word = int.from_bytes(words[position].tobytes(), "little")
            position += 1
        assert (words[position].view(np.int8) == values[step]).all()
        position += 1
        for row in range(rows):
            assert offset_word >> ((step % together) * rows + row) * width & ((1 << width) - 1) == offsets[step, row]
    assert position == len(words)
    again = decode_steps(words, group_size)
    assert (again[0] == values).all()
    assert (again[1] == offsets).all()


def test_every_target_has_elements_and_a_buffer():
    config = Config.preset("tiny")
    assert [element_bytes(target, config) for target in LoadTarget] == [4, 4, 2, 2, 8, 8, 1, 4, 1]
    assert [target_depth(target, config) for target in LoadTarget] == [2048, 2048, 32, 512, 128, 256, 256, 16384, 16384]
