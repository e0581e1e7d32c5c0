"""Program files, ``.crisp``: everything that the machine runs a network with, checked before it is believed.

A file is a header, a table of sections, and the sections, each at the next multiple of 64 bytes. Nothing is left to choose: for
given content there is one file, and every bit of it is either checked by a CRC-32 or must have one value.
"""

import dataclasses
import enum
import json
import math
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from .command_stream import Command, check_commands, decode_commands
from .commands import MemoryWindow
from .config import Config
from .errors import ConfigError, ProgramError
from .fields import Field, Word
from .files import replacing
from .tensor import Layout, TensorDescriptor

__all__ = ["PROGRAM_HEADER", "PROGRAM_SECTION", "LayerInfo", "Program", "Section"]

#: First bytes of a file. The first is no text, and line ends show whether something has translated them.
MAGIC = b"\x89CRISP\r\n"

#: Raised whenever older readers would misread a file.
VERSION = 2

#: Sections, and windows, begin at and are filled to multiples of this.
ALIGNMENT = 64

#: Byte offsets in a window have 32 bits.
MAX_WINDOW_BYTES = 1 << 32

#: A description is text about each layer and command.
MAX_META_BYTES = 64 << 20

PROGRAM_HEADER = Word(
    "program header",
    512,
    (
        Field("magic", 64, "The bytes 89 43 52 49 53 50 0d 0a."),
        Field("version", 16, f"Version of the format, {VERSION}."),
        Field("sections", 16, "Sections of the table, 3."),
        Field("digest", 32, "`Config.digest` of the machine that the program is for."),
        Field("file_bytes", 64, "Bytes of the whole file."),
        Field("crc", 32, "CRC-32 of header, with 0 in this place, and table."),
    ),
    "First bytes of a `.crisp` file.",
)

PROGRAM_SECTION = Word(
    "program section",
    256,
    (
        Field("kind", 32, "1: META, 2: COMMANDS, 3: CONSTANTS; in this order."),
        Field("crc", 32, "CRC-32 of the section's bytes."),
        Field(
            "offset", 64, "First byte of the section in the file: the next multiple of 64 behind what stands before, with zeros between."
        ),
        Field("length", 64, "Bytes of the section."),
    ),
    "One a section, right behind the header.",
)


class Section(enum.IntEnum):
    """Part of a program file."""

    META = 1  #: JSON: names, tensors, configuration.
    COMMANDS = 2  #: Words of ``commands``.
    CONSTANTS = 3  #: What LOADs of the window PROGRAM read: weights, channels, runs, tables.


HEAD_BYTES = PROGRAM_HEADER.num_bytes + len(Section) * PROGRAM_SECTION.num_bytes


