import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY
from tests.sw.arch.programs import tensor

from crisp.arch import Layout, ProgramError, TensorDescriptor

SEED = 5


@st.composite
def descriptors(draw: st.DrawFn) -> TensorDescriptor:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 9)))
    layout = draw(st.sampled_from(Layout))
    group = draw(st.sampled_from((2, 4, 8, 16)))
    together = draw(st.integers(1, 3)) if layout is Layout.PLANES else 1
    shape = (shape[0] * together, *shape[1:])
    used = shape[1] * shape[2] * together * group if layout is Layout.PLANES else shape[2] * shape[3]
    places = {"stride": used + draw(st.integers(0, 9)), "offset": draw(st.integers(0, 20)), "interleave": together}
    return tensor("x", shape=shape, layout=layout, group_size=group, **places)


@PROPERTY
@given(descriptors(), st.integers(0, 30))
def test_read_inverts_write_and_nothing_else_is_touched(descriptor: TensorDescriptor, more: int) -> None:
    rng = np.random.default_rng(SEED)
    array = rng.integers(-128, 128, descriptor.shape, dtype=np.int8)
    window = np.full(descriptor.end + more, 0xA5, np.uint8)
    descriptor.write(array, window)
    assert (descriptor.read(window) == array).all()
    assert (window[: descriptor.offset] == 0xA5).all()
    assert (window[descriptor.end :] == 0xA5).all()
    lines = window[descriptor.offset : descriptor.end].reshape(-1, descriptor.stride)
    assert not lines[:, descriptor.row_bytes :].any()


@PROPERTY
@given(descriptors(), st.data())
def test_every_value_lies_where_the_layout_says(descriptor: TensorDescriptor, data: st.DataObject) -> None:
    array = np.random.default_rng(SEED).integers(-128, 128, descriptor.shape, dtype=np.int8)
    window = np.zeros(descriptor.end, np.uint8)
    descriptor.write(array, window)
    (batch, height, width, channels), group = descriptor.shape, descriptor.group_size
    n, y, x, c = (data.draw(st.integers(0, size - 1)) for size in (batch, height, width, channels))
    if descriptor.layout is Layout.ROWS:
        place = (n * height + y) * descriptor.stride + x * channels + c
    else:
        first, image = divmod(n, descriptor.interleave)
        pixel = (y * width + x) * descriptor.interleave + image
        place = (first * descriptor.planes + c // group) * descriptor.stride + pixel * group + c % group
    assert window.view(np.int8)[descriptor.offset + place] == array[n, y, x, c]


def test_quantize() -> None:
    """Halves go to even, ends saturate, and the way back is within half a step."""
    x = tensor("x", scale=0.5, zero_point=3)
    assert x.quantize(np.array([0.0, 0.25, 0.75, -0.25, 1e9, -1e9])).tolist() == [3, 3, 5, 3, 127, -128]
    values = np.linspace(-60, 60, 1001)
    assert np.abs(x.dequantize(x.quantize(values)) - values).max() <= 0.25


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": (1, 2, 3)}, "x: shape must be four positive integers N, H, W, C of product up to 2^30, not (1, 2, 3)"),
        ({"shape": (1, 0, 3, 4)}, "x: shape must be four positive integers N, H, W, C of product up to 2^30, not (1, 0, 3, 4)"),
        ({"shape": (1, 1 << 20, 1 << 20, 1)}, "not (1, 1048576, 1048576, 1)"),
        ({"shape": (1, True, 3, 4)}, "not (1, True, 3, 4)"),
        ({"scale": 0.0}, "x: scale must be finite and above 0, not 0.0"),
        ({"scale": float("nan")}, "x: scale must be finite and above 0, not nan"),
        ({"zero_point": 128}, "x: zero_point must be in -128..127, not 128"),
        ({"group_size": 0}, "x: group_size must be at least 1, not 0"),
        ({"stride": 139}, "x: stride must be at least the 140 bytes that it spans, not 139"),
        ({"offset": -1}, "x: offset must not be negative, not -1"),
        ({"interleave": 0}, "x: interleave must divide the 1 images, not 0"),
        ({"shape": (4, 5, 7, 6), "interleave": 3}, "x: interleave must divide the 4 images, not 3"),
        ({"shape": (2, 5, 7, 6), "interleave": 2, "layout": Layout.ROWS}, "x: interleave must be 1 where the layout is rows, not 2"),
    ],
)
def test_broken_descriptor(fields: dict, message: str) -> None:
    with pytest.raises(ProgramError, match=f"{re.escape(message)}$"):
        tensor("x", **fields)


def test_wrong_array_or_window() -> None:
    x = tensor("x")
    with pytest.raises(ProgramError, match=r"^x: must be int8 of shape \(1, 5, 7, 6\), not int32 of shape \(1, 5, 7, 6\)$"):
        x.write(np.zeros(x.shape, np.int32), np.zeros(x.end, np.uint8))
    with pytest.raises(
        ProgramError,
        match=r"^x: must be 1 images, the batch that the program is compiled for, not 3; give as many, or compile with --batch 3$",
    ):
        x.write(np.zeros((3, *x.shape[1:]), np.int8), np.zeros(x.end, np.uint8))
    with pytest.raises(ProgramError, match=r"^x: window must be at least 288 bytes, not uint8 of shape \(287,\)$"):
        x.read(np.zeros(287, np.uint8))
    with pytest.raises(ProgramError, match=r"^x: values must be finite, not inf$"):
        x.quantize(np.array([1, np.inf]))
    assert dataclasses.replace(x, offset=16).end == 304
