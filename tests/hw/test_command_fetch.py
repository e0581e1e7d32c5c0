"""Command fetch: lists of random commands come back whole, and what is wrong with a list is told."""
# amaranth: UnusedElaboratable=no

import random

import cocotb
import pytest
from tests.hw.bench import Process
from tests.hw.command_lists import random_commands, to_bytes

from crisp.arch import EXECUTE, UNIT_BYTES, Config, ErrorCode, Opcode
from crisp.arch.command_rules import COMMAND_WORDS
from crisp_hw.axi import transfer_layout
from crisp_hw.axi_reader import beat_layout
from crisp_hw.command_fetch import CommandFetch
from crisp_hw.command_layouts import UNIT_WIDTH, fault_layout, fetched_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

BASE, SIZE, OFFSET = 0x12_3456_7000, 1 << 16, 192

#: Bits of a transfer's length: so few that lists take several.
BYTES_WIDTH = 9


class Memory(Process):
    """Answers transfers, in order, from the bytes of a list; whatever follows the list is not to be read."""

    def __init__(self, bench: Bench, data: bytes, beat_bytes: int) -> None:
        super().__init__(bench)
        self.data, self.beat_bytes = data, beat_bytes
        self.requests = bench.sink("o_transfer", layout_codec(transfer_layout(BYTES_WIDTH))[1])
        self.beats = bench.source("i_beats", layout_codec(beat_layout(8 * beat_bytes))[0])
        self.answered = 0

    def step(self) -> None:
        for request in self.requests.transfers[self.answered :]:
            start, size = request["address"] - BASE - OFFSET, request["bytes"]
            assert start % self.beat_bytes == 0
            assert 0 < size <= len(self.data) - start, "what lies behind the list is not read"
            # A bus word that ends behind the list holds anything there.
            padded = self.data + bytes(random.Random(0).randbytes(self.beat_bytes))
            for place in range(start, start + size, self.beat_bytes):
                word = int.from_bytes(padded[place : place + self.beat_bytes], "little")
                self.beats.send([{"data": word, "last": int(place + self.beat_bytes >= start + size)}])
            self.answered += 1

    def forget(self) -> None:
        self.answered = len(self.requests.transfers)


