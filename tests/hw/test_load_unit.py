"""Load unit: whatever LOADs, the buffers equal the golden model's at every completion; one beat a cycle where nothing holds back."""

import dataclasses
from collections.abc import Iterator

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.arch import Config
from crisp.arch.commands import LOAD, LoadTarget
from crisp.arch.loads import PATCH_ROW_BYTES, element_bytes, target_depth
from crisp.golden.load_unit import load
from crisp.golden.on_chip import OnChip
from crisp_hw.axi import transfer_layout
from crisp_hw.axi_reader import beat_layout
from crisp_hw.layouts import step_layout, write_port_layout, write_request_layout
from crisp_hw.load_unit import LoadUnit, load_command_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, StreamSink, layout_codec

BASE = 0xA0_0000_1000

SINGLE = [target for target in LoadTarget if target not in (LoadTarget.ACTIVATIONS, LoadTarget.PATCHES)]


def step_after(process: Process, other: StreamSink) -> None:
    """Let a process see what another took in the same cycle."""
    process.bench.processes.remove(process)
    process.bench.processes.insert(process.bench.processes.index(other) + 1, process)


def pairs(held: OnChip, expected: OnChip) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name of every buffer, and what it holds on both sides."""
    for name in ("runs", "table", "activations"):
        yield name, getattr(held, name), getattr(expected, name)
    for number, (one, other) in enumerate(zip(held.clusters, expected.clusters, strict=True)):
        for field in dataclasses.fields(one):
            yield f"{field.name} of cluster {number}", getattr(one, field.name), getattr(other, field.name)


class Memory(Process):
    """What a client of the reader sees: a transfer is answered by its beats, in order."""

    def __init__(self, bench: Bench, data: np.ndarray, beat_bytes: int) -> None:
        super().__init__(bench)
        encode, decode = layout_codec(beat_layout(8 * beat_bytes))[0], layout_codec(transfer_layout(26))[1]
        self.data, self.beat_bytes = data, beat_bytes
        self.transfers = bench.sink("o_transfer", decode)
        self.beats = bench.source("i_beats", encode)
        self.answered = 0
        step_after(self, self.transfers)

    def step(self) -> None:
        for transfer in self.transfers.transfers[self.answered :]:
            self.answered += 1
            start = transfer["address"] - BASE
            number = -(-transfer["bytes"] // self.beat_bytes)
            assert 0 <= start
            assert start + transfer["bytes"] <= len(self.data)
            for beat in range(number):
                place = start + beat * self.beat_bytes
                word = int.from_bytes(self.data[place : place + self.beat_bytes].tobytes(), "little")
                self.beats.send([{"data": word, "last": int(beat == number - 1)}])


class Buffers(Process):
    """Buffers that the component fills: `OnChip` by its ports. The activation buffer is slow: requests take a while to arrive.

    At each completion they must equal ``expected``, on which the next of ``commands`` is then carried out in NumPy.
    """

    DELAY = 6

    def __init__(self, bench: Bench, config: Config, window: np.ndarray, commands: list[dict[str, int]]) -> None:
        super().__init__(bench)
        self.window, self.commands = window, commands
        self.held, self.expected = OnChip.cleared(config), OnChip.cleared(config)
        self.writes = bench.sink(
            "o_write", layout_codec(write_request_layout(config.columns, config.group_size, config.activation_words))[1]
        )
        step_after(self, self.writes)
        self.arrived = 0
        self.done = 0
        self.step_codec = layout_codec(write_port_layout(step_layout(config.rows, config.group_size), config.weight_buffer_depth))[1]
        self.ports = {}
        clusters = self.held.clusters
        for name, buffers, width in [
            ("o_count", [cluster.counts for cluster in clusters], 16),
            ("o_entry", [cluster.entries for cluster in clusters], 16),
            ("o_channel", [cluster.channels for cluster in clusters], 64),
            ("o_run", [self.held.runs] * len(clusters), 64),
            ("o_table", [self.held.table] * len(clusters), 8),
        ]:
            self.ports[name] = (layout_codec(write_port_layout(width, len(buffers[0])))[1], buffers)

    def step(self) -> None:
        clusters = [number for number in range(len(self.held.clusters)) if int(self.dut.o_clusters.value) >> number & 1]
        if int(self.dut.o_step.value) & 1:
            step = self.step_codec(int(self.dut.o_step.value))
            for number in clusters:
                self.held.clusters[number].values[step["address"]] = step["data"]["values"]
                self.held.clusters[number].offsets[step["address"]] = step["data"]["offsets"]
        for name, (decode, buffers) in self.ports.items():
            value = int(getattr(self.dut, name).value)
            if value & 1:
                write = decode(value)
                for number in clusters:
                    # Without a sign; NumPy would refuse 200 as an int8.
                    buffer = buffers[number]
                    buffer.view(f"u{buffer.itemsize}")[write["address"]] = write["data"]
        while self.arrived < len(self.writes.transfers) and self.writes.cycles[self.arrived] + self.DELAY <= self.bench.cycle:
            write = self.writes.transfers[self.arrived]
            for lane, (address, word) in enumerate(zip(write["addresses"], write["data"], strict=True)):
                if write["enables"] >> lane & 1:
                    self.held.activations[address] = word
            self.arrived += 1
        self.dut.i_writing.value = int(self.arrived < len(self.writes.transfers))
        if int(self.dut.o_done.value):
            load(self.commands[self.done], self.window, self.expected)
            for name, held, expected in pairs(self.held, self.expected):
                if not np.array_equal(held, expected):
                    place = np.argwhere(held != expected)[0]
                    raise AssertionError(f"{name}{place}: {held[tuple(place)]}, not {expected[tuple(place)]}: {self.commands[self.done]}")
            self.done += 1


def random_command(rng: np.random.Generator, config: Config, target: LoadTarget, size: int) -> dict[str, int]:
    """Make a LOAD from a window of ``size`` bytes: lengths of all kinds, rows that follow each other or do not."""
    beat, group = config.beat_bytes, config.group_size
    command = {field.name: int(rng.integers(1 << field.width)) if not field.signed else 0 for field in LOAD.fields}
    command |= {"target": int(target), "rows": 1, "fill": int(rng.integers(-128, 128))}
    takes_all = bool(rng.integers(2))
    command |= {"cluster": 0 if takes_all else int(rng.integers(config.clusters)), "all_clusters": int(takes_all)}
    unit, depth = element_bytes(target, config), target_depth(target, config)
    if target in SINGLE:
        number = int(rng.integers(1, min(depth, 80) + 1))
        if target is LoadTarget.STEPS and number % (8 // max(1, group.bit_length() - 1)) == 0:
            number += 1
        command["row_bytes"] = min(number, depth) * unit
        command["destination"] = int(rng.integers(depth - min(number, depth) + 1))
    elif target is LoadTarget.ACTIVATIONS:
        words = int(rng.integers(1, 70))
        command |= {"row_bytes": words * group, "rows": int(rng.integers(1, 6))}
        command["destination_stride"] = words + int(rng.integers(0, 9))
        command["destination"] = int(rng.integers(depth - 6 * 80))
    else:
        patches, words = int(rng.integers(1, 30)), int(rng.integers(1, 5))
        command |= {"row_bytes": int(rng.integers(1, 150)), "rows": int(rng.integers(1, 6)), "patches": patches, "patch_words": words}
        command |= {"patch_step": int(rng.integers(1, 12)), "patch_lead": int(rng.integers(0, 10))}
        command["destination_stride"] = command["rows"] * patches + int(rng.integers(0, 5))
        command["destination"] = int(rng.integers(depth - 5 * 6 * 30))
    pitch = -(-command["row_bytes"] // beat) + int(rng.integers(0, 3))
    command["row_stride"] = pitch * beat
    length = (command["rows"] - 1) * command["row_stride"] + command["row_bytes"]
    command["offset"] = int(rng.integers((size - length) // beat)) * beat
    return command


async def run(dut, mode: str, commands: list[dict[str, int]], config: Config, window: np.ndarray) -> tuple[Bench, Buffers, Memory]:
    """Carry commands out."""
    bench = await Bench.start(dut, mode=mode)
    memory = Memory(bench, window, config.beat_bytes)
    buffers = Buffers(bench, config, window, commands)
    encode, _ = layout_codec(load_command_layout())
    names = [name for name, _ in load_command_layout()["fields"].shape]
    source = bench.source("i_command", encode)
    source.send({"fields": {name: command[name] for name in names}, "base": BASE} for command in commands)
    await bench.until(
        lambda: buffers.done == len(commands),
        progress=lambda: (buffers.done, len(memory.beats.transfers), len(buffers.writes.transfers)),
        what=lambda: f"{buffers.done} of {len(commands)} commands are complete; next is {commands[buffers.done]}",
    )
    await bench.wait(3)
    assert int(dut.o_idle.value)
    assert not memory.beats.queue
    return bench, buffers, memory


def the_config() -> Config:
    return Config(**parameters()["config"])


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def fills_all_buffers(dut, mode: str) -> None:
    """Targets in random order, each several times."""
    config = the_config()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    window = rng.integers(0, 256, 16384, dtype=np.uint8)
    targets = [LoadTarget(int(target)) for target in rng.permutation(np.tile(np.arange(len(LoadTarget)), 4))]
    await run(dut, mode, [random_command(rng, config, target, len(window)) for target in targets], config, window)


@cocotb.test()
@cocotb.parametrize(row_bytes=[448, 64, 52])
async def activations_take_a_beat_a_cycle(dut, row_bytes: int) -> None:
    """Many short rows, from one to the next as well, as long as the activation buffer has the lanes for it."""
    config = the_config()
    lanes = 1 << (config.columns.bit_length() - 1)
    row_bytes -= row_bytes % config.group_size
    beats = -(-row_bytes // config.beat_bytes)
    window = np.random.default_rng(1).integers(0, 256, 18 * 512, dtype=np.uint8)
    command = dict.fromkeys((field.name for field in LOAD.fields), 0) | {
        "target": int(LoadTarget.ACTIVATIONS), "rows": 18, "row_bytes": row_bytes, "row_stride": 512, "destination": 3,
        "destination_stride": row_bytes // config.group_size,
    }  # fmt: skip
    _, buffers, memory = await run(dut, "full", [command], config, window)
    cycles = memory.beats.cycles
    requests = 18 * -(-row_bytes // config.group_size // lanes)
    if config.beat_bytes <= lanes * config.group_size:
        assert np.diff(cycles).max() == 1
    else:
        buffers.writes.check_throughput()
    assert len(cycles) == 18 * beats
    # Requests carry as many words as they can.
    assert len(buffers.writes.transfers) == requests


@cocotb.test()
async def patches_take_a_word_a_cycle(dut) -> None:
    """An image's first layer: reading of the next row is hidden."""
    config = the_config()
    window = np.random.default_rng(2).integers(0, 256, 8 * 256, dtype=np.uint8)
    command = dict.fromkeys((field.name for field in LOAD.fields), 0) | {
        "target": int(LoadTarget.PATCHES), "rows": 8, "row_bytes": 96, "row_stride": 256, "destination": 7, "destination_stride": 300,
        "patch_step": 3, "patch_words": 3, "patch_lead": 3, "patches": 32, "fill": -5,
    }  # fmt: skip
    _, buffers, _ = await run(dut, "full", [command], config, window)
    lanes = 1 << (config.columns.bit_length() - 1)
    first, last = buffers.writes.cycles[0], buffers.writes.cycles[-1]
    assert len(buffers.writes.transfers) == 8 * 3 * -(-32 // lanes)
    if config.beat_bytes <= lanes * config.group_size:
        assert last - first == 8 * 3 * 32 - min(lanes, 32)
    else:
        # Words wait while those of a whole beat go on in several requests.
        assert last - first <= 8 * 3 * (32 + 32 // lanes)


@cocotb.test()
async def longest_rows_of_patches(dut) -> None:
    """Both halves of the row buffer up to their last byte, a patch that reaches as far as one can."""
    config = the_config()
    window = np.random.default_rng(3).integers(0, 256, 3 * PATCH_ROW_BYTES, dtype=np.uint8)
    command = dict.fromkeys((field.name for field in LOAD.fields), 0) | {
        "target": int(LoadTarget.PATCHES), "rows": 3, "row_bytes": PATCH_ROW_BYTES, "row_stride": PATCH_ROW_BYTES, "destination": 0,
        "destination_stride": 60, "patch_step": 255, "patch_words": 15, "patch_lead": 255, "patches": 20, "fill": 99,
    }  # fmt: skip
    await run(dut, "full", [command], config, window)


@cocotb.test()
async def memory_latency_costs_once(dut) -> None:
    """Rows of the next LOADs are asked for while one is at work."""
    config = the_config()
    window = np.zeros(4096, np.uint8)
    command = dict.fromkeys((field.name for field in LOAD.fields), 0) | {"target": int(LoadTarget.CHANNELS), "row_bytes": 320, "rows": 1}
    _, _, memory = await run(dut, "full", [command] * LoadUnit.COMMANDS_AHEAD, config, window)
    assert memory.transfers.cycles[-1] < memory.transfers.cycles[0] + 10


CONFIGS = {
    "tiny": {"rows": 4, "columns": 4, "group_size": 4, "drain_rows": 1, "axi_data_width": 32},
    "default": {"rows": 16, "columns": 16, "group_size": 4, "drain_rows": 2, "axi_data_width": 128},
    "fourteen_columns": {"rows": 8, "columns": 14, "group_size": 8, "drain_rows": 1, "axi_data_width": 64, "clusters": 4},
    "word_of_many_beats": {"rows": 16, "columns": 4, "group_size": 16, "drain_rows": 1, "axi_data_width": 32},
    "beat_of_many_words": {"rows": 4, "columns": 3, "group_size": 2, "drain_rows": 1, "axi_data_width": 512},
}

DEPTHS = {
    "activation_buffer_depth": 1024, "column_buffer_depth": 64, "weight_buffer_depth": 100, "entry_buffer_depth": 70,
    "block_row_buffer_depth": 33, "channel_buffer_depth": 64, "run_buffer_depth": 50,
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_load_unit(name: str) -> None:
    table = {**DEPTHS, **CONFIGS[name]}
    simulate(LoadUnit(Config(**table)), __file__, name="load_unit", parameters={"config": table})
