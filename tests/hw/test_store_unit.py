"""Store unit: whatever STOREs, memory equals the golden model's; one beat a cycle where nothing holds back."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.arch import Config
from crisp.arch.commands import STORE
from crisp.golden.on_chip import OnChip
from crisp.golden.store_unit import store
from crisp_hw.axi import transfer_layout
from crisp_hw.layouts import read_request_layout, slot_layout
from crisp_hw.store_unit import StoreUnit, store_command_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

BASE = 0x70_0000_2000


class ActivationBuffer(Process):
    """Answers requests in order, after a time that the mode makes vary; the answer cannot be held back."""

    LATENCY = 6

    def __init__(self, bench: Bench, on_chip: OnChip) -> None:
        super().__init__(bench)
        config = on_chip.config
        self.on_chip = on_chip
        self.encode = layout_codec(slot_layout(config.columns, config.group_size))[0]
        self.requests = bench.sink("o_read", layout_codec(read_request_layout(config.columns, config.activation_words))[1])
        self.random = np.random.default_rng(bench.seed)
        self.varies = bench.mode is not Mode.FULL
        self.answered = 0

    def step(self) -> None:
        answers = self.answered < len(self.requests.transfers) and self.requests.cycles[self.answered] + self.LATENCY <= self.bench.cycle
        if answers and self.varies and self.random.random() < 0.3:
            answers = False
        self.dut.i_read__valid.value = int(answers)
        if answers:
            request = self.requests.transfers[self.answered]
            words = [
                self.on_chip.activations[address].tolist() if request["enables"] >> lane & 1 else [0] * self.on_chip.config.group_size
                for lane, address in enumerate(request["addresses"])
            ]
            self.dut.i_read__payload.value = self.encode(words)
            self.answered += 1
        else:
            self.dut.i_read__payload.value = self.random.bytes(1)[0]


class Writer(Process):
    """What the writer does: rows of memory from transfers and beats, each complete a while after its last beat."""

    DELAY = 9

    def __init__(self, bench: Bench, window: bytearray, beat_bytes: int) -> None:
        super().__init__(bench)
        self.window, self.beat_bytes = window, beat_bytes
        self.transfers = bench.sink("o_transfer", layout_codec(transfer_layout(26))[1])
        self.beats = bench.sink("o_data")
        self.rows = 0
        self.used = 0
        self.due: list[int] = []
        self.row_cycles: list[int] = []  # in which the component was told that a row is complete
        self.command_cycles: list[int] = []  # in which it said so of a command

    def step(self) -> None:
        if int(self.dut.o_done.value):
            self.command_cycles.append(self.bench.cycle)
        while self.rows < len(self.transfers.transfers):
            transfer = self.transfers.transfers[self.rows]
            number = -(-transfer["bytes"] // self.beat_bytes)
            if self.used + number > len(self.beats.transfers):
                break
            row = b"".join(beat.to_bytes(self.beat_bytes, "little") for beat in self.beats.transfers[self.used : self.used + number])
            start = transfer["address"] - BASE
            self.window[start : start + transfer["bytes"]] = row[: transfer["bytes"]]
            self.used += number
            self.rows += 1
            self.due.append(self.bench.cycle + self.DELAY)
        is_done = bool(self.due) and self.due[0] <= self.bench.cycle
        if is_done:
            self.due.pop(0)
            self.row_cycles.append(self.bench.cycle + 1)
        self.dut.i_done.value = int(is_done)


def random_commands(rng: np.random.Generator, config: Config, size: int) -> list[dict[str, int]]:
    """Make STOREs to a window of ``size`` bytes, which they fill from its begin on, with gaps."""
    commands = []
    place = 0
    for _ in range(12):
        words, rows = int(rng.integers(1, 70)), int(rng.integers(1, 7))
        beats = -(-words * config.group_size // config.beat_bytes) + int(rng.integers(0, 2))
        command = dict.fromkeys((field.name for field in STORE.fields), 0) | {
            "offset": place, "row_bytes": words * config.group_size, "rows": rows, "row_stride": beats * config.beat_bytes,
            "source_stride": int(rng.integers(0, 100)), "source": int(rng.integers(config.activation_words - 700)),
        }  # fmt: skip
        place += rows * command["row_stride"]
        if place > size:
            break
        commands.append(command)
    return commands


async def run(dut, mode: str, commands: list[dict[str, int]], config: Config, size: int) -> tuple[ActivationBuffer, Writer]:
    """Carry commands out and compare all of the window."""
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    on_chip = OnChip.cleared(config)
    on_chip.activations[:] = rng.integers(-128, 128, on_chip.activations.shape)
    window = bytearray(rng.bytes(size))
    expected = np.frombuffer(bytes(window), np.uint8).copy()
    buffer, writer = ActivationBuffer(bench, on_chip), Writer(bench, window, config.beat_bytes)
    source = bench.source("i_command", layout_codec(store_command_layout())[0])
    names = [name for name, _ in store_command_layout()["fields"].shape]
    source.send({"fields": {name: command[name] for name in names}, "base": BASE} for command in commands)
    await bench.until(
        lambda: len(writer.command_cycles) == len(commands),
        progress=lambda: (writer.rows, buffer.answered),
        what=lambda: f"{len(writer.command_cycles)} of {len(commands)} commands are complete",
    )
    for command in commands:
        store(command, expected, on_chip)
    await bench.wait(3)
    assert int(dut.o_idle.value)
    assert np.array_equal(np.frombuffer(bytes(window), np.uint8), expected)
    assert writer.used == len(writer.beats.transfers)
    # A command is complete with its last row.
    last_rows = np.cumsum([command["rows"] for command in commands]) - 1
    assert writer.command_cycles == [writer.row_cycles[row] + 1 for row in last_rows]
    return buffer, writer


def the_config() -> Config:
    return Config(**parameters()["config"])


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def stores_rows(dut, mode: str) -> None:
    config = the_config()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    size = 32768
    await run(dut, mode, random_commands(rng, config, size), config, size)


@cocotb.test()
@cocotb.parametrize(row_bytes=[448, 64, 48])
async def takes_a_beat_a_cycle(dut, row_bytes: int) -> None:
    """Many short rows, from row to row and from STORE to STORE, as long as the activation buffer has the lanes for it."""
    config = the_config()
    lanes = 1 << (config.columns.bit_length() - 1)
    command = dict.fromkeys((field.name for field in STORE.fields), 0) | {
        "rows": 9, "row_bytes": row_bytes, "row_stride": 512, "source": 5, "source_stride": row_bytes // config.group_size,
    }  # fmt: skip
    buffer, writer = await run(dut, "full", [command, {**command, "offset": 9 * 512}], config, 18 * 512)
    assert len(buffer.requests.transfers) == 18 * -(-row_bytes // config.group_size // lanes)
    if config.beat_bytes <= lanes * config.group_size:
        writer.beats.check_throughput()
    else:
        buffer.requests.check_throughput()


CONFIGS = {
    "tiny": {"rows": 4, "columns": 4, "group_size": 4, "drain_rows": 1, "axi_data_width": 32},
    "default": {"rows": 16, "columns": 16, "group_size": 4, "drain_rows": 2, "axi_data_width": 128},
    "fourteen_columns": {"rows": 8, "columns": 14, "group_size": 8, "drain_rows": 1, "axi_data_width": 64},
    "request_of_one_beat": {"rows": 16, "columns": 4, "group_size": 16, "drain_rows": 1, "axi_data_width": 512},
    "beat_of_many_requests": {"rows": 4, "columns": 3, "group_size": 2, "drain_rows": 1, "axi_data_width": 512},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_store_unit(name: str) -> None:
    table = {"activation_buffer_depth": 512, **CONFIGS[name]}
    simulate(StoreUnit(Config(**table)), __file__, name="store_unit", parameters={"config": table})
