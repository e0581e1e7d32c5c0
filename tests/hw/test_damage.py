"""Damaged programs: bits of commands and of constants change, and the machine does what the golden models say, to the bit.

Programs are made to wait for everything, so that the order of commands is that of the golden machine whatever the damage. Then one of these
must come: the fault of the list that `crisp.golden.command_check` finds, one of the faults of data that `crisp.golden.data_check` finds,
or the end, with memory as the golden machine leaves it. Never a standstill, never a byte outside. Seeds are fixed.
"""

import copy
import dataclasses
import functools
import random
from collections.abc import Mapping

import numpy as np
import pytest
from tests.hw.accelerator_host import Host, Outcome
from tests.hw.command_lists import damage
from tests.sw.arch.programs import end, load, make_program
from tests.sw.compile.random_models import RandomNet

from crisp.arch import Config, ErrorCode, LoadTarget, MemoryWindow, Opcode, Program, Sharing
from crisp.arch.command_rules import COMMAND_WORDS
from crisp.arch.loads import element_bytes, target_depth
from crisp.bench.steady_state import compile_layer
from crisp.compile import compile_network, import_onnx
from crisp.golden.data_check import data_faults
from crisp.golden.gather import part_runs
from crisp.golden.machine import Machine
from crisp.golden.on_chip import OnChip
from crisp.golden.pixel_walk import pixel_positions, tile_steps
from crisp.golden.vector_unit import addresses, output_positions, output_shape, residual_positions
from crisp.quantize import export_onnx, quantize
from crisp_sim.machine import MachineSimulator, MemoryModel
from crisp_sim.random_layers import Case, random_layer

TINY = Config.preset("tiny")
MEMORIES = [MemoryModel(latency=5), MemoryModel(latency=40, bandwidth=0.5, outstanding=4), MemoryModel(latency=12, stall=0.4, seed=3)]

#: Words that a command may move, and products that it may take, before nobody waits for it.
LONG = 40_000

#: The programs that are damaged.
NAMES = ("pooling", "product", "long", "residual", "patches")


@functools.cache
def programs() -> dict[str, tuple[Program, np.ndarray]]:
    """Return right programs with their inputs: of each kind of command and of data."""
    found = {"pooling": (make_program(), np.random.default_rng(2).integers(-128, 128, (1, 5, 7, 6), dtype=np.int8))}
    for name, case in {
        "product": Case("layer", channels=24, inputs=64, pixels=13, block=16, n="mixed"),
        "long": Case("layer", channels=10, inputs=1300, pixels=6, block=64, n="mixed"),
    }.items():
        layer, x = random_layer(TINY, case, seed=5)
        image = np.ascontiguousarray(x[: layer.packed.shape[1]].T).reshape(1, 1, -1, layer.packed.shape[1])
        found[name] = compile_layer(layer, TINY, height=1, width=x.shape[1]), image
    for name, seed in {"residual": 21, "patches": 14}.items():
        model = RandomNet(seed, blocks=3)
        network = import_onnx(export_onnx(quantize(model, model.images(8, 1)), block=16), TINY)
        assert network.image is not None
        found[name] = compile_network(network, TINY, network.image), network.quantize_input(model.images(1, 2))
    return found


def serial(program: Program) -> list[tuple[Opcode, int]]:
    """Return a program's commands, each waiting for all before it."""
    issued = {Opcode.LOAD: 0, Opcode.EXECUTE: 0, Opcode.STORE: 0}
    commands = []
    for command in program.decode():
        waits = {f"wait_{queue.name.lower()}": count for queue, count in issued.items()}
        commands.append((command.opcode, COMMAND_WORDS[command.opcode].pack(**command.unpack() | waits)))
        if command.opcode in issued:
            issued[command.opcode] += 1
    return commands


def with_commands(program: Program, commands: list[tuple[Opcode, int]]) -> Program:
    data = b"".join(word.to_bytes(COMMAND_WORDS[opcode].num_bytes, "little") for opcode, word in commands)
    return dataclasses.replace(program, commands=data)


def damage_more(rng: random.Random, opcode: Opcode, word: int) -> int:
    """Return a command of which something is different, but not what it waits for."""
    layout = COMMAND_WORDS[opcode]
    names = [field.name for field in layout.fields if field.name.startswith("wait_")]
    waits = sum(((1 << 16) - 1) << layout.shift(name) for name in names)
    while True:
        changed = damage(rng, opcode, word)
        if changed != word and not (changed ^ word) & waits:
            return changed


# ----------------------------------------------------------------------------------------------------------------------------
# What must come


@dataclasses.dataclass
class Expected:
    """What a damaged program may come to.

    Parameters
    ----------
    outcomes : set of (ErrorCode, int)
        Codes and commands, with `ErrorCode.NONE` the end; nothing when it takes too long to be waited for.
    memory : mapping, optional
        The windows after the end, where the golden machine knows.
    """

    outcomes: set[tuple[ErrorCode, int]]
    memory: Mapping[MemoryWindow, np.ndarray] | None = None


