import dataclasses
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY, Matrix, fill, matrices

from crisp.arch import (
    CHANNEL,
    EXECUTE,
    CapacityError,
    Config,
    ExecuteKind,
    LayerError,
    Opcode,
    Pattern,
    ProductLayer,
    Sharing,
    check_capacity,
    layer_command,
    pack,
)


def raises(message: str, error: type[Exception] = LayerError):
    """Expect an error with exactly this message."""
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def layer_of(matrix: Matrix, **changes) -> ProductLayer:
    """Return a layer with random channel parameters."""
    outputs, rng = len(matrix.weights), np.random.default_rng(3)
    parameters = {
        "bias": rng.integers(-(2**31), 2**31, outputs).astype(np.int32),
        "multiplier": rng.integers(2**15, 2**16, outputs).astype(np.uint16),
        "shift": rng.integers(0, 64, outputs).astype(np.uint8),
    }
    return ProductLayer("conv1", pack(matrix.weights, matrix.pattern, rows=matrix.rows), **{**parameters, **changes})


def dense(outputs: int, inputs: int, *, block: int = 16, group: int = 4, rows: int = 16) -> Matrix:
    """Return dense random weights."""
    pattern = Pattern.dense((outputs, inputs), block, group)
    return Matrix(fill(np.random.default_rng(2), pattern), pattern, rows)


@PROPERTY
@given(matrices())
def test_sizes_and_channel_words(matrix: Matrix) -> None:
    layer = layer_of(matrix)
    assert layer.num_channels == matrix.pattern.shape[0]
    assert layer.num_inputs == matrix.pattern.groups * matrix.pattern.group
    assert layer.steps == len(layer.packed.values)
    words = layer.channel_words()
    assert words.dtype == np.uint64
    assert len(words) == layer.packed.row_tiles * matrix.rows
    fields = CHANNEL.unpack_array(words)
    for name, column in fields.items():
        assert column[: layer.num_channels].tolist() == getattr(layer, name).tolist()
        assert not column[layer.num_channels :].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": np.zeros(3, np.int64)}, "bias must be int32 of shape (3,), not int64 of shape (3,)"),
        ({"bias": np.zeros((3, 1), np.int32)}, "bias must be int32 of shape (3,), not int32 of shape (3, 1)"),
        ({"multiplier": np.zeros(4, np.uint16)}, "multiplier must be uint16 of shape (3,), not uint16 of shape (4,)"),
        ({"shift": np.zeros(3, np.int8)}, "shift must be uint8 of shape (3,), not int8 of shape (3,)"),
        ({"shift": np.array([0, 64, 63], np.uint8)}, "shift must be at most 63, not 64"),
        (
            {"clamp_min": 5, "clamp_max": 4, "output_zero_point": 1},
            "clamp_min <= clamp_max and the zero point must be int8, not 5, 4, 1",
        ),
        ({"clamp_min": -129}, "clamp_min <= clamp_max and the zero point must be int8, not -129, 127, 0"),
        ({"clamp_max": 128}, "clamp_min <= clamp_max and the zero point must be int8, not -128, 128, 0"),
        ({"output_zero_point": 128}, "clamp_min <= clamp_max and the zero point must be int8, not -128, 127, 128"),
    ],
)
def test_parameters_that_are_refused(changes: dict, message: str) -> None:
    with raises(f"conv1: {message}"):
        layer_of(dense(3, 16), **changes)


class TestAccumulatorsThatLeaveInt32:
    """With int8 activations a sum reaches 128 x the sum of the magnitudes of its weights."""

    #: Weights of magnitude 128 in a row whose sum of products may reach exactly 2^31.
    LIMIT = 2**31 // 128 // 128

    def matrix(self, rows: list[int]) -> Matrix:
        """Return one row of weights -128 for each number, as many of them as it says."""
        weights = np.zeros((len(rows), self.LIMIT), np.int8)
        for row, count in zip(weights, rows, strict=True):
            row[:count] = -128
        return Matrix(weights, Pattern.dense(weights.shape, 64, 16), 1)

    @pytest.mark.parametrize("other_rows", [[], [1]])
    def test_the_row_that_reaches_too_far(self, other_rows: list[int]) -> None:
        with raises("conv1: an accumulator may reach 2147483648, beyond int32; split K"):
            layer_of(self.matrix([*other_rows, self.LIMIT]))

    def test_rows_are_not_added_up(self) -> None:
        layer_of(self.matrix([self.LIMIT - 1, self.LIMIT - 1]))


