"""Programs at random for machines of several clusters: commands by hand over one filling of the buffers, of every sharing and spread."""

import dataclasses
import random
from typing import Any

import numpy as np
from tests.sw.arch.programs import make_program

from crisp.arch import (
    CHANNEL,
    COUNT,
    ENTRY,
    RUN,
    Config,
    ExecuteKind,
    Layout,
    LoadTarget,
    MemoryWindow,
    Opcode,
    Program,
    Sharing,
    Spread,
    TensorDescriptor,
)
from crisp.arch.command_rules import COMMAND_WORDS
from crisp.arch.loads import encode_steps

__all__ = ["ClusterProgram", "Commands", "pack", "random_program"]

Commands = list[tuple[Opcode, dict[str, Any]]]

#: Row tiles of which every cluster has the weights, pixels of a plane, and words of a window.
TILES, PIXELS, WORDS = 3, 23, 5

#: Parts of a window whose row tiles have their own; where results lie.
PARTS, FIRST = 12, 4000


@dataclasses.dataclass(frozen=True)
class ClusterProgram:
    """A program and what it is made of.

    Parameters
    ----------
    program : Program
        The program.
    image : numpy.ndarray
        Its input.
    commands : list
        Its commands, as opcode and fields.
    places : dict
        Place of the constants of each target and cluster in the window PROGRAM.
    """

    program: Program
    image: np.ndarray
    commands: Commands
    places: dict[tuple[LoadTarget, int], int]


def pack(opcode: Opcode, fields: dict[str, int]) -> bytes:
    """Return a command as it lies in memory."""
    word = COMMAND_WORDS[opcode]
    return word.pack(**fields).to_bytes(word.num_bytes, "little")


def blank(opcode: Opcode, **fields: int) -> tuple[Opcode, dict[str, int]]:
    """Return a command; what is not given is 0."""
    return opcode, {field.name: 0 for field in COMMAND_WORDS[opcode].fields} | {"opcode": int(opcode), **fields}


def lists(rng: np.random.Generator, config: Config) -> dict[LoadTarget, bytes]:
    """Return kept blocks, steps and channels of `TILES` row tiles of two blocks of two words and a tail."""
    counts, entries, steps = [], [], 0
    for _ in range(TILES):
        kept = np.flatnonzero(rng.random(3) < 0.7)
        kept = kept if kept.size else np.array([int(rng.integers(3))])
        n = rng.integers(1, config.group_size + 1, len(kept))
        counts.append(len(kept))
        entries += [(int(index), int(each) - 1) for index, each in zip(kept, n, strict=True)]
        steps += int((np.where(kept == 2, 1, 2) * n).sum())
    values = rng.integers(-128, 128, (steps, config.rows)).astype(np.int8)
    offsets = rng.integers(0, config.group_size, (steps, config.rows)).astype(np.uint8)
    channels = TILES * config.rows
    index, n_minus_1 = (np.array(column) for column in zip(*entries, strict=True))
    return {
        LoadTarget.STEPS: encode_steps(values, offsets, config.group_size).tobytes(),
        LoadTarget.COUNTS: COUNT.pack_array(blocks=np.array(counts)).tobytes(),
        LoadTarget.ENTRIES: ENTRY.pack_array(index=index, n_minus_1=n_minus_1).tobytes(),
        LoadTarget.CHANNELS: CHANNEL.pack_array(
            bias=rng.integers(-1000, 1000, channels), multiplier=rng.integers(1 << 15, 1 << 16, channels), shift=np.full(channels, 23)
        ).tobytes(),
    }


def random_product(rng: random.Random, config: Config, *, is_open: bool = False) -> dict[str, int]:
    """Return what a product computes: any sharing and spread, any number of row tiles and pixels that the clusters have weights for."""
    sharing, spread = rng.choice(list(Sharing)), rng.choice(list(Spread))
    most = TILES if spread is Spread.PIXEL_TILES or sharing is Sharing.SPLIT else TILES * config.clusters
    pixels = PIXELS
    if is_open:
        pixels = config.columns
        most = most if sharing is Sharing.SPLIT else 1 if spread is Spread.PIXEL_TILES else config.clusters
    return {
        "kind": ExecuteKind.PRODUCT,
        "sharing": sharing,
        "spread": spread,
        "row_tiles": rng.randint(1, min(most, PARTS)),
        "pixels": rng.choice((pixels, rng.randint(1, pixels))),
        "run_base": 1 if sharing is Sharing.SPLIT else 0,
    }


