"""Step issuer against its golden model: every step, in its cycle, and the cause of every cycle without one."""

import dataclasses

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.arch import Sharing
from crisp.golden.block_walker import Block
from crisp.golden.step_issuer import issue, issue_cycles
from crisp_hw.layouts import block_layout
from crisp_hw.step_issuer import Cause, StepIssuer
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

COLUMN_DEPTH = 256
ENDS = ("block_end", "list_end", "tile_end", "window_end", "pixel_tile_end", "command_end")


def draw_blocks(rng: np.random.Generator, *, least_steps: int, pixel_tiles: int, sharing: Sharing, is_open: bool = False) -> list[Block]:
    """Draw the blocks of a command whose row tiles have at least ``least_steps`` steps, many of them just that."""
    blocks = []
    row_tiles = int(rng.integers(1, 5))
    for pixel_tile in range(pixel_tiles):
        for tile in range(row_tiles):
            shapes = [(1, 1)] * (least_steps == 1 and rng.random() < 0.4)
            while sum(groups * n for groups, n in shapes) < least_steps or rng.random() < 0.2:
                shapes.append((int(rng.choice([1, 1, 2, 5])), int(rng.choice([1, 1, 2, 3, 16]))))
            for number, (groups, n) in enumerate(shapes):
                ends_list = number == len(shapes) - 1
                ends_pixel_tile = ends_list and tile == row_tiles - 1
                ends_tile = ends_list and (ends_pixel_tile or sharing is not Sharing.SPLIT) and not is_open
                ends_window = ends_list and (ends_pixel_tile or sharing is not Sharing.SHARED)
                ends_command = ends_pixel_tile and pixel_tile == pixel_tiles - 1
                address = int(rng.integers(0, COLUMN_DEPTH - groups))
                blocks.append(Block(address, groups, n, ends_list, ends_tile, ends_window, ends_pixel_tile, ends_command))
    return blocks


def draw_commands(rng: np.random.Generator, *, least_steps: int, number: int) -> list[Block]:
    """Draw the blocks of commands of every kind, one behind the other."""
    blocks = []
    for _ in range(number):
        sharing = rng.choice(list(Sharing))
        is_open = sharing == Sharing.SPLIT and rng.random() < 0.3
        pixel_tiles = 1 if is_open else int(rng.integers(1, 6))
        blocks += draw_blocks(rng, least_steps=least_steps, pixel_tiles=pixel_tiles, sharing=Sharing(sharing), is_open=is_open)
    return blocks


def encoder():
    """Return what makes a `Block` a payload."""
    encode, _ = layout_codec(block_layout(COLUMN_DEPTH))

    def encode_block(block: Block) -> int:
        fields = dataclasses.asdict(block)
        return encode(fields | {"groups_minus_1": fields["groups"] - 1, "n_minus_1": fields["n"] - 1})

    return encode_block


class Surroundings(Process):
    """Windows and outputs around the issuer, and a model that says what it must do in every cycle.

    Parameters
    ----------
    bench : Bench
        The bench.
    blocks : list of Block
        What its source was given.
    source : StreamSource
        Source of the blocks, made before this.
    rng : numpy.random.Generator
        Decides when windows and room are there.
    availability : float
        Probability that a word, the rest of its window, or room is there, cycle by cycle.
    """

    def __init__(self, bench: Bench, blocks: list[Block], source, rng: np.random.Generator, availability: float) -> None:
        super().__init__(bench)
        self.steps = issue(blocks)
        self.source = source
        self.first_transfer = len(source.transfers)
        self.random = rng
        self.availability = availability
        self.accepted = 0  # blocks taken before this cycle
        self.cycles: list[int] = []  # of each step issued
        self.causes: list[Cause] = []
        self.tile_end = -(10**9)
        self.inputs = None

    @property
    def finished(self) -> bool:
        """All steps are issued."""
        return len(self.cycles) == len(self.steps)

    def step(self) -> None:
        if self.inputs:
            self.check(*self.inputs)
        self.accepted = len(self.source.transfers) - self.first_transfer
        arrived, whole, room = (bool(self.random.random() < self.availability) for _ in range(3))
        self.inputs = arrived and whole, arrived, room  # a complete window has arrived
        self.dut.i_command.value = int(not self.finished)
        for port, value in zip(("i_complete", "i_arrived", "i_room"), self.inputs, strict=True):
            getattr(self.dut, port).value = int(value)

    def check(self, complete: bool, arrived: bool, room: bool) -> None:
        """Check the cycle that ends."""
        cycle = self.bench.cycle
        seen = {name: bool(int(getattr(self.dut, f"o_{name}").value)) for name in ("issue", *ENDS)}
        cause = Cause(int(self.dut.o_cause.value))
        self.causes.append(cause)
        nothing = dict.fromkeys(seen, False)
        if self.finished:
            assert seen == nothing
            assert cause is Cause.TAIL
            return

        step = self.steps[len(self.cycles)]
        reasons = {
            Cause.WEIGHTS: step.block >= self.accepted,
            Cause.WINDOWS: not arrived or (step.window_end and not complete),
            Cause.DRAIN: step.tile_end and cycle - self.tile_end < parameters()["bank_rows"],
            Cause.OUTPUT: step.tile_end and not room,
        }
        expected = next((reason for reason, holds in reasons.items() if holds), Cause.ACTIVE)
        assert cause is expected, f"step {len(self.cycles)} in cycle {cycle}"
        if expected is not Cause.ACTIVE:
            assert seen == nothing
            return
        assert seen == {"issue": True} | {name: getattr(step, name) for name in ENDS}, f"step {len(self.cycles)}"
        assert int(self.dut.o_step.value) == step.step
        assert int(self.dut.o_word.value) == step.word
        self.cycles.append(cycle)
        if step.tile_end:
            self.tile_end = cycle


