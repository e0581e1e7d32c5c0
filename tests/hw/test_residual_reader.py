# amaranth: UnusedElaboratable=no
"""Residual reader: every slot's words in order, however late the buffer answers; never more requests than there is room for."""

import dataclasses

import cocotb
import numpy as np
import pytest
from tests.hw.read_buffer import ReadBuffer
from tests.hw.result_commands import random_command

from crisp.arch import EXECUTE, Config
from crisp.golden.vector_unit import addresses, output_shape, residual_positions
from crisp_hw.layouts import read_request_layout
from crisp_hw.residual_reader import ResidualReader
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode

TINY = Config.preset("tiny")
CONFIGS = {"tiny": TINY, "two_banks": dataclasses.replace(TINY, rows=16, columns=3, drain_rows=2)}

#: Cycles that the buffer takes.
READ_CYCLES = 5


def expected_slots(command: dict[str, int], activations: np.ndarray, config: Config) -> list[bytes]:
    """List the residuals of all slots of a command, 0 where there is none."""
    row_tiles, words = output_shape(command, config)
    residuals = activations[addresses(command, "residual", residual_positions(command), row_tiles, words)].reshape(
        row_tiles * words, command["pixels"], config.group_size
    )
    residuals[command["output_words"] :] = 0
    padded = np.pad(residuals, ((0, 0), (0, -command["pixels"] % config.columns), (0, 0)))
    return [part.tobytes() for first in range(0, padded.shape[1], config.columns) for part in padded[:, first : first + config.columns]]


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def reads_ahead(dut, mode: str) -> None:
    """Commands one after the other. With a buffer that answers in time there is a slot in every cycle."""
    config, depth = CONFIGS[parameters()["config"]], parameters()["depth"]
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    activations = rng.integers(-128, 128, (config.activation_words, config.group_size)).astype(np.int8)
    slot_bytes = config.columns * config.group_size
    sink = bench.sink("o_slots", lambda word: word.to_bytes(slot_bytes, "little"))
    layout = read_request_layout(config.columns, config.activation_words)
    buffer = ReadBuffer(bench, activations, layout, cycles=READ_CYCLES, late=bench.mode is Mode.IDLE)
    deepest = 0

    class Room:
        """Watch how many slots are requested and not taken."""

        def step(self) -> None:
            nonlocal deepest
            deepest = max(deepest, len(buffer.requests.transfers) - len(sink.transfers))

        def forget(self) -> None:
            """Nothing."""

    bench.processes.append(Room())
    for _ in range(40):
        command = random_command(rng, config)
        dut.i_command.value = EXECUTE.pack(**command)
        dut.i_start.value = 1
        await bench.wait(1)
        dut.i_start.value = 0
        before = len(sink.cycles)
        await sink.expect(expected_slots(command, activations, config))
        if bench.mode is Mode.FULL and depth >= READ_CYCLES + 2:
            assert np.array_equal(np.diff(sink.cycles[before:]), np.ones(len(sink.cycles) - before - 1))
    await sink.expect_nothing(cycles=20)
    assert deepest == depth or bench.mode is Mode.FULL
    assert deepest <= depth


@pytest.mark.parametrize(("config", "depth"), [("tiny", READ_CYCLES + 2), ("tiny", 2), ("two_banks", READ_CYCLES + 2)])
def test_residual_reader(config: str, depth: int) -> None:
    sizes = CONFIGS[config]
    component = ResidualReader(
        columns=sizes.columns, group_size=sizes.group_size, tile_words=sizes.tile_words, words=sizes.activation_words, depth=depth
    )
    simulate(component, __file__, name="residual_reader", parameters={"config": config, "depth": depth})