@pytest.mark.parametrize(
    ("name", "need", "matrix"),
    [
        ("column_buffer_depth", 5, dense(4, 18)),
        ("weight_buffer_depth", 60, dense(40, 18)),  # three row tiles of 5 groups, 4 steps each
        ("entry_buffer_depth", 6, dense(40, 18)),
        ("block_row_buffer_depth", 3, dense(40, 18)),
    ],
)
def test_the_buffer_that_is_too_small(name: str, need: int, matrix: Matrix) -> None:
    layer = layer_of(matrix)
    check_capacity(layer, Config(**{name: need}))
    message = f"conv1: needs {name} of {need}, but the configuration has {need - 1}; choose a larger configuration or split the layer"
    with raises(message, CapacityError):
        check_capacity(layer, Config(**{name: need - 1}))
    with raises(message, CapacityError):
        layer_command(layer, Config(**{name: need - 1}), 1)


def test_too_many_channels() -> None:
    layer = layer_of(dense(33, 4))
    check_capacity(layer, Config(channel_buffer_depth=48))
    message = "conv1: needs channel_buffer_depth of 48, but the configuration has 32; choose a larger configuration or split the layer"
    with raises(message, CapacityError):
        check_capacity(layer, Config(channel_buffer_depth=32))


def test_packed_for_another_array() -> None:
    layer = layer_of(dense(16, 16, rows=8))
    with raises("conv1: packed for rows = 8, but the configuration has 16; pack again"):
        check_capacity(layer, Config())
    layer = layer_of(dense(16, 16, group=8))
    with raises("conv1: packed for group_size = 8, but the configuration has 4; pack again"):
        check_capacity(layer, Config())


@PROPERTY
@given(matrices(), st.integers(1, 10**6), st.integers(1, 33))
def test_command(matrix: Matrix, num_pixels: int, columns: int) -> None:
    pattern, rows = matrix.pattern, matrix.rows
    assume(rows >= pattern.group)
    layer = layer_of(matrix, output_zero_point=-3, clamp_min=-3, clamp_max=90)
    config = Config(rows=rows, columns=columns, group_size=pattern.group, drain_rows=1)
    command = layer_command(layer, config, num_pixels)
    assert EXECUTE.unpack(EXECUTE.pack(**command)) == command
    assert (command["opcode"], command["kind"], command["sharing"]) == (Opcode.EXECUTE, ExecuteKind.PRODUCT, Sharing.SHARED)
    assert command["pixels"] == num_pixels
    assert (command["row_tiles"] - 1) * rows < pattern.shape[0] <= command["row_tiles"] * rows
    assert command["block_tiles"] * rows == pattern.block
    block_groups = 2 ** command["block_groups_log2"]
    assert block_groups * pattern.group == pattern.block
    assert (command["block_columns"] - 1) * block_groups + command["tail_groups"] == pattern.groups == command["window_words"]
    assert (command["zero_point"], command["clamp_min"], command["clamp_max"]) == (-3, -3, 90)


def test_commands_that_are_refused() -> None:
    layer = layer_of(dense(4, 16, rows=16))
    with raises("conv1: needs at least 1 output pixel, not 0"):
        layer_command(layer, Config(), 0)
    with raises("conv1: execute.pixels must be in 0..1048575, not 1048576; split the layer"):
        layer_command(layer, Config(), 2**20)
    assert layer_command(layer, Config(), 2**20 - 1)["pixels"] == 2**20 - 1


def test_layers_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer_of(dense(4, 16)).name = "other"
