"""Command check: the same commands pass, with the same fields, and the same faults are found as by the golden model."""
# amaranth: UnusedElaboratable=no

import random

import cocotb
import pytest
from tests.hw.bench import Process
from tests.hw.command_lists import WINDOWS, damage, end, random_execute, random_load, random_store

from crisp.arch import EXECUTE, LOAD, STORE, Config, ErrorCode, MemoryWindow, Opcode
from crisp.arch.command_rules import COMMAND_WORDS, command_rules
from crisp.golden.command_check import CommandChecker
from crisp_hw.command_check import CommandCheck, windows_layout
from crisp_hw.command_layouts import QUEUES, UNIT_WIDTH, fault_layout, fetched_layout, queued_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

MAKERS = {Opcode.LOAD: random_load, Opcode.STORE: random_store, Opcode.EXECUTE: random_execute}
PORTS = {Opcode.LOAD: ("o_load", LOAD), Opcode.EXECUTE: ("o_execute", EXECUTE), Opcode.STORE: ("o_store", STORE)}


class FaultWatch(Process):
    """Record what the component refuses."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.faults: list[dict] = []
        _, self.decode = layout_codec(fault_layout())

    def step(self) -> None:
        fault = self.decode(int(self.dut.o_fault.value))
        if fault["valid"]:
            self.faults.append(fault)


class Checks:
    """The component in a bench."""

    def __init__(self, bench: Bench, config: Config) -> None:
        self.bench, self.config = bench, config
        self.rng = random.Random(f"{bench.seed} {bench.mode}")
        encode, _ = layout_codec(fetched_layout())
        self.source = bench.source("i_command", encode)
        self.sinks = {opcode: bench.sink(port, layout_codec(queued_layout(word))[1]) for opcode, (port, word) in PORTS.items()}
        self.watch = FaultWatch(bench)
        encode, _ = layout_codec(windows_layout())
        ranges = [{"base": WINDOWS[window].base, "size": WINDOWS[window].size} for window in MemoryWindow]
        bench.dut.i_windows.value = encode(ranges)

    async def check(self, opcode: Opcode, word: int, issued: dict[Opcode, int]) -> ErrorCode:
        """Let a command through, compare what becomes of it with the golden model, and return its fault."""
        dut, bench = self.bench.dut, self.bench
        dut.i_issued.value = sum(issued[queue] << 16 * index for index, queue in enumerate(QUEUES))
        tag = {"index": self.rng.getrandbits(27), "unit": self.rng.getrandbits(27)}
        before = self.rng.getrandbits(EXECUTE.width - UNIT_WIDTH)
        units = {"units_before": before, "last_unit": word}
        if opcode is Opcode.EXECUTE:
            units = {"units_before": word & ((1 << EXECUTE.width - UNIT_WIDTH) - 1), "last_unit": word >> EXECUTE.width - UNIT_WIDTH}
        golden = CommandChecker(self.config, WINDOWS)
        golden.checker.issued = dict(issued)
        expected, rule = golden.check(opcode, word)
        self.source.send([{**units, "opcode": opcode, "tag": tag}])

        taken = {queue: len(sink.transfers) for queue, sink in self.sinks.items()}
        self.watch.faults.clear()
        await bench.until(
            lambda: (
                self.watch.faults or any(len(sink.transfers) > taken[queue] for queue, sink in self.sinks.items()) or int(dut.o_end.value)
            ),
            what=lambda: f"{opcode.name} {word:#x} must go on, or be refused: {expected.name}",
        )
        context = f"{opcode.name} {word:#x}, rule {rule}"
        if expected is ErrorCode.NONE:
            assert not self.watch.faults, f"{context}: must pass, but {self.watch.faults}"
            if opcode is Opcode.END:
                waits = sum(golden_wait << 16 * index for index, golden_wait in enumerate(self.waits_of(word)))
                assert int(dut.o_end.value)
                assert int(dut.o_end_waits.value) == waits
            else:
                layout = COMMAND_WORDS[opcode]
                queued = self.sinks[opcode].transfers[-1]
                assert queued == {"fields": layout.unpack(word), "tag": tag}, context
        else:
            assert self.watch.faults, f"{context}: must be refused: {expected.name}"
            (fault,) = self.watch.faults
            assert (ErrorCode(fault["code"]), fault["tag"], fault["on_bus"]) == (expected, tag, 0), context
            await bench.wait(20)
        passed = {queue: len(sink.transfers) - taken[queue] for queue, sink in self.sinks.items()}
        assert passed == {queue: int(queue is opcode and expected is ErrorCode.NONE) for queue in QUEUES}, context
        if expected is not ErrorCode.NONE or opcode is Opcode.END:
            await bench.reset()
        return expected

    def waits_of(self, word: int) -> list[int]:
        """Return what END waits for, in the order of the queues."""
        fields = COMMAND_WORDS[Opcode.END].unpack(word)
        return [fields[f"wait_{queue.name.lower()}"] for queue in QUEUES]


async def start(dut) -> Checks:
    table = parameters()
    return Checks(await Bench.start(dut, mode=table["mode"]), Config.load(table["config"]))


@cocotb.test()
async def same_as_the_golden_model(dut):
    checks = await start(dut)
    rng = checks.rng
    seen = set()
    for number in range(parameters()["commands"]):
        issued = {queue: rng.choice((rng.randint(0, 3), rng.getrandbits(16))) for queue in QUEUES}
        opcode = rng.choice([*MAKERS, Opcode.EXECUTE, Opcode.END])
        word = end(issued) if opcode is Opcode.END else MAKERS[opcode](rng, checks.config, issued)
        if number % 4:
            word = damage(rng, opcode, word)
        seen.add(await checks.check(opcode, word, issued))
    if checks.bench.mode is Mode.FULL:
        known = {rule.code for opcode in Opcode for rule in command_rules(opcode, checks.config)}
        assert seen == known | {ErrorCode.NONE, ErrorCode.RESERVED}, f"not seen: {known - seen}"


@cocotb.test()
async def right_commands_pass_quickly(dut):
    checks = await start(dut)
    for opcode, make in MAKERS.items():
        issued = dict.fromkeys(QUEUES, 0)
        word = make(checks.rng, checks.config, issued)
        fields = COMMAND_WORDS[opcode].unpack(word)
        rows = fields.get("rows", fields.get("output_words", 1))
        begin = checks.bench.cycle
        await checks.check(opcode, word, issued)
        if checks.bench.mode is Mode.FULL:
            longest = 6 + max(rows, rows - 1, 3).bit_length()
            assert checks.bench.cycle - begin <= longest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("config", ["tiny", "default"])
def test_command_check(config, mode):
    table = {"config": config, "mode": mode, "commands": 5000 if mode == "full" else 150}
    simulate(CommandCheck(Config.preset(config)), __file__, name=f"command_check_{config}", parameters=table)


@pytest.mark.parametrize("opcode", list(Opcode))
def test_rules_stand_in_the_order_of_their_codes(opcode):
    codes = [rule.code for rule in command_rules(opcode, Config.preset("tiny"))]
    assert codes == sorted(codes)
