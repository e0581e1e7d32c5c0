import re

import pytest
from tests.sw.arch.programs import TINY, end, execute, load, store

from crisp.arch import LoadTarget, MemoryWindow, Opcode, ProgramError, check_commands, decode_commands

SIZES = {MemoryWindow.PROGRAM: 1024, MemoryWindow.SCRATCH: 1024, MemoryWindow.INPUT: 512, MemoryWindow.OUTPUT: 256}


def test_commands_come_in_order() -> None:
    data = load() + execute(wait_load=1, pixels=77) + store(wait_execute=1) + end(wait_store=1)
    commands = check_commands(data, TINY, SIZES)
    assert [command.opcode for command in commands] == [Opcode.LOAD, Opcode.EXECUTE, Opcode.STORE, Opcode.END]
    assert [command.index for command in commands] == [0, 1, 2, 3]
    assert commands[1].unpack()["pixels"] == commands[1].field("pixels") == 77
    assert commands == list(decode_commands(data))


def test_waits_count_modulo_65536() -> None:
    """After 65,537 LOADs a wait for the 65,535th is right; one for a LOAD that is not issued yet is not, nor one that is too old."""
    loads = b"".join(load(wait_load=number) for number in range(0, 65536, 4096) for _ in range(4096)) + load()
    with pytest.raises(
        ProgramError, match=r"^COMMANDS: command 32768 \(LOAD\): wait_load must count LOADs that stand before it, 32768, not 0;"
    ):
        check_commands(load() * 32769 + end(), TINY, SIZES)
    check_commands(loads + end(wait_load=65535), TINY, SIZES)
    check_commands(loads + end(wait_load=1), TINY, SIZES)
    with pytest.raises(ProgramError, match=r"wait_load must count LOADs that stand before it, 65537, not 2;"):
        check_commands(loads + end(wait_load=2), TINY, SIZES)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "COMMANDS: the last command must be END, but the section ends after command -1; compile it again"),
        (load(), "COMMANDS: the last command must be END, but the section ends after command 0; compile it again"),
        (load() + bytes(32), "COMMANDS: command 1 (byte 32): opcode must be one of 1 to 4, not 0; compile it again"),
        (b"\x0f" + bytes(31), "COMMANDS: command 0 (byte 0): opcode must be one of 1 to 4, not 15; compile it again"),
        (execute()[:64], "COMMANDS: command 0 (byte 0): EXECUTE must have 128 bytes, not 64; compile it again"),
        (end() + end(), "COMMANDS: END must be the last command, but 32 bytes follow it; compile it again"),
        (end() + b"\0", "COMMANDS: must be whole units of 32 bytes, not 33 bytes; compile it again"),
    ],
)
def test_broken_stream(data: bytes, message: str) -> None:
    with pytest.raises(ProgramError, match=f"^{re.escape(message)}$"):
        check_commands(data, TINY, SIZES)


def set_bit(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "little") | 1 << bit).to_bytes(len(data), "little")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (set_bit(end(), 255), "END): reserved bits from bit 52 on must be zero"),
        (set_bit(load(), 255), "LOAD): reserved bits from bit"),
        (set_bit(execute(), 1023), "EXECUTE): reserved bits from bit"),
        (load(wait_store=1), "LOAD): wait_store must count STOREs that stand before it, 0, not 1"),
        (execute(wait_execute=1), "EXECUTE): wait_execute must count EXECUTEs that stand before it, 0, not 1"),
        (store(wait_load=3), "STORE): wait_load must count LOADs that stand before it, 0, not 3"),
        (load(target=LoadTarget.PATCHES + 1), "LOAD): target must be a LoadTarget, not 9"),
        (store(target=1), "STORE): target must be 0, not 1"),
        (load(window=MemoryWindow.OUTPUT), "LOAD): window OUTPUT must not be read"),
        (store(window=MemoryWindow.INPUT), "STORE): window INPUT must not be written"),
        (store(window=MemoryWindow.PROGRAM), "STORE): window PROGRAM must not be written"),
        (load(offset=2), "LOAD): offset must be a multiple of the bus width, 4 bytes, not 2"),
        (load(row_stride=6), "LOAD): row_stride must be a multiple of the bus width, 4 bytes, not 6"),
        (load(rows=0), "LOAD): rows must be at least 1, not 0"),
        (store(row_bytes=0), "STORE): row_bytes must be at least 1, not 0"),
        (load(offset=1012), "LOAD): must end within window PROGRAM, at byte 1024, not 1028"),
        (load(window=MemoryWindow.INPUT, rows=32, row_stride=20), "LOAD): must end within window INPUT, at byte 512, not 636"),
        (store(rows=65535, row_stride=(1 << 32) - 4), "STORE): must end within window OUTPUT, at byte 256, not "),
    ],
)
def test_broken_command(command: bytes, message: str) -> None:
    with pytest.raises(ProgramError, match=rf"^COMMANDS: command 0 \({re.escape(message)}.*; compile the network again$"):
        check_commands(command + end(), TINY, SIZES)


def test_transfers_may_touch_both_ends() -> None:
    check_commands(load(offset=1008) + load(window=MemoryWindow.INPUT, rows=32, row_bytes=16) + store(rows=16) + end(), TINY, SIZES)