def align(position: int) -> int:
    """Return the next multiple of `ALIGNMENT`."""
    return -(-position // ALIGNMENT) * ALIGNMENT


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerInfo:
    """What reports say of a layer.

    Parameters
    ----------
    name : str
        Name.
    operation : str
        What it computes, such as ``conv 3x3``.
    macs : int
        Products that the dense layer would take.
    predicted_cycles : int
        Cycles that the compiler expects.
    """

    name: str
    operation: str = ""
    macs: int = 0
    predicted_cycles: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled network.

    Parameters
    ----------
    network : str
        Name of the network.
    config : Config
        Machine that it is for.
    commands : bytes
        Commands, END last.
    constants : bytes
        What commands load from the window PROGRAM, where it begins at `constants_offset`.
    inputs, outputs : tuple of TensorDescriptor
        Tensors in the windows INPUT and OUTPUT.
    scratch_bytes : int
        Bytes of the window SCRATCH.
    layers : tuple of LayerInfo
        The network's layers.
    command_layers : tuple of int
        For each command the number of the layer that it serves.
    info : mapping
        Anything else that is worth keeping, such as seeds, as JSON has it.
    """

    network: str
    config: Config
    commands: bytes
    constants: bytes
    inputs: tuple[TensorDescriptor, ...]
    outputs: tuple[TensorDescriptor, ...]
    scratch_bytes: int = 0
    layers: tuple[LayerInfo, ...] = ()
    command_layers: tuple[int, ...] = ()
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def constants_offset(self) -> int:
        """Byte of the window PROGRAM at which the constants begin: LOAD offsets count from the window's begin."""
        return align(len(self.commands))

    @property
    def window_bytes(self) -> dict[MemoryWindow, int]:
        """Bytes of each memory window, whole multiples of 64."""
        return {
            MemoryWindow.PROGRAM: align(self.constants_offset + len(self.constants)),
            MemoryWindow.SCRATCH: align(self.scratch_bytes),
            MemoryWindow.INPUT: align(max((tensor.end for tensor in self.inputs), default=0)),
            MemoryWindow.OUTPUT: align(max((tensor.end for tensor in self.outputs), default=0)),
        }

    def program_window(self) -> np.ndarray:
        """Return the bytes of the window PROGRAM, ``uint8``."""
        window = np.zeros(self.window_bytes[MemoryWindow.PROGRAM], np.uint8)
        window[: len(self.commands)] = np.frombuffer(self.commands, np.uint8)
        window[self.constants_offset :][: len(self.constants)] = np.frombuffer(self.constants, np.uint8)
        return window

    def input_window(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Lay ``int8`` tensors by name out as the window INPUT, ``uint8``.

        Raises
        ------
        ProgramError
            When one is missing, unknown, or of another shape or type.
        """
        names = [tensor.name for tensor in self.inputs]
        if sorted(inputs) != sorted(names):
            raise ProgramError(f"{self.network}: inputs must be {', '.join(names)}, not {', '.join(inputs) or 'none'}")
        window = np.zeros(self.window_bytes[MemoryWindow.INPUT], np.uint8)
        for tensor in self.inputs:
            tensor.write(inputs[tensor.name], window)
        return window

    def read_outputs(self, window: np.ndarray) -> dict[str, np.ndarray]:
        """Return the tensors, ``int8``, that lie in the window OUTPUT, by name."""
        return {tensor.name: tensor.read(window) for tensor in self.outputs}

    def decode(self) -> list[Command]:
        """Return the commands."""
        return list(decode_commands(self.commands))

    def layer_of(self, index: int) -> LayerInfo | None:
        """Return the layer that command ``index`` serves, None where nothing is known of it."""
        if not 0 <= index < len(self.command_layers):
            return None
        return self.layers[self.command_layers[index]]

    def check(self) -> None:
        """Raise unless everything agrees with everything else.

        Raises
        ------
        ProgramError
            Names the section, the rule and the value.
        """
        for window, size in self.window_bytes.items():
            if size > MAX_WINDOW_BYTES:
                raise ProgramError(f"META: window {window.name} must not exceed 2^32 bytes, not {size}; compile for fewer images")
        if self.scratch_bytes < 0:
            raise ProgramError(f"META: scratch_bytes must not be negative, not {self.scratch_bytes}; compile it again")
        for place, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            check_tensors(place, tensors, self.config)
        commands = check_commands(self.commands, self.config, self.window_bytes)
        if self.command_layers and len(self.command_layers) != len(commands):
            raise ProgramError(
                f"META: command_layers must have one layer for each of {len(commands)} commands, not {len(self.command_layers)}; "
                "compile it again"
            )
        for layer in self.command_layers:
            if not 0 <= layer < len(self.layers):
                raise ProgramError(f"META: command_layers must be below {len(self.layers)}, the number of layers, not {layer}")

    def to_bytes(self) -> bytes:
        """Return the file.

        Raises
        ------
        ProgramError
            From `check`; or when ``info`` is nothing that JSON can hold.
        """
        self.check()
        sections = {Section.META: write_meta(self), Section.COMMANDS: self.commands, Section.CONSTANTS: self.constants}
        table, body = [], bytearray()
        for kind, data in sections.items():
            body += bytes(align(HEAD_BYTES + len(body)) - HEAD_BYTES - len(body))
            table.append(
                PROGRAM_SECTION.pack(kind=kind, crc=zlib.crc32(data), offset=HEAD_BYTES + len(body), length=len(data)).to_bytes(
                    PROGRAM_SECTION.num_bytes, "little"
                )
            )
            body += data
        fields = {
            "magic": int.from_bytes(MAGIC, "little"),
            "version": VERSION,
            "sections": len(sections),
            "digest": self.config.digest,
            "file_bytes": HEAD_BYTES + len(body),
        }
        size = PROGRAM_HEADER.num_bytes
        crc = zlib.crc32(PROGRAM_HEADER.pack(**fields, crc=0).to_bytes(size, "little") + b"".join(table))
        return b"".join([PROGRAM_HEADER.pack(**fields, crc=crc).to_bytes(size, "little"), *table, bytes(body)])

    def save(self, path: Path) -> None:
        """Write the file ``path`` by way of a temporary one; its folder is made.

        Raises
        ------
        ProgramError
            As `to_bytes`, or when the file cannot be written.
        """
        data = self.to_bytes()
        with replacing(path, ProgramError) as temporary:
            temporary.write_bytes(data)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check the file ``path``.

        Raises
        ------
        ProgramError
            Names file, section, rule, value and what to do.
        """
        try:
            with path.open("rb") as file:
                head = file.read(HEAD_BYTES)
                table = read_head(head, os.fstat(file.fileno()).st_size)
                return cls._from_sections(head, table, file.read)
        except OSError as error:
            raise ProgramError(f"{path}: must be a program file that can be read: {error.strerror}; compile a network first") from error
        except ProgramError as error:
            raise ProgramError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read and check what `to_bytes` returned.

        Raises
        ------
        ProgramError
            As `load`.
        """
        head = data[:HEAD_BYTES]
        table = read_head(head, len(data))
        position = HEAD_BYTES

        def read(size: int) -> bytes:
            nonlocal position
            position += size
            return data[position - size : position]

        return cls._from_sections(head, table, read)

    @classmethod
    def _from_sections(cls, head: bytes, table: Mapping[Section, tuple[int, int]], read: Callable[[int], bytes]) -> Self:
        """Read the sections that a checked table promises, in their order, each checked before the next is read."""
        digest = PROGRAM_HEADER.unpack(int.from_bytes(head[: PROGRAM_HEADER.num_bytes], "little"))["digest"]
        sections: dict[Section, bytes] = {}
        meta: dict[str, Any] = {}
        position = HEAD_BYTES
        for kind, (length, crc) in table.items():
            gap = read(align(position) - position)
            data = read(length)
            if any(gap):
                raise ProgramError(f"{kind.name}: bytes before it must be 0, not {gap.hex(' ')}; the file is damaged: compile it again")
            if len(data) != length or zlib.crc32(data) != crc:
                raise ProgramError(
                    f"{kind.name}: CRC-32 of its {length} bytes must be {crc:#010x}, not {zlib.crc32(data):#010x}; the file is damaged: "
                    "compile it again"
                )
            if kind is Section.META:
                meta = read_meta(data, digest)
            sections[kind] = data
            position = align(position) + length
        program = cls(**meta, commands=sections[Section.COMMANDS], constants=sections[Section.CONSTANTS])
        program.check()
        return program


def read_head(head: bytes, file_bytes: int) -> dict[Section, tuple[int, int]]:
    """Check header and table; return length and CRC-32 of each section.

    Raises
    ------
    ProgramError
        When anything but these numbers is not as it must be.
    """
    if head[: len(MAGIC)] != MAGIC:
        raise ProgramError(f"header: must begin with {MAGIC!r}, not {head[: len(MAGIC)]!r}; this is no .crisp file, or was moved as text")
    if len(head) < HEAD_BYTES:
        raise ProgramError(f"header: must have {HEAD_BYTES} bytes with its table, not {len(head)}; the file is cut off: copy it again")
    size = PROGRAM_HEADER.num_bytes
    word = int.from_bytes(head[:size], "little")
    version = word >> PROGRAM_HEADER.shift("version") & 0xFFFF
    if version != VERSION:
        raise ProgramError(f"header: version must be {VERSION}, not {version}; compile the network with this version of crisp")
    crc = word >> PROGRAM_HEADER.shift("crc") & 0xFFFF_FFFF
    found = zlib.crc32((word ^ crc << PROGRAM_HEADER.shift("crc")).to_bytes(size, "little") + head[size:])
    if crc != found:
        raise ProgramError(f"header: CRC-32 must be {crc:#010x}, not {found:#010x}; the file is damaged: compile it again")
    fields = PROGRAM_HEADER.unpack(word)
    if fields["sections"] != len(Section):
        raise ProgramError(f"header: sections must be {len(Section)}, not {fields['sections']}; compile it again")
    if fields["file_bytes"] != file_bytes:
        raise ProgramError(f"header: the file must have {fields['file_bytes']} bytes, not {file_bytes}; it is cut off: copy it again")
    limits = {Section.META: MAX_META_BYTES, Section.COMMANDS: MAX_WINDOW_BYTES, Section.CONSTANTS: MAX_WINDOW_BYTES}
    table = {}
    end = HEAD_BYTES
    for number, (kind, limit) in enumerate(limits.items()):
        begin = size + number * PROGRAM_SECTION.num_bytes
        entry = PROGRAM_SECTION.unpack(int.from_bytes(head[begin : begin + PROGRAM_SECTION.num_bytes], "little"))
        if entry["kind"] != kind:
            raise ProgramError(f"header: section {number} must be {kind.name}, {kind.value}, not {entry['kind']}; compile it again")
        if entry["offset"] != align(end):
            raise ProgramError(f"header: {kind.name} must begin at byte {align(end)}, not {entry['offset']}; compile it again")
        if entry["length"] > limit:
            raise ProgramError(f"header: {kind.name} must not exceed {limit} bytes, not {entry['length']}; compile it again")
        end = align(end) + entry["length"]
        table[kind] = (entry["length"], entry["crc"])
    if end != file_bytes:
        raise ProgramError(f"header: the last section must end the file at byte {file_bytes}, not {end}; compile it again")
    return table


def check_tensors(place: str, tensors: tuple[TensorDescriptor, ...], config: Config) -> None:
    """Raise unless tensors of a window are for this machine, aligned to its bus, and apart from each other."""
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ProgramError(f"META: {place} must have names that differ, not {', '.join(tensor.name for tensor in tensors)}")
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        where = f"META: {place}: {tensor.name}"
        if tensor.group_size != config.group_size:
            raise ProgramError(f"{where}: group_size must be the machine's, {config.group_size}, not {tensor.group_size}; compile it again")
        for name in ("stride", "offset"):
            if getattr(tensor, name) % config.beat_bytes:
                raise ProgramError(
                    f"{where}: {name} must be a multiple of the bus width, {config.beat_bytes} bytes, not {getattr(tensor, name)}; "
                    "compile it again"
                )
        if tensor.offset < end:
            raise ProgramError(
                f"{where}: offset must be at least {end}, where the tensor before ends, not {tensor.offset}; compile it again"
            )
        end = tensor.end


def write_meta(program: Program) -> bytes:
    """Return the section META."""
    values = {
        "network": program.network,
        "config": dataclasses.asdict(program.config),
        "inputs": [{**dataclasses.asdict(tensor), "layout": tensor.layout.value} for tensor in program.inputs],
        "outputs": [{**dataclasses.asdict(tensor), "layout": tensor.layout.value} for tensor in program.outputs],
        "scratch_bytes": program.scratch_bytes,
        "layers": [dataclasses.asdict(layer) for layer in program.layers],
        "command_layers": program.command_layers,
        "info": dict(program.info),
    }
    try:
        return json.dumps(values, sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ProgramError(f"META: info must be plain values, as JSON has them: {error}") from error


def read_meta(data: bytes, digest: int) -> dict[str, Any]:
    """Return the arguments of `Program` that a section META holds.

    Raises
    ------
    ProgramError
        When it is no JSON, a value is missing, unknown or of the wrong kind, or the configuration is not the header's.
    """
    try:
        values = json.loads(data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"META: must be JSON: {error}; the file is damaged: compile it again") from error
    meta = take(
        values,
        "META",
        network=str,
        config=dict,
        inputs=list,
        outputs=list,
        scratch_bytes=int,
        layers=list,
        command_layers=list,
        info=dict,
    )
    try:
        config = Config.from_dict(take(meta["config"], "META: config", **{field.name: int for field in dataclasses.fields(Config)}))
    except ConfigError as error:
        raise ProgramError(f"META: config: {error}; compile it again") from error
    if config.digest != digest:
        raise ProgramError(f"META: digest of config must be the header's, {digest:#010x}, not {config.digest:#010x}; compile it again")
    meta["config"] = config
    for place in ("inputs", "outputs"):
        meta[place] = tuple(read_tensor(tensor, f"META: {place}") for tensor in meta[place])
    layer_fields = {"name": str, "operation": str, "macs": int, "predicted_cycles": int}
    meta["layers"] = tuple(LayerInfo(**take(layer, "META: layers", **layer_fields)) for layer in meta["layers"])
    for layer in meta["command_layers"]:
        if type(layer) is not int:
            raise ProgramError(f"META: command_layers must be integers, not {layer!r}; compile it again")
    meta["command_layers"] = tuple(meta["command_layers"])
    return meta


def read_tensor(values: Any, place: str) -> TensorDescriptor:
    """Return the descriptor that a part of META holds."""
    integers = dict.fromkeys(("zero_point", "group_size", "stride", "offset", "interleave"), int)
    fields = take(values, place, name=str, shape=list, scale=float, layout=str, **integers)
    layouts = [layout.value for layout in Layout]
    if fields["layout"] not in layouts:
        raise ProgramError(f"{place}: layout must be one of {', '.join(layouts)}, not {fields['layout']!r}; compile it again")
    try:
        return TensorDescriptor(**{**fields, "layout": Layout(fields["layout"]), "shape": tuple(fields["shape"])})
    except ProgramError as error:
        raise ProgramError(f"{place}: {error}; compile it again") from error


def take(values: Any, place: str, **kinds: type) -> dict[str, Any]:
    """Return a JSON object's values when it has exactly these names, each of its type."""
    if not isinstance(values, dict):
        raise ProgramError(f"{place}: must be an object, not {type(values).__name__}; compile it again")
    if sorted(values) != sorted(kinds):
        raise ProgramError(f"{place}: must have {', '.join(sorted(kinds))}, not {', '.join(sorted(values)) or 'nothing'}; compile it again")
    for name, kind in kinds.items():
        value = values[name]
        # In JSON 1.0 may be written as 1; true is no number.
        if kind is float and type(value) is int and abs(value) < 1 << 53:
            value = values[name] = float(value)
        if type(value) is not kind:
            raise ProgramError(f"{place}: {name} must be {kind.__name__}, not {value!r:.80}; compile it again")
        if isinstance(value, float) and not math.isfinite(value):
            raise ProgramError(f"{place}: {name} must be finite, not {value}; compile it again")
    return values


def refuse_constant(name: str) -> None:
    """Refuse the NaN and Infinity that Python would read though JSON has none."""
    raise ValueError(f"{name} is no JSON")
