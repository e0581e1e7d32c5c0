# amaranth: UnusedElaboratable=no
"""Result writer against its golden model: the activation buffer after every command, and how long it takes."""

import dataclasses
from collections import deque

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process
from tests.hw.read_buffer import ReadBuffer
from tests.hw.result_commands import execute_command, random_command

from crisp.arch import EXECUTE, Config, ExecuteKind, Sharing
from crisp.golden.vector_unit import output_shape, write_results
from crisp_hw.layouts import read_request_layout, write_port_layout, write_request_layout
from crisp_hw.result_writer import READ_CYCLES, ResultWriter
from crisp_hw.slot_addresses import SlotAddresses
from crisp_hw.vector_unit import VectorUnit
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

TINY = Config.preset("tiny")
CONFIGS = {
    "tiny": TINY,
    "two_banks": dataclasses.replace(TINY, rows=16, columns=3, drain_rows=2),
    "two_bytes": dataclasses.replace(TINY, rows=8, columns=5, group_size=2, drain_rows=4),
}


class WriteBuffer(Process):
    """Take writes of ``o_write``; some cycles later they are in the buffer. Also counts what is complete."""

    def __init__(self, bench: Bench, activations: np.ndarray, config: Config) -> None:
        _, decode = layout_codec(write_request_layout(config.columns, config.group_size, config.activation_words))
        self.writes = bench.sink("o_write", decode)
        super().__init__(bench)
        self.activations = activations
        self.random = np.random.default_rng(bench.seed)
        self.due: deque[tuple[int, dict]] = deque()
        self.taken = self.completed = 0

    def step(self) -> None:
        self.completed += int(self.dut.o_complete.value)
        if self.taken < len(self.writes.transfers):
            write = self.writes.transfers[self.taken]
            assert write["enables"], "a write of nothing takes the turn of another"
            self.due.append((self.bench.cycle + int(self.random.integers(1, 9)), write))
            self.taken += 1
        while self.due and self.due[0][0] <= self.bench.cycle:
            _, write = self.due.popleft()
            for lane, address in enumerate(write["addresses"]):
                if write["enables"] >> lane & 1:
                    self.activations[address] = write["data"][lane]
        self.dut.i_writing.value = int(bool(self.due))


