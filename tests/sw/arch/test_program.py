"""Program files: what is saved is loaded, and nothing else is."""

import dataclasses
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.sw.arch.matrices import PROPERTY
from tests.sw.arch.programs import TINY, end, load, make_program, tensor

from crisp.arch import Config, Layout, MemoryWindow, Opcode, Program, ProgramError
from crisp.arch.program import HEAD_BYTES, PROGRAM_HEADER, PROGRAM_SECTION, Section

PROGRAM = make_program()
DATA = PROGRAM.to_bytes()


def raises(message: str):
    """Expect a `ProgramError` with exactly this message."""
    return pytest.raises(ProgramError, match=f"^{re.escape(message)}$")


def test_load_inverts_save(tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.crisp"
    PROGRAM.save(path)
    assert Program.load(path) == PROGRAM
    assert path.read_bytes() == DATA
    assert [file.name for file in path.parent.iterdir()] == ["small.crisp"]


def test_a_program_has_one_file() -> None:
    assert Program.from_bytes(DATA) == PROGRAM
    assert Program.from_bytes(DATA).to_bytes() == DATA


def test_saving_what_is_wrong_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "small.crisp"
    PROGRAM.save(path)
    with raises("COMMANDS: END must be the last command, but 32 bytes follow it; compile it again"):
        make_program(end() + end()).save(path)
    assert path.read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["small.crisp"]


def test_windows() -> None:
    sizes = PROGRAM.window_bytes
    assert PROGRAM.constants_offset == 320
    assert sizes == {MemoryWindow.PROGRAM: 640, MemoryWindow.SCRATCH: 1024, MemoryWindow.INPUT: 320, MemoryWindow.OUTPUT: 320}
    window = PROGRAM.program_window()
    assert window.nbytes == 640
    assert window[:288].tobytes() == PROGRAM.commands
    assert window[320:584].tobytes() == PROGRAM.constants
    assert not window[584:].any()


def test_inputs_and_outputs_lie_in_their_windows() -> None:
    program = make_program(
        end(),
        inputs=(tensor("a"), tensor("b", layout=Layout.ROWS, stride=44, offset=320)),
        outputs=(tensor("a"), tensor("b", layout=Layout.ROWS, stride=44, offset=320)),
    )
    program.check()
    rng = np.random.default_rng(3)
    arrays = {name: rng.integers(-128, 128, (1, 5, 7, 6), dtype=np.int8) for name in "ab"}
    window = program.input_window(arrays)
    assert window.nbytes == program.window_bytes[MemoryWindow.INPUT] == 576
    outputs = program.read_outputs(window)
    assert all((outputs[name] == arrays[name]).all() for name in "ab")
    with raises("small: inputs must be a, b, not a"):
        program.input_window({"a": arrays["a"]})


def test_layers_of_commands() -> None:
    assert [layer.name for layer in map(PROGRAM.layer_of, range(6)) if layer] == ["conv"] * 4 + ["output"] * 2
    assert PROGRAM.layer_of(6) is PROGRAM.layer_of(-1) is None
    assert [command.opcode for command in PROGRAM.decode()] == [Opcode.LOAD] * 3 + [Opcode.EXECUTE, Opcode.STORE, Opcode.END]


# ------------------------------------------------------------------------------------------------------------------------------
# Damage


@pytest.mark.parametrize("first", range(0, len(DATA), 256))
def test_every_flipped_bit_is_found(first: int) -> None:
    for position in range(first, min(first + 256, len(DATA))):
        for bit in range(8):
            damaged = bytearray(DATA)
            damaged[position] ^= 1 << bit
            with pytest.raises(ProgramError, match=r"^(header|META|COMMANDS|CONSTANTS): "):
                Program.from_bytes(bytes(damaged))


def test_every_length_but_one_is_refused() -> None:
    for length in range(len(DATA)):
        with pytest.raises(ProgramError, match=r"^header: "):
            Program.from_bytes(DATA[:length])
    with raises(f"header: the file must have {len(DATA)} bytes, not {len(DATA) + 1}; it is cut off: copy it again"):
        Program.from_bytes(DATA + b"\0")


@PROPERTY
@given(st.binary(max_size=400))
@example(DATA[:8])
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ProgramError):
        Program.from_bytes(data)
    with pytest.raises(ProgramError):
        Program.from_bytes(DATA[:8] + data)


