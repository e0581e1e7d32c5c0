"""A small program that is right in every way, for tests that break it."""

import numpy as np

from crisp.arch import (
    END,
    EXECUTE,
    LOAD,
    STORE,
    Config,
    LayerInfo,
    Layout,
    LoadTarget,
    MemoryWindow,
    Opcode,
    Program,
    TensorDescriptor,
    Word,
)

TINY = Config.preset("tiny")


def encode(word: Word, opcode: Opcode, **fields: int) -> bytes:
    """Encode a command; what is not given is 0."""
    values = {field.name: 0 for field in word.fields}
    return word.pack(**{**values, "opcode": opcode, **fields}).to_bytes(word.num_bytes, "little")


def load(**fields: int) -> bytes:
    """Encode a LOAD of one row of 16 bytes."""
    return encode(LOAD, Opcode.LOAD, **{"rows": 1, "row_bytes": 16, "row_stride": 16, **fields})


def store(**fields: int) -> bytes:
    """Encode a STORE of one row of 16 bytes."""
    return encode(STORE, Opcode.STORE, **{"window": MemoryWindow.OUTPUT, "rows": 1, "row_bytes": 16, "row_stride": 16, **fields})


def execute(**fields: int) -> bytes:
    """Encode an EXECUTE."""
    return encode(EXECUTE, Opcode.EXECUTE, **fields)


def end(**fields: int) -> bytes:
    """Encode END."""
    return encode(END, Opcode.END, **fields)


def tensor(name: str, **fields: object) -> TensorDescriptor:
    """Describe a tensor of 1 x 5 x 7 x 6, as planes of 35 words of 4 bytes."""
    defaults = {"shape": (1, 5, 7, 6), "scale": 0.5, "zero_point": 3, "layout": Layout.PLANES, "group_size": 4, "stride": 144}
    return TensorDescriptor(name=name, **{**defaults, **fields})  # type: ignore[arg-type]


def make_program(commands: bytes | None = None, **fields: object) -> Program:
    """Make a program of six commands, or with others, or with other fields."""
    constants = np.random.default_rng(1).integers(0, 256, 100, dtype=np.uint8).tobytes()
    if commands is None:
        commands = b"".join((
            load(window=MemoryWindow.PROGRAM, target=LoadTarget.TABLE, offset=320),
            load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS, rows=2, row_bytes=140, row_stride=144),
            execute(wait_load=2),
            store(wait_execute=1, rows=2, row_bytes=140, row_stride=144),
            end(wait_store=1),
        ))  # fmt: skip
        fields = {"command_layers": (0, 0, 0, 1, 1), **fields}
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
