"""EXECUTE commands for the tests of blocks: convolutions as a compiler lays them out, of every geometry, at random."""

import numpy as np

from crisp.arch import EXECUTE, RUN, ExecuteKind, Opcode, Sharing
from crisp.golden.pixel_walk import tile_steps

__all__ = ["convolution", "execute", "random_convolution"]


def execute(**fields: int) -> dict[str, int]:
    """Return a command; fields that are not given are 0."""
    return {**dict.fromkeys((field.name for field in EXECUTE.fields), 0), "opcode": Opcode.EXECUTE, **fields}


def convolution(
    *,
    columns: int,
    height: int,
    width: int,
    kernel: tuple[int, int],
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
    planes: int = 1,
    parts: int = 1,
    sharing: Sharing = Sharing.SHARED,
    kind: ExecuteKind = ExecuteKind.PRODUCT,
    first_row: int = 0,
    first_column: int = 0,
    pixels: int | None = None,
    ring: int | None = None,
    base: int = 0,
    pitch: int | None = None,
    run_base: int = 0,
    pad: int = 0,
) -> tuple[dict[str, int], np.ndarray]:
    """Return the command and the runs of a convolution, whole or from some pixel on.

    Parameters
    ----------
    columns : int
        Columns of the array.
    height, width : int
        Of the input.
    kernel : tuple of int
        Rows and columns.
    stride, dilation, padding : int
        Of both directions.
    planes : int
        Planes of M channels that a window has; of each part, when it is SPLIT.
    parts : int
        Row tiles.
    first_row, first_column, pixels : int
        First output pixel, and number of them; all by default.
    ring, base, pitch : int
        How planes lie in the activation buffer: by default whole, one behind the other.
    """
    out_width = (width + 2 * padding - dilation * (kernel[1] - 1) - 1) // stride + 1
    out_height = (height + 2 * padding - dilation * (kernel[0] - 1) - 1) // stride + 1
    pixels = out_height * out_width - first_row * out_width - first_column if pixels is None else pixels
    ring = height * width if ring is None else ring
    pitch = ring if pitch is None else pitch
    first_y, first_x = first_row * stride - padding, first_column * stride - padding
    walk = {
        "width": out_width,
        "lane_dx": stride,
        "wrap_dx": -out_width * stride,
        "wrap_dy": stride,
        "lane_dq": stride % ring,
        "wrap_dq": (stride * width - out_width * stride) % ring,
    }
    taps = [
        (row * dilation, column * dilation, plane)
        for plane in range(0, planes * (parts if sharing == Sharing.SPLIT else 1), planes)
        for row in range(kernel[0])
        for column in range(kernel[1])
    ]
    dy, dx, plane = np.array(taps).T
    runs = RUN.pack_array(
        dy=dy,
        dx=dx,
        pixels=np.fmod(dy * width + dx, ring),
        plane=plane * pitch,
        words_minus_1=np.full(len(taps), planes - 1),
        last=(np.arange(len(taps)) + 1) % (kernel[0] * kernel[1]) == 0,
    )
    command = execute(
        kind=kind,
        sharing=sharing,
        row_tiles=parts,
        pixels=pixels,
        window_words=kernel[0] * kernel[1] * planes,
        run_base=run_base,
        first_column=first_column,
        first_y=first_y,
        first_x=first_x,
        first_q=(first_y * width + first_x) % ring,
        input_height=height,
        input_width=width,
        input_base=base,
        input_ring=ring,
        input_pitch=pitch,
        part_stride=planes * pitch if sharing == Sharing.GROUPED else 0,
        pad=pad,
        **walk,
        **tile_steps(columns=columns, ring=ring, **walk),
    )
    return command, runs


def random_convolution(rng: np.random.Generator, *, columns: int, words: int, run_base: int = 0) -> tuple[dict[str, int], np.ndarray]:
    """Return some convolution that fits an activation buffer of ``words`` words, as `convolution` does."""
    while True:
        height, width = (int(size) for size in rng.integers(1, 12, 2))
        kernel = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        stride, dilation = (int(rng.choice([1, 1, 2, 3])) for _ in range(2))
        padding = int(rng.integers(0, 3))
        out_height, out_width = (
            (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1 for size, taps in zip((height, width), kernel, strict=True)
        )
        if out_height < 1 or out_width < 1:
            continue
        # A part of the image from some pixel on, in a ring that holds no more rows than it needs.
        first_row, first_column = int(rng.integers(out_height)), int(rng.integers(out_width))
        left = out_height * out_width - first_row * out_width - first_column
        pixels = left if rng.random() < 0.5 else int(rng.integers(1, left + 1))
        rows = 1 + (first_column + pixels - 1) // out_width
        held = min(height, (rows - 1) * stride + dilation * (kernel[0] - 1) + 1)
        ring = width * (held if rng.random() < 0.5 else height)
        pitch = ring + int(rng.integers(4))
        planes, parts = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        sharing = Sharing(int(rng.integers(len(Sharing))))
        total = planes * (1 if sharing == Sharing.SHARED else parts)
        room = words - ((total - 1) * pitch + ring)
        if room < 0:
            continue
        return convolution(
            columns=columns,
            height=height,
            width=width,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            planes=planes,
            parts=parts,
            sharing=sharing,
            kind=ExecuteKind(int(rng.integers(len(ExecuteKind)))),
            first_row=first_row,
            first_column=first_column,
            pixels=pixels,
            ring=ring,
            base=int(rng.integers(room + 1)),
            pitch=pitch,
            run_base=run_base,
            pad=int(rng.integers(-128, 128)),
        )