# ------------------------------------------------------------------------------------------------------------------------------
# Files with right checksums and wrong content


def forge(sections: dict[Section, bytes] | None = None, table: dict[int, dict[str, int]] | None = None, **header: int) -> bytes:
    """Return a file with some sections, some fields of the table's entries and of the header replaced; checksums are right."""
    entries, body = [], b""
    found = {}
    for number, kind in enumerate(Section):
        begin = PROGRAM_HEADER.num_bytes + number * PROGRAM_SECTION.num_bytes
        entry = PROGRAM_SECTION.unpack(int.from_bytes(DATA[begin : begin + PROGRAM_SECTION.num_bytes], "little"))
        found[kind] = DATA[entry["offset"] : entry["offset"] + entry["length"]]
    for number, (kind, data) in enumerate({**found, **(sections or {})}.items()):
        body += bytes(-(HEAD_BYTES + len(body)) % 64)
        entry = {"kind": kind, "crc": zlib.crc32(data), "offset": HEAD_BYTES + len(body), "length": len(data)}
        entries.append(PROGRAM_SECTION.pack(**{**entry, **(table or {}).get(number, {})}).to_bytes(PROGRAM_SECTION.num_bytes, "little"))
        body += data
    fields = {
        "magic": int.from_bytes(DATA[:8], "little"),
        "version": 2,
        "sections": 3,
        "digest": TINY.digest,
        "file_bytes": HEAD_BYTES + len(body),
        **header,
    }
    head = PROGRAM_HEADER.pack(**fields, crc=0).to_bytes(64, "little")
    crc = zlib.crc32(head + b"".join(entries))
    return PROGRAM_HEADER.pack(**fields, crc=crc).to_bytes(64, "little") + b"".join(entries) + body


def meta(**changes: object) -> dict[Section, bytes]:
    """Return META with some values replaced; `...` leaves one out."""
    values = {**json.loads(DATA[HEAD_BYTES + 32 :].split(b"\0")[0]), **changes}
    return {Section.META: json.dumps({name: value for name, value in values.items() if value is not ...}).encode()}


def described(**changes: object) -> dict[Section, bytes]:
    """Return META with some values of the input's descriptor replaced."""
    (values,) = json.loads(meta()[Section.META])["inputs"]
    return meta(inputs=[{**values, **changes}])