def is_long(opcode: Opcode, fields: Mapping[str, int]) -> bool:
    """Tell whether a command takes long."""
    if opcode is Opcode.EXECUTE:
        return fields["pixels"] * fields["row_tiles"] * max(8, fields["window_words"]) > 16 * LONG
    if opcode is Opcode.END:
        return False
    patches = fields.get("patches", 0) * fields.get("patch_words", 0)
    return fields["rows"] * max(fields["row_bytes"], patches) > 4 * LONG


def is_walk_known(fields: Mapping[str, int]) -> bool:
    """Tell whether steps from tile to tile are those of as many pixels, and coordinates are within their bits."""
    names = ("width", "lane_dx", "wrap_dx", "wrap_dy", "lane_dq", "wrap_dq")
    steps = tile_steps(columns=TINY.columns, ring=fields["input_ring"], **{name: fields[name] for name in names})
    output = (TINY.columns + TINY.columns // fields["width"] * fields["output_wrap_dq"]) % fields["output_ring"]
    steps["output_tile_dq"] = output
    if fields["residual"]:
        same = (TINY.columns + TINY.columns // fields["width"] * fields["output_wrap_dq"]) % fields["residual_ring"]
        steps["output_tile_dq"] = output if same == output else -1
    y, x, _ = pixel_positions(fields)
    is_narrow = max(abs(values).max() for values in (y, x)) < 1 << 15
    return is_narrow and (fields["pixels"] <= TINY.columns or all(fields[name] == step for name, step in steps.items()))


def is_order_free(fields: Mapping[str, int], on_chip: OnChip) -> bool:
    """Tell whether results, residuals and input are places of their own, so that any order gives the same."""
    if fields["open"]:
        return True
    tiles, words = output_shape(fields, TINY)
    wanted = (np.arange(tiles)[:, None] * words + np.arange(words)) < fields["output_words"]
    written = addresses(fields, "output", output_positions(fields), tiles, words)[wanted].ravel()
    if len(set(written.tolist())) != len(written):
        return False
    is_read = np.zeros(TINY.activation_words, bool)
    y, x, q = pixel_positions(fields)
    for part in range(1 if fields["sharing"] == Sharing.SHARED else fields["row_tiles"]):
        runs = part_runs(fields, on_chip.runs, part)
        base = fields["input_base"] + (part * fields["part_stride"] if fields["sharing"] == Sharing.GROUPED else 0)
        for dy, dx, pixels, plane, last in zip(*(runs[name] for name in ("dy", "dx", "pixels", "plane", "words_minus_1")), strict=True):
            row, column = y + dy, x + dx
            inside = (row >= 0) & (row < fields["input_height"]) & (column >= 0) & (column < fields["input_width"])
            place = (q[inside] + pixels) % fields["input_ring"]
            is_read[(base + plane + np.arange(last + 1)[:, None] * fields["input_pitch"] + place).ravel()] = True
    if is_read[written].any():
        return False
    if fields["residual"]:
        added = addresses(fields, "residual", residual_positions(fields), tiles, words)[wanted].ravel()
        taken = dict(zip(written.tolist(), range(len(written)), strict=True))
        return all(taken.get(address, number) == number for number, address in enumerate(added.tolist()))
    return True


def predict(host: Host, on_chip: OnChip) -> Expected:
    """Run the golden models over what the host has."""
    fault = host.golden_fault()
    memory = {window: array.copy() for window, array in host.windows.items()}
    machine = Machine(on_chip, memory)
    after = set() if fault is None else {(fault.code, fault.command)}
    outcomes: set[tuple[ErrorCode, int]] = set()
    is_known = True
    data, place, index = host.program.commands, 0, 0
    while fault is None or index < fault.command:
        opcode = Opcode(data[place] & 15)
        layout = COMMAND_WORDS[opcode]
        fields = layout.unpack(int.from_bytes(data[place : place + layout.num_bytes], "little"))
        if opcode is Opcode.END:
            break
        if is_long(opcode, fields):
            return Expected(after)
        if opcode is Opcode.EXECUTE:
            found = {(code, index) for code in data_faults(fields, on_chip)}
            if not is_walk_known(fields):
                # Nor are the addresses, then.
                outcomes |= found | {(ErrorCode.ACTIVATION_RANGE, index)}
                is_known = False
                if found - {(ErrorCode.ACTIVATION_RANGE, index)}:
                    return Expected(outcomes | after)
            elif found:
                return Expected(outcomes | found | after)
            is_known = is_known and is_order_free(fields, on_chip)
        if is_known or opcode is Opcode.LOAD:
            machine.step(opcode, fields)
        place, index = place + layout.num_bytes, index + 1
    outcomes |= after or {(ErrorCode.NONE, 0)}
    return Expected(outcomes, memory if is_known and not after else None)


# ----------------------------------------------------------------------------------------------------------------------------
# What comes


class Bench:
    """A machine whose buffers are cleared before each run, with what the golden models say beside it."""

    def __init__(self) -> None:
        self.simulator = MachineSimulator(TINY)
        self.clearing, image = self.clearing_program(), np.zeros((1, 5, 7, 6), np.int8)
        self.image = image
        self.cleared = OnChip.cleared(TINY)
        with Host(self.simulator, self.clearing, image) as host:
            machine = Machine(self.cleared, host.windows)
            for command in self.clearing.decode():
                machine.step(command.opcode, command.unpack())

    @staticmethod
    def clearing_program() -> Program:
        """Return a program that fills all buffers with zeros."""
        targets = [target for target in LoadTarget if target not in (LoadTarget.STEPS, LoadTarget.PATCHES)]
        sizes = {target: element_bytes(target, TINY) * target_depth(target, TINY) for target in targets}
        offset = (len(targets) + 1) * 32
        loads = [load(target=target, offset=offset, row_bytes=size) for target, size in sizes.items()]
        commands = b"".join(loads) + end(wait_load=len(targets))
        return make_program(commands, constants=bytes(max(sizes.values())), command_layers=(0,) * len(targets) + (1,))

    def run(self, program: Program, image: np.ndarray, memory: MemoryModel, *, cycles: int = 300_000) -> tuple[Outcome | None, Expected]:
        """Run a damaged program and compare."""
        self.simulator.set_memory(MEMORIES[0])
        with Host(self.simulator, program, image) as host:
            expected = predict(host, copy.deepcopy(self.cleared))
        with Host(self.simulator, self.clearing, self.image) as host:
            assert host.run() == Outcome(ErrorCode.NONE, 0, 0)
        self.simulator.set_memory(memory)
        with Host(self.simulator, program, image, watchdog=2000) as host:
            host.set_up()
            host.start()
            outcome = host.wait(cycles)
            if expected.memory is not None:
                assert outcome is not None, "it must come to an end"
            if outcome is not None and expected.outcomes:
                assert (outcome.code, outcome.command) in expected.outcomes
            if outcome is not None:
                assert outcome.code is not ErrorCode.WATCHDOG
            if expected.memory is not None:
                for window in (MemoryWindow.OUTPUT, MemoryWindow.SCRATCH):
                    np.testing.assert_array_equal(host.windows[window], expected.memory[window], err_msg=window.name)
            host.soft_reset()
        self.simulator.check_bus()
        assert self.simulator.outstanding == 0
        return outcome, expected


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def check(bench: Bench, name: str, seed: int, trials: int) -> dict[str, int]:
    """Damage a program again and again; return how often what was known."""
    rng = random.Random(f"{name} {seed}")
    program, image = programs()[name]
    commands = serial(program)
    seen = {"errors": 0, "ends": 0, "compared": 0}
    for trial in range(trials):
        damaged = list(commands)
        constants = bytearray(program.constants)
        kind = rng.choice(("commands", "commands", "constants"))
        if kind == "commands":
            for _ in range(rng.choice((1, 1, 1, 2))):
                place = rng.randrange(len(damaged)) if rng.random() < 0.5 else rng.choice(places_of(damaged, Opcode.EXECUTE))
                damaged[place] = damaged[place][0], damage_more(rng, *damaged[place])
        else:
            for _ in range(rng.choice((1, 1, 3))):
                constants[rng.randrange(len(constants))] ^= 1 << rng.randrange(8)
        changed = dataclasses.replace(with_commands(program, damaged), constants=bytes(constants))
        try:
            outcome, expected = bench.run(changed, image, rng.choice(MEMORIES))
        except Exception as error:
            error.add_note(f"{name}, seed {seed}, trial {trial}, {kind}: {describe(commands, damaged)}")
            raise
        seen["errors"] += outcome is not None and outcome.code is not ErrorCode.NONE
        seen["ends"] += outcome is not None and outcome.code is ErrorCode.NONE
        seen["compared"] += expected.memory is not None
    return seen


def places_of(commands: list[tuple[Opcode, int]], wanted: Opcode) -> list[int]:
    return [place for place, (opcode, _) in enumerate(commands) if opcode is wanted]


def describe(before: list[tuple[Opcode, int]], after: list[tuple[Opcode, int]]) -> str:
    """Say which fields of which commands are others."""
    words = []
    for place, ((opcode, old), (_, new)) in enumerate(zip(before, after, strict=True)):
        layout = COMMAND_WORDS[opcode]
        for field in layout.fields:
            was, is_now = (word >> layout.shift(field.name) & ((1 << field.width) - 1) for word in (old, new))
            if was != is_now:
                words.append(f"command {place} ({opcode.name}) {field.name} {was} -> {is_now}")
    return ", ".join(words)


@pytest.mark.parametrize("name", NAMES)
def test_damage(bench: Bench, name: str) -> None:
    seen = check(bench, name, seed=1, trials=60)
    assert seen["errors"] > 5
    assert seen["compared"] > 5, seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("name", NAMES)
def test_more_damage(bench: Bench, name: str, seed: int) -> None:
    check(bench, name, seed, trials=600)