class Machine:
    """Everything around the result writer: streams, the activation buffer, and what should be in it."""

    def __init__(self, bench: Bench, config: Config) -> None:
        self.bench, self.dut, self.config = bench, bench.dut, config
        self.rng = np.random.default_rng(bench.seed)
        self.activations = self.rng.integers(-128, 128, (config.activation_words, config.group_size)).astype(np.int8)
        self.expected = self.activations.copy()
        self.table = np.zeros(256, np.int8)
        self.commands = bench.source("i_command", lambda command: EXECUTE.pack(**command))
        self.slots = {
            kind: bench.source(name, lambda slot: int.from_bytes(slot.tobytes(), "little"))
            for kind, name in ((ExecuteKind.PRODUCT, "i_products"), (ExecuteKind.MAX, "i_maxima"))
        }
        layout = read_request_layout(config.columns, config.activation_words)
        self.write_buffer = WriteBuffer(bench, self.activations, config)
        self.read_buffer = ReadBuffer(bench, self.activations, layout, cycles=5, late=bench.mode is not Mode.FULL)
        self.writes = self.write_buffer.writes

    async def load_table(self) -> None:
        """Fill the table with other values."""
        encode, _ = layout_codec(write_port_layout(8, 256))
        self.table = self.rng.integers(-128, 128, 256).astype(np.int8)
        for address, value in enumerate(self.table.tolist()):
            self.dut.i_table.value = encode({"enable": 1, "address": address, "data": value})
            await self.bench.wait(1)
        self.dut.i_table.value = 0

    def send(self, command: dict[str, int]) -> None:
        """Queue a command and its results."""
        self.commands.send([command])
        if command["open"]:
            return
        row_tiles, words = output_shape(command, self.config)
        columns, group_size = self.config.columns, self.config.group_size
        pixels = -(-command["pixels"] // columns) * columns  # lanes beyond the last pixel have results that nobody wants
        results = self.rng.integers(-128, 128, (row_tiles, words, pixels, group_size)).astype(np.int8)
        slots = results.reshape(row_tiles * words, -1, columns, group_size).swapaxes(0, 1)
        self.slots[ExecuteKind(command["kind"])].send(slots.reshape(-1, columns, group_size))
        write_results(command, results[:, :, : command["pixels"]], self.expected, self.table, self.config)

    async def complete(self) -> None:
        """Wait until all commands are complete: what they wrote is in the buffer then."""
        await self.commands.drain()
        assert self.write_buffer.completed == len(self.commands.transfers)
        wrong = np.flatnonzero((self.activations != self.expected).any(axis=1))
        assert not len(wrong), f"{len(wrong)} words differ, the first is {wrong[0]}"


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def equals_the_golden_model(dut, mode: str) -> None:
    """Each command is complete when the buffer holds its results, and not before."""
    config = CONFIGS[parameters()["config"]]
    bench = await Bench.start(dut, mode=mode)
    machine = Machine(bench, config)
    seen = set()
    for number in range(50):
        if number % 10 == 0:
            await machine.load_table()
        command = random_command(machine.rng, config, row_tiles=3)
        machine.send(command)
        await machine.complete()
        seen.add((command["kind"], command["residual"], command["table"]))
    assert len(seen) == 8


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def results_wait_for_their_command(dut, mode: str) -> None:
    """Commands of all kinds at once, with all their results: each slot is finished as its own command says."""
    config = CONFIGS[parameters()["config"]]
    bench = await Bench.start(dut, mode=mode)
    machine = Machine(bench, config)
    await machine.load_table()
    for _ in range(30):
        machine.send(random_command(machine.rng, config, row_tiles=3))
    await machine.complete()


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def residuals_see_the_command_before(dut, mode: str) -> None:
    """A chain of commands, sent at once: each adds to what the one before has written, in place or from there."""
    config = CONFIGS[parameters()["config"]]
    bench = await Bench.start(dut, mode=mode)
    machine = Machine(bench, config)
    columns, words = config.columns, config.tile_words
    ring = 3 * columns
    shape = {"pixels": ring, "width": ring, "tile_columns": columns, "output_ring": ring, "residual_ring": ring, "output_tile_dq": columns}
    planes = {f"{tensor}_{name}": ring for tensor in ("output", "residual") for name in ("pitch",)}
    strides = {f"{tensor}_tile_stride": words * ring for tensor in ("output", "residual")}
    scales = {"result_multiplier": 3, "residual_multiplier": 5, "sum_shift": 3, "sum_clamp_min": -128, "sum_clamp_max": 127}
    for number in range(8):
        bases = {"output_base": number // 2 * 500, "residual_base": max(0, number - 1) // 2 * 500}
        machine.send(execute_command(residual=1, output_words=words, **shape, **planes, **strides, **scales, **bases))
    await machine.complete()


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def open_commands_wait_for_the_array(dut, mode: str) -> None:
    """A command without results is complete in its turn, but not before the array says so."""
    config = CONFIGS[parameters()["config"]]
    bench = await Bench.start(dut, mode=mode)
    machine = Machine(bench, config)
    opened = execute_command(open=1, row_tiles=3, pixels=9)
    for _ in range(2):
        machine.send(opened)
    machine.send(execute_command(output_words=config.tile_words))
    await bench.wait(60)
    assert not machine.commands.transfers
    assert not machine.writes.transfers
    for number in range(2):
        dut.i_open_done.value = 1
        await bench.wait(1)
        dut.i_open_done.value = 0
        await bench.wait(20)
        assert len(machine.commands.transfers) >= number + 1
    await machine.complete()


@cocotb.test()
@cocotb.parametrize(residual=[0, 1], kind=[int(kind) for kind in ExecuteKind])
async def keeps_pace(dut, residual: int, kind: int) -> None:
    """A slot in M / k cycles, residual and table or not, and a command that begins in time."""
    config = CONFIGS[parameters()["config"]]
    bench = await Bench.start(dut)
    machine = Machine(bench, config)
    await machine.load_table()
    slot_cycles = max(1, config.group_size // config.drain_rows)
    for _ in range(12):
        command = random_command(machine.rng, config, kind=kind, sharing=int(Sharing.GROUPED), residual=residual, pixel_tiles=12)
        command["output_words"] = command["row_tiles"] * output_shape(command, config)[1]
        before = len(machine.writes.cycles)
        start = bench.cycle + 2  # the source offers the command one cycle after it was sent
        machine.send(command)
        await machine.complete()
        cycles = machine.writes.cycles[before:]
        # The first few slots may have gone into the pipeline before their places were known.
        assert (np.diff(cycles) <= slot_cycles).all()
        places = config.columns + SlotAddresses.LATENCY
        work = slot_cycles + VectorUnit.LATENCY
        assert cycles[0] <= start + (places + READ_CYCLES + work if residual else max(places, work))


@pytest.mark.parametrize("config", CONFIGS)
def test_result_writer(config: str) -> None:
    simulate(ResultWriter(CONFIGS[config]), __file__, name="result_writer", parameters={"config": config})
