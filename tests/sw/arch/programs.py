"""A small program that is right in every way, for tests that run it and that break it."""

import numpy as np

from crisp.arch import (
    END,
    EXECUTE,
    LOAD,
    RUN,
    STORE,
    Config,
    ExecuteKind,
    LayerInfo,
    Layout,
    LoadTarget,
    MemoryWindow,
    Opcode,
    Program,
    Sharing,
    TensorDescriptor,
    Word,
)

TINY = Config.preset("tiny")

#: What the program makes of -128, -127, ..., 127.
TABLE = np.random.default_rng(1).integers(-128, 128, 256, dtype=np.int8)

#: Planes of a tensor that `tensor` describes, in memory.
PLANES = {"rows": 2, "row_bytes": 140, "row_stride": 144}


def encode(word: Word, opcode: Opcode, **fields: int) -> bytes:
    """Encode a command; what is not given is 0."""
    values = {field.name: 0 for field in word.fields}
    return word.pack(**{**values, "opcode": opcode, **fields}).to_bytes(word.num_bytes, "little")


def load(**fields: int) -> bytes:
    """Encode a LOAD of one row of 16 bytes, of words RUN."""
    return encode(LOAD, Opcode.LOAD, **{"target": LoadTarget.RUNS, "rows": 1, "row_bytes": 16, "row_stride": 16, **fields})


def store(**fields: int) -> bytes:
    """Encode a STORE of one row of 16 bytes."""
    return encode(STORE, Opcode.STORE, **{"window": MemoryWindow.OUTPUT, "rows": 1, "row_bytes": 16, "row_stride": 16, **fields})


def execute(**fields: int) -> bytes:
    """Encode an EXECUTE."""
    return encode(EXECUTE, Opcode.EXECUTE, **fields)


def copy(**fields: int) -> bytes:
    """Encode an EXECUTE that looks two planes of 35 words up in the table, from word 0 to word 100 on."""
    walk = {"width": 7, "tile_columns": 4, "lane_dx": 1, "tile_dx": 4, "wrap_dx": -7, "wrap_dy": 1, "lane_dq": 1, "tile_dq": 4}
    source = {"input_height": 5, "input_width": 7, "input_ring": 35, "input_pitch": 40, "part_stride": 40}
    result = {"output_base": 100, "output_ring": 35, "output_tile_dq": 4, "output_tile_stride": 40, "output_words": 2}
    what = {"kind": ExecuteKind.MAX, "sharing": Sharing.GROUPED, "table": 1, "row_tiles": 2, "pixels": 35, "window_words": 1}
    return execute(**{**what, **walk, **source, **result, **fields})


def end(**fields: int) -> bytes:
    """Encode END."""
    return encode(END, Opcode.END, **fields)


def tensor(name: str, **fields: object) -> TensorDescriptor:
    """Describe a tensor of 1 x 5 x 7 x 6, as planes of 35 words of 4 bytes."""
    defaults = {"shape": (1, 5, 7, 6), "scale": 0.5, "zero_point": 3, "layout": Layout.PLANES, "group_size": 4, "stride": 144}
    return TensorDescriptor(name=name, **{**defaults, **fields})  # type: ignore[arg-type]


def make_program(commands: bytes | None = None, **fields: object) -> Program:
    """Make a program of six commands that looks its input up in `TABLE`, or with others, or with other fields."""
    run = RUN.pack(dy=0, dx=0, pixels=0, plane=0, words_minus_1=0, last=1).to_bytes(RUN.num_bytes, "little")
    constants = TABLE.tobytes() + run
    if commands is None:
        commands = b"".join((
            load(window=MemoryWindow.PROGRAM, target=LoadTarget.TABLE, offset=320, row_bytes=256),
            load(window=MemoryWindow.PROGRAM, target=LoadTarget.RUNS, offset=576, row_bytes=8),
            load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS, destination_stride=40, **PLANES),
            copy(wait_load=3),
            store(wait_execute=1, source=100, source_stride=40, **PLANES),
            end(wait_store=1),
        ))  # fmt: skip
        fields = {"command_layers": (0, 0, 0, 0, 1, 1), **fields}
    defaults = {
        "network": "small",
        "config": TINY,
        "commands": commands,
        "constants": constants,
        "inputs": (tensor("image"),),
        "outputs": (tensor("result"),),
        "scratch_bytes": 1000,
        "layers": (LayerInfo(name="conv", operation="conv 3x3", macs=1000, predicted_cycles=77), LayerInfo(name="output")),
        "info": {"seed": 1, "note": "größer"},
    }
    return Program(**{**defaults, **fields})  # type: ignore[arg-type]