def random_program(config: Config, seed: int, number: int) -> ClusterProgram:
    """Return a program of ``number`` EXECUTEs without waits among them.

    Parameters
    ----------
    config : Config
        The machine; groups of 4.
    seed : int
        Seed of everything.
    number : int
        Products, maxima, and sums that go on in the next command.
    """
    rng, numpy_rng = random.Random(seed), np.random.default_rng(seed)
    span = PIXELS * PARTS * config.tile_words
    constants = bytearray()
    commands: Commands = []
    places: dict[tuple[LoadTarget, int], int] = {}
    bases = {LoadTarget.STEPS: 7, LoadTarget.COUNTS: 2, LoadTarget.ENTRIES: 5, LoadTarget.CHANNELS: config.rows}

    def load_constant(target: LoadTarget, data: bytes, destination: int, **clusters: int) -> None:
        places[target, clusters.get("cluster", 0)] = len(constants)
        place = {"offset": len(constants), "row_bytes": len(data), "rows": 1, "destination": destination}
        commands.append(blank(Opcode.LOAD, target=target, window=MemoryWindow.PROGRAM, **place, **clusters))
        constants.extend(data + bytes(-len(data) % 64))

    # What all take, then what each takes beside: the last one's stays.
    for target, data in lists(numpy_rng, config).items():
        load_constant(target, data, bases[target], all_clusters=1)
    for cluster in rng.sample(range(config.clusters), rng.randint(config.clusters - 1, config.clusters)):
        for target, data in lists(numpy_rng, config).items():
            load_constant(target, data, bases[target], cluster=cluster)
    one = {"dy": 0, "dx": 0, "pixels": 0, "words_minus_1": WORDS - 1, "last": 1}
    runs = [RUN.pack(**one, plane=part * WORDS * PIXELS) for part in (0, *range(PARTS))]
    load_constant(LoadTarget.RUNS, np.array(runs, "<u8").tobytes(), 0)
    planes = PARTS * WORDS
    image = numpy_rng.integers(-128, 128, (1, 1, PIXELS, planes * config.group_size), dtype=np.int8)
    stride = -(-PIXELS * config.group_size // 64) * 64
    source = {"row_bytes": PIXELS * config.group_size, "rows": planes, "row_stride": stride, "destination_stride": PIXELS}
    commands.append(blank(Opcode.LOAD, target=LoadTarget.ACTIVATIONS, window=MemoryWindow.INPUT, **source))

    walk = {"width": PIXELS, "lane_dx": 1, "lane_dq": 1, "input_height": 1, "input_width": PIXELS}
    walk |= dict.fromkeys(("tile_columns", "tile_dx", "tile_dq"), config.columns) | {"wrap_dx": -PIXELS, "wrap_dy": 1}
    walk |= {"input_ring": PIXELS, "input_pitch": PIXELS, "part_stride": WORDS * PIXELS}
    blocks = {"block_tiles": 1, "block_groups_log2": 1, "block_columns": 3, "tail_groups": 1, "window_words": WORDS}
    blocks |= {f"{name}_base": bases[target] for name, target in zip(("step", "count", "entry", "channel"), bases, strict=True)}
    common = {"wait_load": len(commands), **walk, **blocks, "clamp_min": -128, "clamp_max": 127, "pad": 9}

    chosen: Commands = []
    while len(chosen) < number:
        place = {"output_base": FIRST + len(chosen) * span, "output_ring": PIXELS, "output_pitch": PIXELS}
        place |= {"output_tile_dq": config.columns, "output_tile_stride": PIXELS * config.tile_words}
        place |= {"zero_point": rng.randint(-9, 9)}
        kind = rng.choice(("product", "product", "product", "sum", "max", "open"))
        if kind == "max":
            tiles = rng.randint(1, PARTS)
            what = {"kind": ExecuteKind.MAX, "sharing": Sharing.GROUPED, "row_tiles": tiles, "output_words": tiles, "pixels": PIXELS}
            chosen.append(blank(Opcode.EXECUTE, **common, **place, **what))
            continue
        if kind == "open":
            first = random_product(rng, config, is_open=True)
            chosen.append(blank(Opcode.EXECUTE, **common, **place, **first, open=1))
        what = random_product(rng, config)
        tiles = 1 if what["sharing"] is Sharing.SPLIT else what["row_tiles"]
        words = tiles * config.tile_words
        what["output_words"] = rng.choice((words, rng.randint(1, words)))
        # What is added are the results of a command before, which has written as much.
        before = [one for _, one in chosen if one["pixels"] >= what["pixels"] and one["output_words"] >= what["output_words"]]
        if kind == "sum" and before:
            added = rng.choice(before)["output_base"]
            what |= {"residual": 1, "residual_base": added, "residual_ring": PIXELS, "residual_pitch": PIXELS}
            what |= {"residual_tile_stride": PIXELS * config.tile_words, "result_multiplier": 3, "residual_multiplier": 2}
            what |= {"sum_shift": 2, "sum_clamp_min": -120, "sum_clamp_max": 120}
        chosen.append(blank(Opcode.EXECUTE, **common, **place, **what))

    row_bytes = config.group_size * span * len(chosen)
    ends = {"window": MemoryWindow.OUTPUT, "rows": 1, "row_bytes": row_bytes, "source": FIRST, "wait_execute": len(chosen)}
    commands += [*chosen, blank(Opcode.STORE, **ends), blank(Opcode.END, wait_store=1)]
    size = sum(COMMAND_WORDS[opcode].num_bytes for opcode, _ in commands)
    begin = -(-size // 64) * 64
    for opcode, fields in commands:
        if opcode is Opcode.LOAD and fields["window"] == MemoryWindow.PROGRAM:
            fields["offset"] += begin
    words_of = (pack(opcode, fields) for opcode, fields in commands)

    def tensor(name: str, shape: tuple[int, ...], stride: int) -> TensorDescriptor:
        return TensorDescriptor(
            name=name, shape=shape, scale=1.0, zero_point=0, layout=Layout.PLANES, group_size=config.group_size, stride=stride
        )

    program = make_program(
        b"".join(words_of),
        constants=bytes(constants),
        config=config,
        inputs=(tensor("image", image.shape, stride),),
        outputs=(tensor("words", (1, 1, span * len(chosen), config.group_size), row_bytes),),
        command_layers=(),
    )
    return ClusterProgram(program, image, commands, {key: begin + place for key, place in places.items()})
