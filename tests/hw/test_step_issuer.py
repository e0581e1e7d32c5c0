"""Step issuer against its golden model: every step, in its cycle, and the cause of every cycle without one."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.golden.block_walker import Block
from crisp.golden.step_issuer import issue, issue_cycles
from crisp_hw.layouts import block_layout
from crisp_hw.step_issuer import Cause, StepIssuer
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

COLUMN_DEPTH = 256


def draw_blocks(rng: np.random.Generator, *, least_steps: int, windows: int) -> list[Block]:
    """Draw the blocks of a layer whose tiles have at least ``least_steps`` steps, many of them just that."""
    blocks = []
    for window in range(windows):
        row_tiles = int(rng.integers(1, 5))
        for tile in range(row_tiles):
            shapes = [(1, 1)] * (least_steps == 1 and rng.random() < 0.4)
            while sum(groups * n for groups, n in shapes) < least_steps or rng.random() < 0.2:
                shapes.append((int(rng.choice([1, 1, 2, 5])), int(rng.choice([1, 1, 2, 3, 16]))))
            for number, (groups, n) in enumerate(shapes):
                last_of_tile = number == len(shapes) - 1
                last_of_window = last_of_tile and tile == row_tiles - 1
                address = int(rng.integers(0, COLUMN_DEPTH - groups))
                last_of_layer = last_of_window and window == windows - 1
                blocks.append(Block(address, groups, n, last_of_tile, last_of_window, last_of_layer, 0))
    return blocks


def encoder():
    """Return what makes a `Block` a payload."""
    encode, _ = layout_codec(block_layout(COLUMN_DEPTH))
    flags = ("last_of_tile", "last_of_window", "last_of_layer")

    def encode_block(block: Block) -> int:
        numbers = {"address": block.address, "groups_minus_1": block.groups - 1, "n_minus_1": block.n - 1}
        return encode(numbers | {flag: getattr(block, flag) for flag in flags})

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
        self.dut.i_run.value = 1
        for port, value in zip(("i_complete", "i_arrived", "i_room"), self.inputs, strict=True):
            getattr(self.dut, port).value = int(value)

    def check(self, complete: bool, arrived: bool, room: bool) -> None:
        """Check the cycle that ends."""
        cycle = self.bench.cycle
        seen = {name: bool(int(getattr(self.dut, f"o_{name}").value)) for name in
                ("issue", "tile_end", "window_end", "finished")}  # fmt: skip
        cause = Cause(int(self.dut.o_cause.value))
        self.causes.append(cause)
        nothing = dict.fromkeys(seen, False)
        if self.finished:
            assert seen == nothing | {"finished": True}
            assert cause is Cause.TAIL
            return

        step = self.steps[len(self.cycles)]
        reasons = {
            Cause.WEIGHTS: step.block >= self.accepted,
            Cause.WINDOWS: not arrived or (step.last_of_window and not complete),
            Cause.DRAIN: step.last_of_tile and cycle - self.tile_end < parameters()["bank_rows"],
            Cause.OUTPUT: step.last_of_tile and not room,
        }
        expected = next((reason for reason, holds in reasons.items() if holds), Cause.ACTIVE)
        assert cause is expected, f"step {len(self.cycles)} in cycle {cycle}"
        if expected is not Cause.ACTIVE:
            assert seen == nothing
            return
        ends = {"tile_end": step.last_of_tile, "window_end": step.last_of_window}
        assert seen == nothing | {"issue": True} | ends, f"step {len(self.cycles)}"
        assert int(self.dut.o_weight_address.value) == step.weight_address
        assert int(self.dut.o_column_address.value) == step.column_address
        self.cycles.append(cycle)
        if step.last_of_tile:
            self.tile_end = cycle


async def run_layer(bench: Bench, source, blocks: list[Block], rng: np.random.Generator, availability: float = 1.0) -> Surroundings:
    """Issue the steps of a layer, and make ready for the next."""
    source.send(blocks)
    surroundings = Surroundings(bench, blocks, source, rng, availability)
    await bench.until(
        lambda: surroundings.finished,
        progress=lambda: len(surroundings.cycles),
        what=lambda: f"{len(surroundings.cycles)} of {len(surroundings.steps)} steps were issued",
    )
    await bench.wait(5)
    surroundings.stop()
    bench.dut.i_run.value = 0
    await bench.wait(1)
    return surroundings


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def issues_every_step(dut, mode: str) -> None:
    """Layer after layer; but in full mode windows and room come and go."""
    bench = await Bench.start(dut, mode=mode, i_run=0, i_complete=0, i_arrived=0, i_room=0)
    source = bench.source("i_block", encoder())
    rng = np.random.default_rng(bench.seed)
    availability = {Mode.FULL: 1.0, Mode.IDLE: 0.7, Mode.BACKPRESSURE: 0.4}[bench.mode]
    causes = set()
    for least_steps in (1, 1, 3, 8, 1, 1, 1):
        blocks = draw_blocks(rng, least_steps=least_steps, windows=int(rng.integers(1, 12)))
        causes.update((await run_layer(bench, source, blocks, rng, availability)).causes)
    expected = {Cause.ACTIVE, Cause.TAIL, Cause.WEIGHTS}
    expected |= {Cause.WINDOWS, Cause.OUTPUT} if availability < 1 else set()
    expected |= {Cause.DRAIN} if parameters()["bank_rows"] > 1 else set()
    assert causes == expected


@cocotb.test()
async def never_waits_needlessly(dut) -> None:
    """A step a cycle between blocks, tiles and windows; tiles of fewer steps than ``bank_rows`` take just that long."""
    bank_rows = parameters()["bank_rows"]
    bench = await Bench.start(dut, i_run=0, i_complete=0, i_arrived=0, i_room=0)
    source = bench.source("i_block", encoder())
    rng = np.random.default_rng(bench.seed)
    for least_steps in (bank_rows, 1):
        blocks = draw_blocks(rng, least_steps=least_steps, windows=20)
        surroundings = await run_layer(bench, source, blocks, rng)
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
    tiles = [Block(0, steps, 1, True, tile == 9, tile == 9, 0) for tile in range(10)]
    cycles = issue_cycles(issue(tiles), bank_rows)
    assert cycles[-1] - cycles[steps - 1] == 9 * max(steps, bank_rows)
