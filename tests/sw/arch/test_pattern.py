import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY, Matrix, matrices

from crisp.arch import Pattern, PatternError, check


def raises(message: str):
    """Expect a `PatternError` with exactly this message."""
    return pytest.raises(PatternError, match=f"^{re.escape(message)}$")


@PROPERTY
@given(matrices())
def test_what_obeys_the_contract_passes(matrix: Matrix) -> None:
    check(matrix.weights, matrix.pattern)
    check(matrix.weights.astype(np.float32) / 128, matrix.pattern)


@PROPERTY
@given(matrices(), st.randoms(use_true_random=False))
def test_one_weight_too_many_is_found_and_named(matrix: Matrix, random) -> None:
    weights, pattern = matrix.weights.copy(), matrix.pattern
    row, group = random.randrange(pattern.shape[0]), random.randrange(pattern.groups)
    block = (row // pattern.block, group // pattern.block_groups)
    first, last = group * pattern.group, min((group + 1) * pattern.group, pattern.shape[1]) - 1
    weights[row, first : last + 1] = 1
    full, limit = last + 1 - first, int(pattern.n[block])
    where = f"conv1: row {row}, group {group} (K {first}..{last})"
    if full <= limit:
        check(weights, pattern, layer="conv1")
    elif limit:
        with raises(f"{where}: rule N:M: {full} non-zero weights, but the block allows {limit} of every {pattern.group}"):
            check(weights, pattern, layer="conv1")
    else:
        with raises(f"{where}: rule absent: {full} non-zero weights in absent block {block}"):
            check(weights, pattern, layer="conv1")


def test_the_first_violation_is_named() -> None:
    weights = np.zeros((8, 16), np.int8)
    weights[6, 9:11] = weights[5, 13:15] = 1
    with raises("fc: row 5, group 3 (K 12..15): rule N:M: 2 non-zero weights, but the block allows 1 of every 4"):
        check(weights, Pattern.from_kept(np.ones((1, 2)), (8, 16), 8, 4, 1), layer="fc")


def test_weights_of_another_shape() -> None:
    with raises("fc: rule shape: weights are (8, 12), their pattern (8, 16)"):
        check(np.zeros((8, 12)), Pattern.dense((8, 16), 8, 4), layer="fc")


def test_a_block_row_without_a_block() -> None:
    pattern = Pattern((16, 16), 8, 4, [[1, 1], [0, 0]])
    with raises("fc: rule kept: block row 1 keeps no block; keep at least one in every block row"):
        check(np.zeros((16, 16)), pattern, layer="fc")


@pytest.mark.parametrize(("last", "total"), [([2, 2], 4), ([0, 2], 2)])
def test_block_rows_that_differ(last: list[int], total: int) -> None:
    pattern = Pattern((24, 16), 8, 4, [[1, 2], [3, 0], last])
    message = f"fc: rule uniform: N adds up to {total} in block row 2 but to 3 in block row 0; prune equally many in every block row"
    with raises(message):
        check(np.zeros((24, 16)), pattern, layer="fc")


@pytest.mark.parametrize(
    ("shape", "block", "group", "n", "message"),
    [
        ((4, 8), 12, 4, [[1]], "block must be a power of two, not 12"),
        ((4, 8), 0, 4, [[1]], "block must be a power of two, not 0"),
        ((4, 8), 128, 4, [[1]], "block must be at most 64, not 128"),
        ((4, 8), 8, 3, [[1]], "group must be a power of two, not 3"),
        ((4, 8), 8, 1, [[1]], "group must be one of 2, 4, 8, 16, not 1"),
        ((4, 8), 32, 32, [[1]], "group must be one of 2, 4, 8, 16, not 32"),
        ((4, 8), 4, 8, [[1]], "group must not be larger than block = 4, not 8"),
        ((0, 8), 8, 4, [[1]], "shape must be (O, K) with both at least 1, not (0, 8)"),
        ((8,), 8, 4, [[1]], "shape must be (O, K) with both at least 1, not (8,)"),
        ((4, 9), 8, 4, [[1]], "n must have the shape (1, 2), not (1, 1)"),
        ((4, 8), 8, 4, [[1.5]], "n must be integers, not float64"),
        ((4, 16), 8, 4, [[4, 5]], "n must be 0 to M = 4, not 5 in block (0, 1)"),
        ((4, 16), 8, 4, [[-1, 4]], "n must be 0 to M = 4, not -1 in block (0, 0)"),
        ((4, 16), 8, 4, [[257, 4]], "n must be 0 to M = 4, not 257 in block (0, 0)"),
    ],
)
def test_rules_of_a_pattern(shape, block, group, n, message) -> None:
    with raises(message):
        Pattern(shape, block, group, np.array(n))


def test_a_pattern_does_not_change() -> None:
    n = np.ones((1, 2), np.uint8)
    pattern = Pattern((8, 16), 8, 4, n)
    n[0, 0] = 3  # the caller's array stays the caller's
    assert pattern.n.tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="read-only"):
        pattern.n[0, 0] = 2


def test_equality() -> None:
    pattern = Pattern.dense((8, 16), 8, 4)
    assert pattern == Pattern((8, 16), 8, 4, np.full((1, 2), 4))
    assert pattern != Pattern((8, 16), 8, 4, np.full((1, 2), 3))
    assert pattern != Pattern.dense((8, 15), 8, 4)
    assert pattern != Pattern.dense((8, 16), 8, 8)
    assert pattern != "dense"


@PROPERTY
@given(matrices())
def test_sizes_follow_from_shape_and_n(matrix: Matrix) -> None:
    pattern = matrix.pattern
    assert pattern.block_rows * pattern.block >= pattern.shape[0] > (pattern.block_rows - 1) * pattern.block
    assert pattern.block_columns * pattern.block >= pattern.shape[1] > (pattern.block_columns - 1) * pattern.block
    assert pattern.column_groups.sum() == pattern.groups == -(-pattern.shape[1] // pattern.group)
    assert (pattern.column_groups[:-1] == pattern.block_groups).all()
    assert 1 <= pattern.column_groups[-1] <= pattern.block_groups
    assert pattern.used_columns.tolist() == [c for c in range(pattern.block_columns) if pattern.n[:, c].any()]
    for row, steps in enumerate(pattern.row_steps):
        assert steps == sum(int(n) * int(g) for n, g in zip(pattern.n[row], pattern.column_groups, strict=True))


def test_density_is_the_share_of_slots() -> None:
    assert Pattern.dense((37, 50), 16, 4).density == 1
    # The tail column has 2 of 4 groups: a block row that keeps it has less room. 16 rows of 4 groups x 2, 4 rows of 2 x 2, of 20 x 24.
    assert Pattern((20, 24), 16, 4, np.array([[2, 0], [0, 2]])).density == (16 * 8 + 4 * 4) / (20 * 24)


@PROPERTY
@given(matrices())
def test_infer_finds_a_pattern_that_the_weights_obey(matrix: Matrix) -> None:
    weights, pattern = matrix.weights, matrix.pattern
    inferred = Pattern.infer(weights, pattern.block, pattern.group)
    check(weights, inferred)
    assert inferred.n[0].sum() <= pattern.n[0].sum()  # the weights leave room for no more than they were drawn with


def test_infer_keeps_one_block_where_all_is_zero() -> None:
    assert Pattern.infer(np.zeros((9, 9)), 8, 4).n.tolist() == [[1, 0], [1, 0]]