def test_forging_nothing_changes_nothing() -> None:
    assert forge() == DATA
    assert Program.from_bytes(forge(meta())) == PROGRAM


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"header: must begin with b'\x89CRISP\r\n', not b''; this is no .crisp file, or was moved as text"),
        (DATA.replace(b"\r\n", b"\n"), "header: must begin with"),
        (DATA[:100], "header: must have 160 bytes with its table, not 100; the file is cut off: copy it again"),
        (forge(version=1), "header: version must be 2, not 1; compile the network with this version of crisp"),
        (forge(file_bytes=1), f"header: the file must have 1 bytes, not {len(DATA)}; it is cut off: copy it again"),
        (forge(digest=1), f"META: digest of config must be the header's, 0x00000001, not {TINY.digest:#010x}; compile it again"),
        (forge(table={0: {"kind": 2}}), "header: section 0 must be META, 1, not 2; compile it again"),
        (forge(table={0: {"offset": 224}}), "header: META must begin at byte 192, not 224; compile it again"),
        (forge(table={1: {"offset": 0}}), "header: COMMANDS must begin at byte"),
        (forge(table={0: {"length": 1 << 40}}), "header: META must not exceed 67108864 bytes, not 1099511627776; compile it again"),
        (forge(table={2: {"length": 1 << 30}}), "header: the last section must end the file at byte"),
        (forge({Section.META: b"{"}), "META: must be JSON:"),
        (forge({Section.META: b"[" * 100_000}), "META: must be JSON:"),
        (forge({Section.META: b"9" * 10_000}), "META: must be JSON:"),
        (forge({Section.META: b"\xff"}), "META: must be JSON:"),
        (forge({Section.META: b"[]"}), "META: must be an object, not list; compile it again"),
        (forge(meta(network=...)), "META: must have command_layers, config, info, inputs, layers, network, "),
        (forge(meta(more=1)), "META: must have command_layers, config, info, inputs, layers, network, "),
        (forge(meta(network=5)), "META: network must be str, not 5; compile it again"),
        (forge(meta(scratch_bytes=True)), "META: scratch_bytes must be int, not True; compile it again"),
        (forge(meta(scratch_bytes=-1)), "META: scratch_bytes must not be negative, not -1; compile it again"),
        (forge(meta(scratch_bytes=1 << 33)), "META: window SCRATCH must not exceed 2^32 bytes, not 8589934592; compile for fewer images"),
        (forge(meta(info=float("nan"))), "META: must be JSON: NaN is no JSON"),
        (forge(meta(config={})), "META: config: must have activation_buffer_depth, "),
        (
            forge(meta(config={**dataclasses.asdict(TINY), "rows": 3})),
            "META: config: rows must be a power of two, so that it divides every block size, not 3; compile it again",
        ),
        (forge(meta(config=dataclasses.asdict(Config.preset("default")))), "META: digest of config must be the header's, "),
        (forge(meta(layers=[1])), "META: layers: must be an object, not int; compile it again"),
        (forge(meta(command_layers=["a"])), "META: command_layers must be integers, not 'a'; compile it again"),
        (forge(meta(command_layers=[0])), "META: command_layers must have one layer for each of 6 commands, not 1; compile it again"),
        (forge(meta(command_layers=[0, 0, 0, 0, 0, 2])), "META: command_layers must be below 2, the number of layers, not 2"),
        (forge(described(shape=[1, 5, 7])), "META: inputs: image: shape must be four positive integers"),
        (forge(described(shape=["1", 5, 7, 6])), "META: inputs: image: shape must be four positive integers"),
        (forge(described(scale="1")), "META: inputs: scale must be float, not '1'; compile it again"),
        (forge(described(scale=10**400)), "META: inputs: scale must be float, not 1000"),
        (forge(described(layout="heap")), "META: inputs: layout must be one of planes, rows, not 'heap'; compile it again"),
        (forge(described(group_size=2)), "META: inputs: image: group_size must be the machine's, 4, not 2; compile it again"),
        (
            forge(described(stride=142)),
            "META: inputs: image: stride must be a multiple of the bus width, 4 bytes, not 142; compile it again",
        ),
        (forge({Section.COMMANDS: load()}), "COMMANDS: the last command must be END, but the section ends after command 0;"),
        (forge({Section.COMMANDS: load(offset=1 << 20) + end()}), "COMMANDS: command 0 (LOAD): rows = 1: WINDOW_RANGE: "),
        (forge({Section.CONSTANTS: b""}), "COMMANDS: command 0 (LOAD): rows = 1: WINDOW_RANGE: "),
    ],
)
def test_forged_file(data: bytes, message: str) -> None:
    with pytest.raises(ProgramError, match=f"^{re.escape(message)}"):
        Program.from_bytes(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """List the paths to all parts of a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in inside for found in places(part, (*path, key)))]


@settings(PROPERTY, max_examples=600)
@given(st.data())
def test_any_meta_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever stands where in META, a program results that is saved as it was read, or the error is typed."""
    values = json.loads(meta()[Section.META])
    path = data.draw(st.sampled_from(places(values)[1:]))
    part = values
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = data.draw(JSON)
    forged = forge({Section.META: json.dumps(values).encode()})
    try:
        program = Program.from_bytes(forged)
    except ProgramError:
        return
    assert Program.from_bytes(program.to_bytes()) == program


def test_tensors_of_a_window_must_not_meet() -> None:
    inputs = (tensor("a"), tensor("b", offset=284))
    with raises("META: inputs: b: offset must be at least 288, where the tensor before ends, not 284; compile it again"):
        make_program(inputs=inputs).check()
    with raises("META: inputs must have names that differ, not a, a"):
        make_program(inputs=(tensor("a"), tensor("a", offset=288))).check()


def test_info_must_be_json() -> None:
    with pytest.raises(ProgramError, match=r"^META: info must be plain values, as JSON has them: "):
        make_program(info={"seed": object()}).to_bytes()


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.crisp"
    with raises(f"{path}: must be a program file that can be read: No such file or directory; compile a network first"):
        Program.load(path)
    path.write_bytes(DATA[:-1])
    with raises(f"{path}: header: the file must have {len(DATA)} bytes, not {len(DATA) - 1}; it is cut off: copy it again"):
        Program.load(path)
    with raises(f"{tmp_path}: must be a program file that can be read: Is a directory; compile a network first"):
        Program.load(tmp_path)