class FaultWatch(Process):
    """Record faults."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.faults: list[tuple[ErrorCode, int, int]] = []
        _, self.decode = layout_codec(fault_layout())

    def step(self) -> None:
        fault = self.decode(int(self.dut.o_fault.value))
        if fault["valid"]:
            self.faults.append((ErrorCode(fault["code"]), fault["tag"]["index"], fault["tag"]["unit"]))


class Fetch:
    """The component in a bench, with a list."""

    @classmethod
    async def start(cls, dut, data: bytes, **registers: int) -> "Fetch":
        config = Config.from_dict(parameters()["config"])
        values = {"i_offset": OFFSET, "i_units": len(data) // UNIT_BYTES, "i_base": BASE, "i_size": SIZE} | registers
        bench = await Bench.start(dut, mode=parameters()["mode"], **values)
        return cls(bench, config, data)

    def __init__(self, bench: Bench, config: Config, data: bytes) -> None:
        self.bench, self.config = bench, config
        self.memory = Memory(bench, data, config.beat_bytes)
        self.watch = FaultWatch(bench)
        self.commands = bench.sink("o_command", layout_codec(fetched_layout())[1])

    async def expect(self, commands: list[tuple[Opcode, int]]) -> None:
        """Wait for commands and compare them."""
        unit = 0
        for index, (opcode, word) in enumerate(commands):
            (got,) = await self.commands.receive(1)
            units = COMMAND_WORDS[opcode].width // UNIT_WIDTH
            whole = got["units_before"] | got["last_unit"] << EXECUTE.width - UNIT_WIDTH
            assert whole >> EXECUTE.width - units * UNIT_WIDTH == word, f"command {index}"
            assert (got["opcode"], got["tag"]) == (opcode, {"index": index, "unit": unit})
            unit += units

    async def expect_fault(self, *fault: int) -> None:
        """Wait for a fault, and see that nothing follows it."""
        await self.bench.until(lambda: self.watch.faults, what=lambda: f"{fault} must be told")
        number = len(self.commands.transfers)
        await self.bench.wait(50)
        assert self.watch.faults == [fault]
        assert len(self.commands.transfers) == number


def random_list(number: int) -> list[tuple[Opcode, int]]:
    """Return right commands and END."""
    return list(random_commands(random.Random(cocotb.RANDOM_SEED), Config.from_dict(parameters()["config"]), number))


@cocotb.test()
async def commands_come_back(dut):
    commands = random_list(60)
    fetch = await Fetch.start(dut, to_bytes(commands))
    await fetch.expect(commands)
    await fetch.commands.expect_nothing(50)
    assert not fetch.watch.faults
    if fetch.bench.mode is Mode.FULL:
        units = len(to_bytes(commands)) // UNIT_BYTES
        beats = max(1, UNIT_BYTES // fetch.config.beat_bytes)
        assert fetch.commands.cycles[-1] - fetch.commands.cycles[0] <= units * beats + len(commands)


@cocotb.test()
async def units_behind_end_are_left(dut):
    commands = random_list(3)
    fetch = await Fetch.start(dut, to_bytes([*commands, *commands]))
    await fetch.expect(commands)
    await fetch.commands.expect_nothing(50)
    assert not fetch.watch.faults


@cocotb.test()
async def unknown_opcode(dut):
    commands = random_list(5)
    data = bytearray(to_bytes(commands))
    place = len(to_bytes(commands[:3]))
    data[place] &= 0xF0
    fetch = await Fetch.start(dut, bytes(data))
    await fetch.expect(commands[:3])
    await fetch.expect_fault(ErrorCode.OPCODE, 3, place // UNIT_BYTES)


@cocotb.test()
async def list_without_end(dut):
    commands = random_list(4)[:-1]
    fetch = await Fetch.start(dut, to_bytes(commands))
    await fetch.expect(commands)
    await fetch.expect_fault(ErrorCode.TRUNCATED, 4, len(to_bytes(commands)) // UNIT_BYTES)


@cocotb.test()
async def list_that_ends_in_a_command(dut):
    word = EXECUTE.pack(**{field.name: 3 * (field.name == "opcode") for field in EXECUTE.fields})
    commands = [*random_list(2)[:-1], (Opcode.EXECUTE, word)]
    fetch = await Fetch.start(dut, to_bytes(commands)[: -2 * UNIT_BYTES])
    await fetch.expect(commands[:-1])
    await fetch.expect_fault(ErrorCode.TRUNCATED, 2, len(to_bytes(commands[:-1])) // UNIT_BYTES)


@cocotb.test()
async def list_in_the_wrong_place(dut):
    data = to_bytes(random_list(3))
    registers, code = {
        "empty": ({"i_units": 0}, ErrorCode.TRUNCATED),
        "misaligned": ({"i_offset": OFFSET + 2}, ErrorCode.ALIGNMENT),
        "too long": ({"i_size": OFFSET + len(data) - 1}, ErrorCode.WINDOW_RANGE),
        "beyond the address space": ({"i_base": (1 << 40) - SIZE + 64}, ErrorCode.WINDOW_RANGE),
    }[parameters()["place"]]
    fetch = await Fetch.start(dut, data, **registers)
    await fetch.expect_fault(code, 0, 0)
    assert not fetch.memory.requests.transfers, "nothing is read"


CONFIGS = {"32": {"preset": "tiny"}, "128": {}, "256": {"axi_data_width": 256}, "512": {"axi_data_width": 512}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", CONFIGS)
def test_command_fetch(width, mode):
    config = CONFIGS[width]
    table = {"mode": mode, "config": config, "place": "empty"}
    simulate(CommandFetch(Config.from_dict(config), bytes_width=BYTES_WIDTH), __file__, name=f"command_fetch_{width}", parameters=table)


@pytest.mark.parametrize("place", ["misaligned", "too long", "beyond the address space"])
def test_places(place):
    table = {"mode": "full", "config": {"preset": "tiny"}, "place": place}
    component = CommandFetch(Config.preset("tiny"), bytes_width=BYTES_WIDTH)
    simulate(component, __file__, name="command_fetch_32", testcase="list_in_the_wrong_place", parameters=table)
