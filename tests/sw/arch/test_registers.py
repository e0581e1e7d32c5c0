"""The register file: one declaration, and what is written from it."""

import re
import subprocess

import pytest

from crisp.arch import REGISTERS, ErrorCode, FieldError, MemoryWindow, register
from crisp.arch.register_document import registers_header, registers_markdown
from crisp.arch.registers import (
    ACTIVITY_COUNTERS,
    ADDRESS_SPACE_BYTES,
    MAGIC,
    REGISTER_BYTES,
    Access,
    Register,
    RegisterField,
    wide_registers,
)


def test_offsets_are_ascending_words_of_the_address_space():
    offsets = [entry.offset for entry in REGISTERS]
    assert offsets == sorted(set(offsets))
    assert all(offset % REGISTER_BYTES == 0 and offset < ADDRESS_SPACE_BYTES for offset in offsets)


def test_names_are_unique():
    assert len({entry.name for entry in REGISTERS}) == len(REGISTERS)
    assert len(ErrorCode.__members__) == len(set(ErrorCode))


def test_magic_reads_as_text():
    assert MAGIC.to_bytes(4, "little") == b"CRSP"
    assert register("ID").reset == MAGIC


def test_wide_numbers_are_neighbours():
    for name in ("cycles", *(name for name, _ in ACTIVITY_COUNTERS), "bytes_read", "error_address"):
        low, high = wide_registers(name.upper())
        assert high.offset == low.offset + REGISTER_BYTES


def test_every_window_has_base_and_size():
    for window in MemoryWindow:
        address = 0x80_1234_5640
        low, high = wide_registers(f"{window.name}_BASE")
        (low_field,), (high_field,) = low.fields, high.fields
        assert address & 0xFFFF_FFFF & low_field.mask == address & 0xFFFF_FFFF
        assert high_field.extract(address >> 32) == 0x80
        assert register(f"{window.name}_SIZE").fields[0].access is Access.LOCKED


def test_pack_and_unpack():
    control = register("CONTROL")
    assert control.pack(soft_reset=1) == 2
    assert control.unpack(3) == {"start": 1, "soft_reset": 1}
    with pytest.raises(FieldError, match=r"^start must be in 0..1, not 2$"):
        control.pack(start=2)
    with pytest.raises(FieldError, match=r"^CONTROL has no field 'stop'$"):
        control.pack(stop=1)
    with pytest.raises(FieldError, match=r"^there is no register 'NOTHING'$"):
        register("NOTHING")


def test_overlapping_fields_are_refused():
    fields = (RegisterField("a", 2, ""), RegisterField("b", 1, "", low=1))
    with pytest.raises(FieldError, match=r"^X.b: bits must follow those before it within 32, but begin at 1$"):
        Register("X", 0, fields, "")


def test_page_lists_every_register_and_error():
    page = registers_markdown()
    for entry in REGISTERS:
        assert f"| `{entry.offset:#05x}` | `{entry.name}` |" in page
    for code in ErrorCode:
        assert f"| {code.value} | `{code.name}` | {code.doc} | {code.remedy} |" in page


def test_header_compiles_and_says_the_same(tmp_path):
    header = registers_header()
    (tmp_path / "crisp_registers.h").write_text(header)
    checks = [f'_Static_assert(CRISP_{entry.name} == {entry.offset}, "{entry.name}");' for entry in REGISTERS]
    checks += [f'_Static_assert(CRISP_ERROR_{code.name} == {code.value}, "{code.name}");' for code in ErrorCode]
    checks += ['_Static_assert(CRISP_CONTROL_SOFT_RESET_MASK == 2, "mask");']
    (tmp_path / "check.c").write_text('#include "crisp_registers.h"\n' + "\n".join(checks) + "\nint main(void) { return 0; }\n")
    subprocess.run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "check.c"], cwd=tmp_path, check=True)
    assert len(re.findall(r"^#define CRISP_\w+ 0x[0-9a-f]{3}u$", header, re.MULTILINE)) == len(REGISTERS)
