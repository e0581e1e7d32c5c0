"""Seeded random layers, with the shapes and values at which hardware goes wrong."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from crisp.arch import Config, Pattern, ProductLayer, pack

__all__ = ["CASES", "Case", "random_layer", "random_layers"]


@dataclasses.dataclass(frozen=True)
class Case:
    """What kind of layer to make.

    Parameters
    ----------
    name : str
        Name for test tables and messages.
    channels, inputs, pixels : int
        O, K and P; 0 draws one at random.
    block : int
        B; 0 draws one.
    n : str
        N of the blocks: ``random`` (one for the layer, or ``mixed``), ``mixed`` (by block, with equal sums), ``least`` (1), ``full`` (M).
    kept : str
        Blocks of a block row: ``random``, ``one``, ``few`` (at most 3), ``all``.
    values : str
        Weights and activations: ``random``; ``extreme`` (only -128, -127, 127 where allowed); ``sparse`` (many zeros in
        the slots and the activations too); ``small`` (-2 to 2).
    scale : str
        Requantization: ``fit`` (outputs spread over int8), ``random`` (any multiplier and shift, 0 included), ``half``
        (scale 1/2, small values: every second output lies half-way between two), ``least`` (shift 0: outputs saturate).
    """

    name: str
    channels: int = 0
    inputs: int = 0
    pixels: int = 0
    block: int = 0
    n: str = "random"
    kept: str = "random"
    values: str = "random"
    scale: str = "fit"


def cases(config: Config) -> tuple[Case, ...]:
    """Return the cases that every engine must pass, in terms of its size."""
    rows, columns, group = config.rows, config.columns, config.group_size
    depth = config.column_buffer_depth
    wide = max(16, rows)
    return (
        Case("random"),
        Case("mixed_n", n="mixed"),
        Case("mixed_n_wide", channels=3 * wide, inputs=6 * wide, block=wide, n="mixed"),
        Case("dense", n="full", kept="all"),
        Case("dense_one_of_m", n="least", kept="all"),
        Case("one_block", kept="one"),
        Case("one_block_least", n="least", kept="one", block=wide, channels=2 * wide, inputs=4 * wide),
        Case("shortest_tiles", n="least", kept="one", block=rows if rows >= group else group, channels=5 * rows),
        Case("one_channel", channels=1),
        Case("one_pixel", pixels=1),
        Case("one_pixel_too_many", pixels=columns + 1),
        Case("whole_pixel_tiles", pixels=3 * columns),
        Case("many_pixel_tiles", pixels=9 * columns - 1, kept="one", inputs=2 * wide),
        Case("one_window", channels=rows, inputs=(depth // 2 + 1) * group, pixels=5 * columns, block=wide, kept="few"),
        Case("two_windows", channels=rows, inputs=depth // 2 * group, pixels=6 * columns, block=wide, n="least", kept="all"),
        Case("three_windows", inputs=depth // 3 * group, pixels=10 * columns, block=wide, kept="few"),
        Case("windows_of_one_word", channels=rows, inputs=group, pixels=40 * columns + 1, n="least"),
        Case("whole_column_buffer", inputs=depth * group, pixels=2 * columns, block=max(64, rows), kept="few"),
        Case("one_group", inputs=group, block=wide, n="full", kept="all"),
        Case("one_input", inputs=1, n="least"),
        Case("inputs_not_whole_groups", inputs=2 * wide + group - 1, block=wide),
        Case("last_block_of_one_group", inputs=2 * wide + 1, block=wide, kept="all"),
        Case("only_last_block", inputs=2 * wide + group, block=wide, kept="one"),
        Case("fewer_channels_than_block", channels=rows + 1, block=max(64, rows)),
        Case("empty_tail_tiles", channels=max(64, rows) + 1, block=max(64, rows), inputs=2 * max(64, rows)),
        Case("block_16", block=16) if rows <= 16 else Case("block_rows", block=rows),
        Case("block_32", block=32) if rows <= 32 else Case("block_rows", block=rows),
        Case("block_64", block=64) if rows <= 64 else Case("block_rows", block=rows),
        Case("extreme_values", values="extreme", scale="fit", n="full", kept="all"),
        Case("extreme_saturated", values="extreme", scale="least"),
        Case("sparse_values", values="sparse"),
        Case("any_scale", scale="random"),
        Case("half_way", values="small", scale="half"),
    )


#: Names of the cases, for tables of tests; the same for every configuration of at most 16 rows.
CASES = tuple(case.name for case in cases(Config()))


def random_layers(config: Config, *, seed: int, number: int) -> Iterator[tuple[ProductLayer, np.ndarray]]:
    """Yield layers with activations, each fit for a configuration's buffers; the same ones for the same seed.

    The cases of `cases` come in turn, with all that they leave open drawn at random. They cover:

    - shapes: O = 1, O not a multiple of rows or of B, O < B (tiles of a block row that do not exist), K = 1, one group,
      K not a multiple of M or of B (a last block of one group), P = 1, P a multiple of the columns and one more, many
      pixel tiles; a column buffer with room for 1, 2, 3 windows and for many;
    - patterns: all blocks kept, one a block row, the last one only; B of rows, 16, 32, 64; N = 1 to M, one for the layer or
      block by block with equal sums; tiles of fewer steps than the array takes to drain;
    - values: random, extreme (-128 against -128 among them), zeros in slots and activations, outputs that saturate at both
      clamps, outputs exactly half-way, ReLU-like clamps, clamps of one value, zero points, any multiplier and shift,
      biases with which a sum needs 33 bits.

    Parameters
    ----------
    config : Config
        What the layers are packed for.
    seed : int
        Seed.
    number : int
        How many.
    """
    table = cases(config)
    for index in range(number):
        yield random_layer(config, table[index % len(table)], seed=seed * 1_000_003 + index)


def random_layer(config: Config, case: Case | str, *, seed: int) -> tuple[ProductLayer, np.ndarray]:
    """Make one layer of a case, with activations ``int8`` of shape (K padded to whole groups, P)."""
    if isinstance(case, str):
        case = next(known for known in cases(config) if known.name == case)
    rng = np.random.default_rng(seed)
    rows, group = config.rows, config.group_size
    block = case.block or int(rng.choice([size for size in (rows, 16, 32, 64) if size >= max(rows, group)]))
    shape = _draw_shape(case, config, block, rng)
    pattern = _draw_pattern(case, shape, block, group, rng)
    while not _fits(pattern, config):
        # Too large a draw: the same case, smaller, which shows as much.
        shape = (max(1, shape[0] // 2), max(1, shape[1] * 2 // 3))
        pattern = _draw_pattern(case, shape, block, group, rng)
    weights = _draw_weights(case, pattern, rng)
    packed = pack(weights, pattern, rows=rows, layer=case.name)
    num_pixels = case.pixels or int(rng.integers(1, 4 * config.columns))
    x = _draw_values(case, (pattern.groups * group, num_pixels), rng, low=-128)
    x[shape[1] :] = 0
    bias, multiplier, shift = _draw_scales(case, weights, x, rng)
    clamps = np.sort(rng.integers(-128, 128, 2)) if rng.random() < 0.3 else np.array([-128, 127])
    layer = ProductLayer(
        name=f"{case.name}-{seed}",
        packed=packed,
        bias=bias,
        multiplier=multiplier,
        shift=shift,
        output_zero_point=int(rng.integers(-128, 128)) if rng.random() < 0.5 else 0,
        clamp_min=int(clamps[0]),
        clamp_max=int(clamps[1]),
    )
    return layer, x


def _draw_shape(case: Case, config: Config, block: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw O and K where the case leaves them open, within the buffers."""
    channels_max = min(4 * block, config.channel_buffer_depth, config.block_row_buffer_depth * block)
    channels = case.channels or int(rng.integers(1, channels_max + 1))
    inputs = case.inputs or int(rng.integers(1, min(5 * block, config.column_buffer_depth * config.group_size) + 1))
    return channels, inputs


