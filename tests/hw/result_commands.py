"""Random commands as the vector unit and the result writer take them: every shape of output and residual that a program may ask for."""

import numpy as np

from crisp.arch import EXECUTE, Config, ExecuteKind, Sharing

__all__ = ["execute_command", "random_command"]


def execute_command(**values: int) -> dict[str, int]:
    """Return an EXECUTE of one pixel that does nothing special, but for ``values``."""
    ones = dict.fromkeys(("row_tiles", "pixels", "width", "output_ring", "residual_ring", "output_words"), 1)
    command = {field.name: 0 for field in EXECUTE.fields} | ones | values
    EXECUTE.pack(**command)  # every value must fit its field
    return command


def random_scales(rng: np.random.Generator) -> dict[str, int]:
    """Choose how to add: mostly as networks do, so that sums fill the range, sometimes anything."""
    anything = rng.random() < 0.25
    shift = int(rng.integers(0, 64) if anything else rng.integers(8, 17))
    largest = 0xFFFF if anything else 1 << shift
    low, high = sorted(rng.integers(-128, 128, 2).tolist()) if rng.random() < 0.5 else (-128, 127)
    return {
        "result_zero_point": int(rng.integers(-128, 128)),
        "residual_zero_point": int(rng.integers(-128, 128)),
        "result_multiplier": int(rng.integers(0, min(largest, 0xFFFF) + 1)),
        "residual_multiplier": int(rng.integers(0, min(largest, 0xFFFF) + 1)),
        "sum_shift": shift,
        "sum_zero_point": int(rng.integers(-128, 128)),
        "sum_clamp_min": low,
        "sum_clamp_max": high,
    }


def random_command(rng: np.random.Generator, config: Config, *, pixel_tiles: int = 4, row_tiles: int = 4, **values: int) -> dict[str, int]:
    """Draw an EXECUTE that writes no word twice, and reads no residual that it overwrote.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    config : Config
        The configuration.
    pixel_tiles, row_tiles : int
        Most tiles.
    values : int
        Fields that are not left to chance; of the geometry only ``kind``, ``sharing``, ``residual``, ``table``.
    """
    columns = config.columns
    kind = values.get("kind", int(rng.choice(ExecuteKind)))
    sharing = values.get("sharing", int(rng.choice(Sharing)) if kind == ExecuteKind.PRODUCT else Sharing.GROUPED)
    residual = values.get("residual", int(rng.random() < 0.6))
    tiles = int(rng.integers(1, row_tiles + 1))
    result_tiles = 1 if sharing == Sharing.SPLIT else tiles
    words = 1 if kind == ExecuteKind.MAX else config.tile_words
    pixels = int(rng.integers(1, pixel_tiles * columns + 1))
    width = int(rng.integers(1, 3 * columns))
    first_column = int(rng.integers(0, width))

    # The words of a pixel lie in planes, at one place or at several; or, where a row tile is one plane, in rows that follow each other.
    is_stack = words > 1 and rng.random() < 0.3
    gap = (words - 1) * width if is_stack else int(rng.choice([0, 0, rng.integers(0, 2 * columns)]))
    word_dq = width if is_stack else 0
    if not is_stack and rng.random() < 0.3:
        word_dq = int(rng.integers(0, pixels))
    wraps = (first_column + pixels - 1) // width
    span = pixels + wraps * gap + is_stack * (words - 1) * word_dq
    smallest = max(span, gap + 1, word_dq + 1)

    def place(ring: int, free: int) -> dict[str, int]:
        """Put a tensor behind the first ``free`` words of the buffer."""
        pitch = 0 if is_stack else ring + int(rng.choice([0, rng.integers(0, 5)]))
        stride = ring + int(rng.integers(0, 3)) if is_stack else words * pitch
        used = result_tiles * stride + words * ring
        assert free + used < config.activation_words, "the buffer must hold the tensor"
        return {
            "base": free + int(rng.integers(0, 9)),
            "ring": ring,
            "q": int(rng.integers(0, ring)),
            "tile_stride": stride,
            "pitch": pitch,
        }

    output = place(smallest + int(rng.choice([0, rng.integers(0, 2 * columns)])), int(rng.integers(0, 99)))
    end = output["base"] + result_tiles * output["tile_stride"] + words * output["ring"]
    in_place = rng.random() < 0.4
    added = output if in_place else place(smallest + int(rng.choice([0, rng.integers(0, 2 * columns)])), end)
    ring = min(output["ring"], added["ring"])
    return execute_command(
        kind=kind,
        sharing=sharing,
        residual=residual,
        table=values.get("table", int(rng.random() < 0.5)),
        row_tiles=tiles,
        pixels=pixels,
        width=width,
        first_column=first_column,
        tile_columns=columns % width,
        output_tile_dq=(columns + columns // width * gap) % ring,
        output_wrap_dq=gap,
        output_word_dq=word_dq,
        output_words=int(rng.integers((result_tiles - 1) * words, result_tiles * words) + 1),
        **{f"output_{name}": value for name, value in output.items()},
        **{f"residual_{name}": value for name, value in added.items()},
        **random_scales(rng),
    )