async def run(bench: Bench, source, blocks: list[Block], rng: np.random.Generator, availability: float = 1.0) -> Surroundings:
    """Issue the steps of commands."""
    source.send(blocks)
    surroundings = Surroundings(bench, blocks, source, rng, availability)
    await bench.until(
        lambda: surroundings.finished,
        progress=lambda: len(surroundings.cycles),
        what=lambda: f"{len(surroundings.cycles)} of {len(surroundings.steps)} steps were issued",
    )
    await bench.wait(5)
    surroundings.stop()
    return surroundings


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def issues_every_step(dut, mode: str) -> None:
    """Commands one behind the other; but in full mode windows and room come and go."""
    bench = await Bench.start(dut, mode=mode)
    source = bench.source("i_block", encoder())
    rng = np.random.default_rng(bench.seed)
    availability = {Mode.FULL: 1.0, Mode.IDLE: 0.7, Mode.BACKPRESSURE: 0.4}[bench.mode]
    causes = set()
    for least_steps in (1, 1, 3, 8, 1, 1, 1):
        blocks = draw_commands(rng, least_steps=least_steps, number=int(rng.integers(1, 6)))
        causes.update((await run(bench, source, blocks, rng, availability)).causes)
    expected = {Cause.ACTIVE, Cause.TAIL, Cause.WEIGHTS}
    expected |= {Cause.WINDOWS, Cause.OUTPUT} if availability < 1 else set()
    expected |= {Cause.DRAIN} if parameters()["bank_rows"] > 1 else set()
    assert causes == expected


@cocotb.test()
async def never_waits_needlessly(dut) -> None:
    """A step a cycle between blocks, tiles, windows and commands; tiles of fewer steps than ``bank_rows`` take just that long."""
    bank_rows = parameters()["bank_rows"]
    bench = await Bench.start(dut)
    source = bench.source("i_block", encoder())
    rng = np.random.default_rng(bench.seed)
    for least_steps in (bank_rows, 1):
        blocks = draw_commands(rng, least_steps=least_steps, number=8)
        surroundings = await run(bench, source, blocks, rng)
        cycles = [cycle - surroundings.cycles[0] for cycle in surroundings.cycles]
        assert cycles == issue_cycles(surroundings.steps, bank_rows)
        if least_steps == bank_rows:
            assert cycles == list(range(len(cycles)))


@pytest.mark.parametrize("bank_rows", [1, 2, 8])
def test_step_issuer(bank_rows: int) -> None:
    component = StepIssuer(weight_depth=4096, column_depth=COLUMN_DEPTH, bank_rows=bank_rows)
    simulate(component, __file__, name="step_issuer", parameters={"bank_rows": bank_rows})


@pytest.mark.parametrize("bank_rows", [1, 2, 8])
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 9])
def test_utilization_of_the_model(steps: int, bank_rows: int) -> None:
    """Tiles of S steps use S / max(S, bank_rows) of the cycles."""
    tiles = [Block(0, steps, 1, True, True, tile == 9, tile == 9, tile == 9) for tile in range(10)]
    cycles = issue_cycles(issue(tiles), bank_rows)
    assert cycles[-1] - cycles[steps - 1] == 9 * max(steps, bank_rows)
