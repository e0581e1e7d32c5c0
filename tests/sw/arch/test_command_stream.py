import re

import pytest
from tests.sw.arch.programs import TINY, copy, end, execute, load, store

from crisp.arch import LoadTarget, MemoryWindow, Opcode, ProgramError, check_commands, decode_commands

SIZES = {MemoryWindow.PROGRAM: 1024, MemoryWindow.SCRATCH: 1024, MemoryWindow.INPUT: 512, MemoryWindow.OUTPUT: 256}


def test_commands_come_in_order() -> None:
    data = load() + copy(wait_load=1, pixels=77) + store(wait_execute=1) + end(wait_store=1)
    commands = check_commands(data, TINY, SIZES)
    assert [command.opcode for command in commands] == [Opcode.LOAD, Opcode.EXECUTE, Opcode.STORE, Opcode.END]
    assert [command.index for command in commands] == [0, 1, 2, 3]
    assert commands[1].unpack()["pixels"] == 77
    assert commands == list(decode_commands(data))


def test_waits_count_modulo_65536() -> None:
    """After 65,537 LOADs a wait for the 65,535th is right; one for a LOAD that is not issued yet is not, nor one that is too old."""
    loads = b"".join(load(wait_load=number) for number in range(0, 65536, 4096) for _ in range(4096)) + load()
    check_commands(loads + load(wait_load=65535) + end(wait_load=2), TINY, SIZES)
    for data in (load() + end(wait_load=2), load() * 32769 + end()):
        with pytest.raises(ProgramError, match=r": wait_load = [02]: WAIT: A command waits for one that does not come before it"):
            check_commands(data, TINY, SIZES)


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
        (set_bit(end(), 255), "END): end: reserved bits from bit 52 on must be zero, but the word is"),
        (set_bit(load(), 255), "LOAD): load: reserved bits from bit"),
        (set_bit(copy(), 1023), "EXECUTE): execute: reserved bits from bit"),
        (load(wait_store=1), "LOAD): wait_store = 1: WAIT: "),
        (load(target=LoadTarget.PATCHES + 1), "LOAD): target = 9: TARGET: "),
        (load(window=MemoryWindow.OUTPUT), "LOAD): window = 3: WINDOW_PERMISSION: "),
        (store(window=MemoryWindow.PROGRAM), "STORE): window = 0: WINDOW_PERMISSION: "),
        (load(offset=2), "LOAD): offset = 2: ALIGNMENT: "),
        (load(rows=0), "LOAD): rows = 0: ZERO_DIMENSION: "),
        (load(offset=1012), "LOAD): rows = 1: WINDOW_RANGE: "),
        (store(rows=65535, row_stride=(1 << 32) - 4), "STORE): rows = 65535: WINDOW_RANGE: "),
        (execute(), "EXECUTE): row_tiles = 0: ZERO_DIMENSION: "),
        (copy(first_q=35), "EXECUTE): first_q in input_ring = 35: WALK: "),
    ],
)
def test_broken_command(command: bytes, message: str) -> None:
    """The message has command, field, value, code, what it means and what to do."""
    with pytest.raises(ProgramError, match=rf"^COMMANDS: command 0 \({re.escape(message)}.*(\.|; compile it again)$"):
        check_commands(command + end(), TINY, SIZES)


def test_transfers_may_touch_both_ends() -> None:
    planes = load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS, rows=32)
    check_commands(load(offset=1008) + planes + store(rows=16) + end(), TINY, SIZES)