def _fits(pattern: Pattern, config: Config) -> bool:
    """Tell whether a layer of this pattern fits the buffers that random shapes can overflow."""
    tile_steps = np.repeat(pattern.row_steps, pattern.block // config.rows)[: -(-pattern.shape[0] // config.rows)]
    return (
        tile_steps.sum() <= config.weight_buffer_depth
        and pattern.kept.sum() <= config.entry_buffer_depth
        and pattern.groups <= config.column_buffer_depth
        and len(tile_steps) * config.rows <= config.channel_buffer_depth
        and pattern.block_rows <= config.block_row_buffer_depth
    )


def _draw_pattern(case: Case, shape: tuple[int, int], block: int, group: int, rng: np.random.Generator) -> Pattern:
    """Draw the N of every block; sums are equal in all block rows."""
    blank = Pattern.dense(shape, block, group)
    rows, columns = blank.block_rows, blank.block_columns
    n = np.zeros((rows, columns), np.int64)
    layer_n = {"least": 1, "full": group}.get(case.n) or int(rng.integers(1, group + 1))
    kept = {"one": 1, "few": min(3, columns), "all": columns}.get(case.kept) or int(rng.integers(1, columns + 1))
    mixed = case.n == "mixed" or (case.n == case.kept == "random" and rng.random() < 0.3)
    for row in range(rows):
        if not mixed:
            chosen = [columns - 1] if case.name == "only_last_block" else rng.permutation(columns)[:kept]
            n[row, chosen] = layer_n
            continue
        # Spread the same total over the blocks in unequal portions, up to M each.
        for _ in range(kept * layer_n):
            n[row, rng.choice(np.flatnonzero(n[row] < group))] += 1
    return Pattern(shape, block, group, n.astype(np.uint8))


def _draw_weights(case: Case, pattern: Pattern, rng: np.random.Generator) -> np.ndarray:
    """Draw weights that obey a pattern, most groups as full as it allows: ``int8`` of shape (O, K)."""
    channels, inputs = pattern.shape
    padded = _draw_values(case, (channels, pattern.groups, pattern.group), rng, low=-127)
    limit = np.repeat(np.repeat(pattern.n, pattern.block, axis=0), pattern.block_groups, axis=1)
    limit = limit[:channels, : pattern.groups]
    rank = rng.random(padded.shape).argsort(axis=2).argsort(axis=2)
    padded[rank >= limit[:, :, None]] = 0
    return np.ascontiguousarray(padded.reshape(channels, -1)[:, :inputs])


def _draw_values(case: Case, shape: tuple[int, ...], rng: np.random.Generator, *, low: int) -> np.ndarray:
    """Draw ``int8`` values; ``low`` is the least that quantization gives (-127 for symmetric weights)."""
    if case.values == "extreme":
        # Weights take -128 too: quantization does not give it, but the array must multiply it.
        return rng.choice(np.array([-128, -127, 127], np.int8), shape)
    if case.values == "small":
        return rng.integers(-2, 3, shape, dtype=np.int8)
    values = rng.integers(low, 128, shape, dtype=np.int8)
    if case.values == "sparse":
        values[rng.random(shape) < 0.7] = 0
    return values


def _draw_scales(case: Case, weights: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw bias, multiplier and shift of every channel."""
    channels = int(weights.shape[0])
    if case.scale == "random":
        bias = rng.integers(-(2**31), 2**31, channels, dtype=np.int64).astype(np.int32)
        bias[rng.random(channels) < 0.5] //= 2**16
        # At the ends of int32, so that every other sum with them needs 33 bits.
        limits = rng.choice(np.array([-(2**31), 2**31 - 1], np.int32), channels)
        bias = np.where(rng.random(channels) < 0.3, limits, bias)
        return bias, rng.integers(0, 2**16, channels).astype(np.uint16), rng.integers(0, 64, channels).astype(np.uint8)
    if case.scale == "least":
        bias = rng.integers(-1000, 1001, channels).astype(np.int32)
        return bias, np.full(channels, 2**16 - 1, np.uint16), np.zeros(channels, np.uint8)
    if case.scale == "half":
        bias = rng.integers(-9, 10, channels).astype(np.int32)
        return bias, np.full(channels, 2**15, np.uint16), np.full(channels, 16, np.uint8)
    # Spread the sums over int8, so that most outputs are neither zero nor saturated.
    spread = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=1) * max(1.0, (x.astype(np.float64) ** 2).mean())) + 1
    exponent = np.ceil(np.log2(spread / 48 * rng.uniform(0.5, 2, channels))).astype(np.int64)
    bias = (rng.standard_normal(channels) * spread / 4).astype(np.int32)
    shift = np.clip(15 + exponent, 0, 63).astype(np.uint8)
    return bias, rng.integers(2**15, 2**16, channels).astype(np.uint16), shift
