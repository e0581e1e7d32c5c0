# amaranth: UnusedElaboratable=no
"""Slot addresses against their golden model: every command's words in order, one a cycle."""

import dataclasses

import cocotb
import numpy as np
import pytest
from tests.hw.result_commands import execute_command, random_command

from crisp.arch import EXECUTE, Config
from crisp.golden.vector_unit import addresses, output_positions, output_shape, residual_positions
from crisp_hw.slot_addresses import SlotAddresses
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

TINY = Config.preset("tiny")
CONFIGS = {
    "tiny": TINY,
    "two_banks": dataclasses.replace(TINY, rows=16, columns=3, drain_rows=2),
    "one_column": dataclasses.replace(TINY, rows=8, columns=1),
}


def expected_slots(command: dict[str, int], tensor: str, config: Config) -> list[tuple[dict[int, int], int]]:
    """List the address of each enabled lane, and whether it is the last, for every slot of a command."""
    row_tiles, words = output_shape(command, config)
    positions = {"output": output_positions, "residual": residual_positions}[tensor](command)
    table = addresses(command, tensor, positions, row_tiles, words)
    slots = []
    for first in range(0, command["pixels"], config.columns):
        for number in range(row_tiles * words):
            lanes = table[number // words, number % words, first : first + config.columns].tolist()
            slots.append((dict(enumerate(lanes)) if number < command["output_words"] else {}, 0))
    slots[-1] = (slots[-1][0], 1)
    return slots


def make(tensor: str, config: Config) -> SlotAddresses:
    """Build the component for a configuration."""
    return SlotAddresses(tensor=tensor, columns=config.columns, tile_words=config.tile_words, words=config.activation_words)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def equals_the_golden_model(dut, mode: str) -> None:
    """Commands one after the other; each begins as soon as the one before has ended."""
    tensor, config = parameters()["tensor"], CONFIGS[parameters()["config"]]
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    _, decode = layout_codec(make(tensor, config).slot_layout)

    def enabled(word: int) -> tuple[dict[int, int], int]:
        slot = decode(word)
        request = slot["request"]
        assert slot["wanted"] == request["enables"] & 1
        return {lane: address for lane, address in enumerate(request["addresses"]) if request["enables"] >> lane & 1}, slot["last"]

    sink = bench.sink("o_slots", enabled)
    for number in range(60):
        command = random_command(rng, config) if number else execute_command()
        dut.i_command.value = EXECUTE.pack(**command)
        dut.i_start.value = 1
        start = bench.cycle + 1
        await bench.wait(1)
        dut.i_start.value = 0
        expected = expected_slots(command, tensor, config)
        before = len(sink.cycles)
        await sink.expect(expected)
        if bench.mode is Mode.FULL:
            cycles = sink.cycles[before:]
            assert cycles[0] == start + config.columns + SlotAddresses.LATENCY
            assert np.array_equal(np.diff(cycles), np.ones(len(cycles) - 1))
    await sink.expect_nothing(cycles=10)


@pytest.mark.parametrize("tensor", ["output", "residual"])
@pytest.mark.parametrize("config", CONFIGS)
def test_slot_addresses(config: str, tensor: str) -> None:
    simulate(make(tensor, CONFIGS[config]), __file__, name="slot_addresses", parameters={"config": config, "tensor": tensor})


def test_wrong_tensor() -> None:
    with pytest.raises(ValueError, match=r"^tensor must be one of output, residual, not 'input'$"):
        SlotAddresses(tensor="input", columns=4, tile_words=1, words=64)
