"""Fields of an EXECUTE: what is computed, which pixels see what, and where results go, from operators and places.

What they mean for the machine says ``crisp.arch.commands``. All are plain integers.
"""

from crisp.arch import ExecuteKind, Sharing

from .buffers import Home
from .chunks import Chunk
from .lanes import Lanes
from .operator import Kind, Operator

__all__ = ["kind_fields", "residual_fields", "result_fields", "walk_fields"]


def kind_fields(operator: Operator, chunk: Chunk) -> dict[str, int]:
    """Return the fields that say what is computed."""
    return {
        "kind": int(ExecuteKind.MAX if operator.kind is Kind.MAX else ExecuteKind.PRODUCT),
        "sharing": int(Sharing.GROUPED if operator.kind in (Kind.MAX, Kind.DEPTHWISE) else Sharing.SHARED),
        "spread": int(chunk.spread),
        "residual": int(operator.residual is not None),
        "table": int(operator.table is not None),
        "row_tiles": chunk.row_tiles,
        "pad": operator.pad,
        **chunk.fields,
    }


def walk_fields(
    operator: Operator, chunk: Chunk, source: Home, output: Home, lanes: Lanes, low: int, phase: int, columns: int
) -> dict[str, int]:
    """Return the fields that say which pixels see which part of the source; where columns are split, every other from ``phase`` on."""
    width = lanes.width
    part = chunk_stride(operator, source)
    images = operator.output.images
    step_y = step_x = first_y = first_x = 0
    height = input_width = 1
    if operator.kind is Kind.PLANES:  # a plane takes the place of a pixel, and so a pixel that of a tap
        first_q, ring = 0, source.words
    elif operator.image is not None:  # each pixel is a row, between which those of the other images lie
        first_q, ring = source.place(low), source.ring
    else:
        step_y, step_x = operator.window.stride[0] * operator.row_step, operator.window.stride[1] * output.phases
        first_y = low // operator.row_step * step_y - operator.window.padding[0]
        first_x = phase * operator.window.stride[1] - operator.window.padding[1]
        ring = source.ring
        # Where columns are split, the runs hold the padding, which decides on the half.
        first_place = first_x if source.phases == 1 else phase * operator.window.stride[1] // source.phases
        first_q = (first_y * source.line + first_place) % ring
        height, input_width = operator.source.height, source.width
        if operator.is_inside:
            step_y = step_x = first_y = first_x = 0
            height = input_width = 1
    rows, rest = divmod(columns, width)
    wrap_dx, wrap_dq = -width * step_x, lanes.row_step - width * lanes.step
    # Places between the end of a row of results and the next row's begin.
    gap = operator.row_step * output.line - width
    if operator.kind is Kind.PLANES:
        gap = output.pitch - width if images > 1 else 0
    elif operator.image is not None:
        gap = images - 1
    return {
        "pixels": lanes.pixels,
        "width": width,
        "first_column": 0,
        "tile_columns": rest,
        "lane_dx": step_x,
        "tile_dx": columns * step_x + rows * wrap_dx,
        "tile_dy": rows * step_y,
        "wrap_dx": wrap_dx,
        "wrap_dy": step_y,
        "lane_dq": lanes.step % ring,
        "tile_dq": (columns * lanes.step + rows * wrap_dq) % ring,
        "wrap_dq": wrap_dq % ring,
        "first_y": first_y,
        "first_x": first_x,
        "first_q": first_q,
        "input_height": height,
        "input_width": input_width,
        "input_base": source.plane(chunk.first) if part else source.base,
        "input_ring": ring,
        "input_pitch": source.pitch,
        "part_stride": part,
        "output_tile_dq": 0 if lanes.pixels <= columns else columns + rows * gap,
        "output_wrap_dq": gap,
    }


def result_fields(operator: Operator, chunk: Chunk, source: Home, output: Home, low: int, phase: int, words: int) -> dict[str, int]:
    """Return the fields that say where results go."""
    if operator.kind is Kind.PLANES:
        planes = {"output_tile_stride": 0, "output_pitch": 0, "output_word_dq": 0, "output_words": 1}
        place = source.first_plane * output.pitch + (operator.image or 0)
        return {"output_base": output.base, "output_ring": output.words, "output_q": place, **planes}
    if operator.kind is Kind.MAX:
        first, per_tile, pitch, below, limit = chunk.first, output.pitch, output.pitch, 0, chunk.row_tiles
    elif operator.kind is Kind.DEPTHWISE:
        first, per_tile, pitch, below, limit = chunk.first, output.pitch, 0, output.line if words > 1 else 0, chunk.row_tiles * words
    else:
        first, per_tile, pitch, below = chunk.first * words, words * output.pitch, output.pitch, 0
        limit = min(chunk.row_tiles * words, output.first_plane + output.planes - first)
    return {
        "output_base": output.plane(first),
        "output_ring": output.ring,
        "output_q": output.place(low) + phase * (output.width // 2) + (operator.image or 0),
        "output_tile_stride": per_tile,
        "output_pitch": pitch,
        "output_word_dq": below,
        "output_words": limit,
    }


def residual_fields(operator: Operator, chunk: Chunk, home: Home, low: int, words: int) -> dict[str, int]:
    """Return the fields that say what is added to the results."""
    addition = operator.addition
    assert addition is not None
    words = 1 if operator.kind is Kind.MAX else words
    return {
        "residual_base": home.plane(chunk.first * words),
        "residual_ring": home.ring,
        "residual_q": home.place(low),
        "residual_tile_stride": words * home.pitch,
        "residual_pitch": home.pitch,
        "result_zero_point": addition.zero_points[0],
        "residual_zero_point": addition.zero_points[1],
        "result_multiplier": addition.multipliers[0],
        "residual_multiplier": addition.multipliers[1],
        "sum_shift": addition.shift,
        "sum_zero_point": addition.output_zero_point,
        "sum_clamp_min": addition.clamp_min,
        "sum_clamp_max": addition.clamp_max,
    }


def chunk_stride(operator: Operator, source: Home) -> int:
    """Return the words from one row tile's source planes to the next one's, where each has its own."""
    return source.pitch if operator.kind in (Kind.MAX, Kind.DEPTHWISE) else 0
