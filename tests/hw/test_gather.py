# amaranth: UnusedElaboratable=no
"""Gather against its golden model: by itself with a model of the activation buffer, and with the buffer and the pool behind it."""

from collections import deque

import cocotb
import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from tests.hw.bench import Process
from tests.hw.executes import convolution, execute, random_convolution

from crisp.arch import EXECUTE, RUN, ErrorCode, ExecuteKind, FieldError, Sharing
from crisp.golden.gather import gather_tiles, gather_windows
from crisp.golden.max_pool import max_pool
from crisp.golden.pixel_walk import tile_steps
from crisp_hw.activation_buffer import ActivationBuffer
from crisp_hw.gather import Gather
from crisp_hw.layouts import (
    read_request_layout,
    slot_layout,
    window_word_layout,
    word_layout,
    write_port_layout,
    write_request_layout,
)
from crisp_hw.max_pool import MaxPool
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


class GatherAndPool(wiring.Component):
    """What a gather is connected to."""

    def __init__(self, *, columns: int, group_size: int, banks: int, depth: int, run_depth: int):
        self.table = {"columns": columns, "group_size": group_size}
        self.banks, self.depth, self.run_depth = banks, depth, run_depth
        words = banks * depth
        super().__init__({
            "i_command": In(stream.Signature(word_layout(EXECUTE))),
            "i_run": In(write_port_layout(word_layout(RUN), run_depth)),
            "i_write": In(stream.Signature(write_request_layout(columns, group_size, words))),
            "o_window": Out(stream.Signature(window_word_layout(columns, group_size))),
            "o_slot": Out(stream.Signature(slot_layout(columns, group_size))),
            "o_error": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.gather = gather = Gather(**self.table, words=self.banks * self.depth, run_depth=self.run_depth)
        m.submodules.buffer = buffer = ActivationBuffer(**self.table, banks=self.banks, depth=self.depth, num_readers=1, num_writers=1)
        m.submodules.pool = pool = MaxPool(**self.table)
        connect(m, flipped(self.i_command), gather.i_command)
        connect(m, flipped(self.i_write), buffer.i_writes[0])
        connect(m, gather.o_request, buffer.i_reads[0])
        connect(m, buffer.o_reads[0], gather.i_response)
        connect(m, gather.o_window, flipped(self.o_window))
        connect(m, gather.o_pool, pool.i_word)
        connect(m, pool.o_slot, flipped(self.o_slot))
        m.d.comb += [gather.i_run.eq(self.i_run), self.o_error.eq(gather.o_error)]
        return m


class Memory(Process):
    """Answer requests some cycles later, in order: a model of the activation buffer."""

    def __init__(self, bench: Bench, activations: np.ndarray, *, latency: int) -> None:
        self.activations, self.latency = activations, latency
        columns, size = parameters()["columns"], parameters()["group_size"]
        self.sink = bench.sink("o_request", layout_codec(read_request_layout(columns, parameters()["words"]))[1])
        super().__init__(bench)
        self.encode = layout_codec(slot_layout(columns, size))[0]
        self.random = np.random.default_rng([bench.seed, bench.cycle])
        self.due: deque[tuple[int, int]] = deque()
        self.seen = 0

    def step(self) -> None:
        dut = self.dut
        for request in self.sink.transfers[self.seen :]:
            enabled = np.array([request["enables"] >> lane & 1 for lane in range(len(request["addresses"]))], bool)
            words = np.where(enabled[:, None], self.activations[np.minimum(request["addresses"], len(self.activations) - 1)], 0)
            extra = 0 if self.bench.mode is Mode.FULL else int(self.random.integers(4))
            earliest = self.due[-1][0] + 1 if self.due else 0
            self.due.append((max(earliest, self.sink.cycles[self.seen] + self.latency + extra), self.encode(words)))
            self.seen += 1
        comes = bool(self.due) and self.due[0][0] <= self.bench.cycle + 1
        dut.i_response__valid.value = int(comes)
        if comes:
            dut.i_response__payload.value = self.due.popleft()[1]


class Job:
    """Commands with their runs, for one filling of the run buffer."""

    def __init__(self, rng: np.random.Generator, activations: np.ndarray) -> None:
        self.rng, self.activations = rng, activations
        self.runs = RUN.pack_array(
            **{field.name: rng.integers(field.low, field.high + 1, parameters()["run_depth"]) for field in RUN.fields}
        )
        self.used = 0
        self.commands: list[dict[str, int]] = []

    def add(self, command: dict[str, int], runs: np.ndarray) -> bool:
        """Add a command if its runs still fit, and tell whether they did."""
        if self.used + len(runs) > len(self.runs):
            return False
        self.runs[self.used : self.used + len(runs)] = runs
        self.commands.append({**command, "run_base": self.used})
        self.used += len(runs)
        return True

    def add_random(self, number: int) -> None:
        """Add random convolutions while they fit."""
        columns, words = parameters()["columns"], len(self.activations)
        while len(self.commands) < number and self.add(*random_convolution(self.rng, columns=columns, words=words)):
            pass

    def tiles(self, command: dict[str, int]) -> list[np.ndarray]:
        """Return the windows that the command must gather."""
        return gather_tiles(command, self.runs, self.activations, parameters()["columns"])


def window_words(window: np.ndarray) -> list[dict]:
    """Return a window as the stream carries it."""
    return [{"data": word.tolist(), "last": int(place == len(window) - 1)} for place, word in enumerate(window)]


async def load_runs(bench: Bench, runs: np.ndarray) -> None:
    """Write the run buffer."""
    encode, _ = layout_codec(write_port_layout(word_layout(RUN), parameters()["run_depth"]))
    for address, run in enumerate(runs):
        fields = {**RUN.unpack(int(run)), "reserved": 0} if RUN.used < RUN.width else RUN.unpack(int(run))
        bench.dut.i_run.value = encode({"enable": 1, "address": address, "data": fields})
        await bench.wait(1)
    bench.dut.i_run.value = 0


def random_activations(rng: np.random.Generator, words: int) -> np.ndarray:
    return rng.integers(-128, 128, (words, parameters()["group_size"]), dtype=np.int8)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def gathers_convolutions(dut, mode: str) -> None:
    """Some convolutions behind one another, of all kinds and sharings, in part and whole."""
    bench = await Bench.start(dut, mode=mode)
    table = parameters()
    columns, size = table["columns"], table["group_size"]
    rng = np.random.default_rng([bench.seed, columns])
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    decode = layout_codec(window_word_layout(columns, size))[1]
    sinks = [bench.sink("o_window", decode), bench.sink("o_pool", decode)]
    memory = Memory(bench, random_activations(rng, table["words"]), latency=ActivationBuffer.LATENCY)
    errors = Errors(bench)
    number = 0
    while number < 60:
        job = Job(rng, memory.activations)
        job.add_random(12)
        number += len(job.commands)
        await load_runs(bench, job.runs)
        source.send({"reserved": 0, **command} for command in job.commands)
        for command in job.commands:
            for window in job.tiles(command):
                await sinks[command["kind"]].expect(window_words(window))
        await bench.wait(2)
        assert not int(dut.o_busy.value)
    for sink in sinks:
        await sink.expect_nothing(20)
    assert not errors.cycles


class Errors(Process):
    """Note the cycles in which an error was told, and which."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.cycles: list[int] = []
        self.codes: set[ErrorCode] = set()

    def step(self) -> None:
        if int(self.dut.o_error.value):
            self.cycles.append(self.bench.cycle)
            self.codes.add(ErrorCode(int(self.dut.o_error_code.value)))


@cocotb.test()
async def asks_for_a_word_a_cycle(dut) -> None:
    """From run to run, window to window, tile to tile; only before the second window runs may be late, see `RunReader`.

    The next command's words follow as many cycles later as its lanes need.
    """
    bench = await Bench.start(dut)
    table = parameters()
    columns, size = table["columns"], table["group_size"]
    rng = np.random.default_rng([bench.seed, columns])
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    sink = bench.sink("o_window", layout_codec(window_word_layout(columns, size))[1])
    memory = Memory(bench, random_activations(rng, table["words"]), latency=ActivationBuffer.LATENCY)
    job = Job(rng, memory.activations)
    assert job.add(*convolution(columns=columns, height=8, width=9, kernel=(1, 1)))
    assert job.add(*convolution(columns=columns, height=8, width=9, kernel=(1, 1), planes=3))
    assert job.add(*convolution(columns=columns, height=8, width=9, kernel=(1, 1), sharing=Sharing.GROUPED, parts=5))
    assert job.add(*convolution(columns=columns, height=8, width=9, kernel=(3, 2), padding=1, stride=2))
    assert job.add(*convolution(columns=columns, height=6, width=5, kernel=(1, 2), sharing=Sharing.SPLIT, parts=3, planes=2))
    await load_runs(bench, job.runs)
    source.send({"reserved": 0, **command} for command in job.commands)
    begin = 0
    for number, command in enumerate(job.commands):
        tiles = job.tiles(command)
        await sink.expect([word for window in tiles for word in window_words(window)])
        total = sum(len(window) for window in tiles)
        requests = memory.sink.cycles[begin : begin + total]
        assert requests[0] - source.cycles[number] == columns + 7
        if number:
            assert source.cycles[number] - memory.sink.cycles[begin - 1] == 1
        list_words = len(tiles[0]) * (command["row_tiles"] if command["sharing"] == Sharing.SPLIT else 1)
        gaps = np.flatnonzero(np.diff(requests) > 1)
        assert set(gaps.tolist()) <= ({list_words - 1} if columns < 8 else set())
        assert np.diff(sink.cycles[begin : begin + total]).tolist() == np.diff(requests).tolist()
        begin += total


@cocotb.test()
async def tells_addresses_outside(dut) -> None:
    """The last word of the buffer may be read, the one behind it may not; padding lies nowhere."""
    bench = await Bench.start(dut)
    table = parameters()
    columns, words = table["columns"], table["words"]
    rng = np.random.default_rng(bench.seed)
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    sink = bench.sink("o_window")
    memory = Memory(bench, random_activations(rng, words), latency=ActivationBuffer.LATENCY)
    errors = Errors(bench)
    largest = (1 << 22) - 1
    for fields in (
        {"base": words - 12},
        {"base": words - 11},
        {"base": words - 24, "planes": 2},
        {"base": words - 23, "planes": 2},
        {"base": words - 18, "planes": 2, "parts": 2, "pitch": 3, "sharing": Sharing.GROUPED},
        {"base": 5, "planes": 400, "pitch": largest, "height": 1, "width": 1},
        {"base": largest, "parts": 3, "pitch": largest, "sharing": Sharing.GROUPED, "height": 1, "width": 1},
        {"base": words - 12, "kernel": (3, 3), "padding": 1},
    ):
        command, runs = convolution(columns=columns, **{"height": 3, "width": 4, "kernel": (1, 1), **fields})
        await load_runs(bench, runs)
        told, first = len(errors.cycles), len(sink.transfers)
        source.send([{"reserved": 0, **command}])
        parts = command["row_tiles"]
        tiles = -(-command["pixels"] // columns)
        total = command["window_words"] * parts * tiles
        await bench.until(
            lambda first=first, total=total: len(sink.transfers) == first + total,
            progress=lambda: len(sink.transfers),
            what=lambda: f"{len(sink.transfers)} words came",
        )
        # Each request with a lane outside is told. Of the convolution with padding none is.
        plane = (
            fields["base"]
            + (np.arange(parts)[:, None] * fields.get("planes", 1) + np.arange(fields.get("planes", 1))).ravel() * command["input_pitch"]
        )
        lanes = np.pad(np.arange(command["pixels"]), (0, tiles * columns - command["pixels"])).reshape(tiles, columns)
        outside = int((plane[:, None, None] + lanes >= words).any(axis=2).sum()) if "kernel" not in fields else 0
        assert len(errors.cycles) - told == outside, fields
        assert errors.codes <= {ErrorCode.ACTIVATION_RANGE}
        if outside:
            with pytest.raises(FieldError, match=f"must stay in the {words} words"):
                [gather_windows(command, runs, memory.activations, part) for part in range(parts)]
        else:
            [gather_windows(command, runs, memory.activations, part) for part in range(parts)]


@cocotb.test()
async def tells_runs_without_end(dut) -> None:
    """When the run buffer ends before a window does, an error is told, and nothing moves until reset; then all is as ever."""
    bench = await Bench.start(dut)
    table = parameters()
    rng = np.random.default_rng(bench.seed)
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    sink = bench.sink("o_window", layout_codec(window_word_layout(table["columns"], table["group_size"]))[1])
    memory = Memory(bench, random_activations(rng, table["words"]), latency=ActivationBuffer.LATENCY)
    errors = Errors(bench)
    command, run = convolution(columns=table["columns"], height=3, width=3, kernel=(1, 1))
    runs = np.tile(run, table["run_depth"])
    runs[-3:] &= ~np.uint64(1 << RUN.shift("last"))
    await load_runs(bench, runs)
    source.send([{"reserved": 0, **command, "run_base": table["run_depth"] - 3}])
    await bench.wait(60)
    assert errors.codes == {ErrorCode.RUN_RANGE}
    told = len(errors.cycles)
    assert int(dut.o_busy.value)
    await bench.reset()
    memory.seen = len(memory.sink.transfers)
    memory.due.clear()
    first = len(sink.transfers)
    source.send([{"reserved": 0, **command, "run_base": 1}])
    expected = [word for window in gather_tiles(command, runs, memory.activations, table["columns"]) for word in window_words(window)]
    await sink.receive(first)
    await sink.expect(expected)
    assert len(errors.cycles) == told


@cocotb.test()
async def tells_windows_of_other_lengths(dut) -> None:
    """Runs that list a word less or more than a window that is multiplied has; of a maximum any number is right."""
    bench = await Bench.start(dut)
    table = parameters()
    rng = np.random.default_rng(bench.seed)
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    for name in ("o_window", "o_pool"):
        bench.sink(name, layout_codec(window_word_layout(table["columns"], table["group_size"]))[1])
    errors = Errors(bench)
    for kind, words, wrong in ((ExecuteKind.PRODUCT, -1, True), (ExecuteKind.PRODUCT, 1, True), (ExecuteKind.MAX, 1, False)):
        Memory(bench, random_activations(rng, table["words"]), latency=ActivationBuffer.LATENCY)
        command, runs = convolution(columns=table["columns"], height=4, width=4, kernel=(2, 2), kind=kind)
        await load_runs(bench, runs)
        source.send([{"reserved": 0, **command, "window_words": command["window_words"] + words}])
        await bench.wait(100)
        assert errors.codes == ({ErrorCode.RUN_RANGE} if wrong else set())
        errors.codes.clear()
        await bench.reset()


@pytest.mark.parametrize(
    ("columns", "group_size", "simulator"),
    [
        (1, 2, "verilator"),
        (3, 2, "verilator"),
        (4, 4, "verilator"),
        pytest.param(14, 4, "verilator", marks=pytest.mark.slow),
        (4, 2, "icarus"),
    ],
)
def test_gather(columns: int, group_size: int, simulator: str) -> None:
    table = {"columns": columns, "group_size": group_size, "words": 1200, "run_depth": 61}
    tests = ["gathers_convolutions/.*", "asks_for_a_word_a_cycle", "tells_addresses_outside", "tells_runs_without_end"]
    tests += ["tells_windows_of_other_lengths"]
    simulate(Gather(**table), __file__, name="gather", parameters=table, simulator=simulator, testcase=tests)


async def write(bench: Bench, activations: np.ndarray) -> None:
    """Write the whole activation buffer."""
    table = parameters()
    columns = table["columns"]
    source = bench.source("i_write", layout_codec(write_request_layout(columns, table["group_size"], len(activations)))[0], idle=0)
    for first in range(0, len(activations), columns):
        part = activations[first : first + columns]
        addresses = (first + np.arange(columns)) % len(activations)
        words = np.pad(part, ((0, columns - len(part)), (0, 0)))
        source.send([{"addresses": addresses.tolist(), "enables": (1 << len(part)) - 1, "data": words.tolist()}])
    await source.drain()
    await bench.wait(columns + 5)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def works_with_its_neighbours(dut, mode: str) -> None:
    """Convolutions and poolings through the real buffer, with all its conflicts."""
    bench = await Bench.start(dut, mode=mode)
    table = parameters()
    columns, size, words = table["columns"], table["group_size"], table["banks"] * table["depth"]
    rng = np.random.default_rng([bench.seed, columns])
    activations = random_activations(rng, words)
    await write(bench, activations)
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    windows = bench.sink("o_window", layout_codec(window_word_layout(columns, size))[1])
    slots = bench.sink("o_slot", layout_codec(slot_layout(columns, size))[1])
    number = 0
    while number < 40:
        job = Job(rng, activations)
        job.add_random(12)
        number += len(job.commands)
        await load_runs(bench, job.runs)
        source.send({"reserved": 0, **command} for command in job.commands)
        for command in job.commands:
            for window in job.tiles(command):
                if command["kind"] == ExecuteKind.MAX:
                    await slots.expect([max_pool(window).tolist()])
                else:
                    await windows.expect(window_words(window))
        assert not int(dut.o_error.value)


@cocotb.test()
async def gathers_a_word_a_cycle(dut) -> None:
    """Where the lanes' banks are distinct: rows as long as a tile with padding around, odd strides, copies; a pixel's planes as pixels."""
    bench = await Bench.start(dut)
    table = parameters()
    columns, size, words = table["columns"], table["group_size"], table["banks"] * table["depth"]
    rng = np.random.default_rng([bench.seed, columns])
    activations = random_activations(rng, words)
    await write(bench, activations)
    source = bench.source("i_command", layout_codec(word_layout(EXECUTE))[0])
    windows = bench.sink("o_window", layout_codec(window_word_layout(columns, size))[1])
    slots = bench.sink("o_slot", layout_codec(slot_layout(columns, size))[1])
    shape = {"columns": columns, "height": 6, "width": columns}
    job = Job(rng, activations)
    assert job.add(*convolution(**shape, kernel=(3, 3), padding=1, planes=2))
    assert job.add(*convolution(**shape, kernel=(1, 1), planes=4, pitch=6 * columns + 3))
    assert job.add(*convolution(**{**shape, "width": 3 * columns}, kernel=(1, 3), stride=3))
    assert job.add(*convolution(**shape, kernel=(3, 3), padding=1, sharing=Sharing.GROUPED, parts=2, kind=ExecuteKind.MAX))
    assert job.add(*convolution(**shape, kernel=(1, 1), kind=ExecuteKind.MAX, sharing=Sharing.GROUPED, parts=3))
    # The average over an image of 5 pixels: K is the pixels, and what else are planes are pixels.
    planes, pitch = 2 * columns, 7
    walk = {"width": planes, "lane_dx": 0, "wrap_dx": 0, "wrap_dy": 0, "lane_dq": pitch, "wrap_dq": 0}
    ring = (planes - 1) * pitch + 1
    average = execute(
        pixels=planes,
        row_tiles=1,
        input_height=1,
        input_width=1,
        input_ring=ring,
        input_base=3,
        **walk,
        **tile_steps(columns=columns, ring=ring, **walk),
    )
    pixels = np.arange(5)
    runs = RUN.pack_array(dy=0 * pixels, dx=0 * pixels, pixels=0 * pixels, plane=pixels, words_minus_1=0 * pixels, last=pixels == 4)
    assert job.add(average, runs)
    await load_runs(bench, job.runs)
    for command in job.commands:
        sink = slots if command["kind"] == ExecuteKind.MAX else windows
        tiles = job.tiles(command)
        first = len(sink.transfers)
        source.send([{"reserved": 0, **command}])
        if command["kind"] == ExecuteKind.MAX:
            await sink.expect([max_pool(window).tolist() for window in tiles])
            assert np.diff(sink.cycles[first:]).tolist() == [len(window) for window in tiles[1:]]
        else:
            await sink.expect([word for window in tiles for word in window_words(window)])
            assert np.diff(sink.cycles[first:]).tolist() == [1] * (len(tiles) * len(tiles[0]) - 1)


@pytest.mark.parametrize(
    ("columns", "group_size", "banks"),
    [(3, 2, 4), pytest.param(14, 4, 16, marks=pytest.mark.slow), pytest.param(16, 4, 16, marks=pytest.mark.slow)],
)
def test_with_its_neighbours(columns: int, group_size: int, banks: int) -> None:
    table = {"columns": columns, "group_size": group_size, "banks": banks, "depth": 1200 // banks, "run_depth": 61}
    tests = ["works_with_its_neighbours/.*", "gathers_a_word_a_cycle"]
    simulate(GatherAndPool(**table), __file__, name="gather_and_pool", parameters=table, testcase=tests)
