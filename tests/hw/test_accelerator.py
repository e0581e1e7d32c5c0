"""The whole machine: the golden machine's bits, every error told, and rest after whatever happens to it.

What memory, damage and resets do is drawn at random; seeds are fixed.
"""

import dataclasses
import functools
import random
from collections.abc import Iterator

import numpy as np
import pytest
from tests.hw.accelerator_host import Host, Outcome, at_rest
from tests.hw.command_lists import damage
from tests.sw.arch.programs import PLANES, TABLE, copy, end, load, make_program, store

from crisp.arch import COUNT, ENTRY, RUN, UNIT_BYTES, Config, ErrorCode, LoadTarget, MemoryWindow, Opcode, Program
from crisp.arch.command_rules import COMMAND_WORDS
from crisp.arch.registers import ACTIVITY_COUNTERS
from crisp.bench.steady_state import compile_layer
from crisp.golden.machine import run_program
from crisp_sim.machine import Fault, MachineFault, MachineSimulator, MemoryModel, Response
from crisp_sim.random_layers import Case, random_layer, random_layers

TINY = Config.preset("tiny")
MEMORIES = {
    "quick": MemoryModel(latency=5),
    "slow": MemoryModel(latency=60, bandwidth=0.4, outstanding=4),
    "pauses": MemoryModel(latency=12, stall=0.5, seed=3),
}
IMAGE = np.random.default_rng(2).integers(-128, 128, (1, 5, 7, 6), dtype=np.int8)
DONE = Outcome(ErrorCode.NONE, 0, 0)

#: What may come of data that are not what they should be.
DATA_ERRORS = {
    ErrorCode.METADATA_COUNT,
    ErrorCode.METADATA_INDEX,
    ErrorCode.METADATA_N,
    ErrorCode.METADATA_RANGE,
    ErrorCode.RUN_RANGE,
    ErrorCode.ACTIVATION_RANGE,
    ErrorCode.WATCHDOG,
}


@functools.cache
def programs() -> dict[str, tuple[Program, np.ndarray]]:
    """Return right programs with their inputs: of pooling and the table, and of a product of several tiles in each direction."""
    layer, x = random_layer(TINY, Case("layer", channels=24, inputs=64, pixels=13, block=16, n="mixed"), seed=5)
    image = np.ascontiguousarray(x[: layer.packed.shape[1]].T).reshape(1, 1, -1, layer.packed.shape[1])
    return {"pooling": (make_program(), IMAGE), "product": (compile_layer(layer, TINY, height=1, width=x.shape[1]), image)}


@pytest.fixture(scope="module")
def machine() -> MachineSimulator:
    return MachineSimulator(TINY)


@pytest.fixture
def simulator(machine: MachineSimulator) -> Iterator[MachineSimulator]:
    with at_rest(machine, MEMORIES["quick"]) as simulator:
        yield simulator


def check_run(simulator: MachineSimulator, name: str) -> dict[str, int]:
    """Run a right program, compare every output, and return the counters of activity."""
    program, image = programs()[name]
    with Host(simulator, program, image) as host:
        assert host.run() == DONE
        expected = run_program(program, {program.inputs[0].name: image})
        for output, values in host.outputs().items():
            np.testing.assert_array_equal(values, expected[output], err_msg=output)
        return {counter: host.read_wide(counter.upper()) for counter in ("cycles", *(counter for counter, _ in ACTIVITY_COUNTERS))}


def damaged(program: Program, place: int, data: bytes) -> Program:
    """Return a program with other bytes somewhere in its constants."""
    place -= program.constants_offset
    constants = program.constants[:place] + data + program.constants[place + len(data) :]
    return dataclasses.replace(program, constants=constants)


def place_of(program: Program, target: LoadTarget) -> int:
    """Return where in the window PROGRAM the words of a buffer lie."""
    loads = [command.unpack() for command in program.decode() if command.opcode is Opcode.LOAD]
    (place,) = {fields["offset"] for fields in loads if fields["target"] == target and fields["window"] == MemoryWindow.PROGRAM}
    return place


# ----------------------------------------------------------------------------------------------------------------------------
# What is right


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", ["pooling", "product"])
def test_right_programs(simulator: MachineSimulator, name: str, memory: str) -> None:
    simulator.set_memory(MEMORIES[memory])
    for _ in range(2):
        counters = check_run(simulator, name)
        cycles = counters.pop("cycles")
        assert cycles == sum(counters.values())
        assert (counters["active"] > 0) == (name == "product")


def test_registers_are_fixed_while_busy(simulator: MachineSimulator) -> None:
    program, image = programs()["product"]
    with Host(simulator, program, image) as host:
        host.set_up()
        host.start()
        for name in ("PROGRAM_BASE_LOW", "OUTPUT_SIZE", "COMMAND_UNITS", "WATCHDOG"):
            with pytest.raises(MachineFault, match="must be answered OKAY, not SLVERR"):
                host.set_up(**{name: 64})
        host.start()  # once more: it counts only when idle
        assert host.wait() == DONE
        assert host.read("EXECUTES_COMPLETED")["executes_completed"] == 1


def test_no_interrupt_that_is_not_enabled(simulator: MachineSimulator) -> None:
    program, image = programs()["pooling"]
    with Host(simulator, program, image) as host:
        host.set_up(INTERRUPT_ENABLE=2)
        host.start()
        assert not simulator.advance(20_000)
        assert host.read("STATUS") == {"busy": 0, "done": 1, "error": 0, "resetting": 0, "bus_stuck": 0}
        host.write("INTERRUPT_ENABLE", done=1)
        assert simulator.advance(5)


# ----------------------------------------------------------------------------------------------------------------------------
# What is wrong with commands

WRONG = {
    "unknown opcode": (bytes(UNIT_BYTES), ErrorCode.OPCODE),
    "no end": (load(), ErrorCode.TRUNCATED),
    "cut off": (copy()[:64], ErrorCode.TRUNCATED),
    "reserved": (end()[:-1] + b"\x80", ErrorCode.RESERVED),
    "waits for itself": (load(wait_load=2) + end(), ErrorCode.WAIT),
    "target": (load(target=9) + end(), ErrorCode.TARGET),
    "zero rows": (load(rows=0) + end(), ErrorCode.ZERO_DIMENSION),
    "two rows": (load(rows=2) + end(), ErrorCode.ROWS),
    "half a word": (load(row_bytes=12) + end(), ErrorCode.ROW_BYTES),
    "long row of patches": (
        load(target=LoadTarget.PATCHES, row_bytes=2049, patches=1, patch_words=1, patch_step=1) + end(),
        ErrorCode.PATCHES,
    ),
    "offset": (load(offset=2) + end(), ErrorCode.ALIGNMENT),
    "load from output": (load(window=MemoryWindow.OUTPUT) + end(), ErrorCode.WINDOW_PERMISSION),
    "store to program": (store(window=MemoryWindow.PROGRAM) + end(), ErrorCode.WINDOW_PERMISSION),
    "behind the window": (store(offset=1 << 20) + end(), ErrorCode.WINDOW_RANGE),
    "behind the buffer": (store(source=TINY.activation_words - 3) + end(), ErrorCode.BUFFER_RANGE),
    "results behind the buffer": (copy(output_base=TINY.activation_words - 74) + end(), ErrorCode.BUFFER_RANGE),
    "sharing": (copy(sharing=3) + end(), ErrorCode.SHARING),
    "open sums of two tiles": (
        copy(kind=0, sharing=0, open=1, row_tiles=1, pixels=5, block_columns=1, block_tiles=1, tail_groups=1) + end(),
        ErrorCode.SHARING,
    ),
    "blocks": (copy(kind=0, block_columns=1, block_tiles=1, tail_groups=2) + end(), ErrorCode.BLOCKS),
    "window words": (copy(kind=0, block_columns=2, block_tiles=1, tail_groups=1) + end(), ErrorCode.WINDOW_WORDS),
    "walk": (copy(lane_dq=35) + end(), ErrorCode.WALK),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_commands(simulator: MachineSimulator, name: str) -> None:
    """Each is told with its number and address, as the golden model does, and has no effect."""
    wrong, code = WRONG[name]
    before = load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS, **PLANES)
    program = make_program(before + wrong)
    with Host(simulator, program, IMAGE) as host:
        fault = host.golden_fault()
        assert fault is not None
        outcome = host.run()
        assert outcome == Outcome(fault.code, fault.command, fault.address)
        assert (outcome.code, outcome.command) == (code, 2 if name == "no end" else 1)
        assert not host.windows[MemoryWindow.OUTPUT].any()
        host.start()  # it counts only without an error
        assert not simulator.advance(1000)
        host.soft_reset()
    check_run(simulator, "pooling")


@pytest.mark.parametrize(
    ("registers", "code"),
    [
        ({"COMMAND_UNITS": 0}, ErrorCode.TRUNCATED),
        ({"COMMAND_OFFSET": 2}, ErrorCode.ALIGNMENT),
        ({"PROGRAM_SIZE": 64}, ErrorCode.WINDOW_RANGE),
        ({"PROGRAM_BASE_HIGH": 0xFF, "PROGRAM_BASE_LOW": 0xFFFFFFC0}, ErrorCode.WINDOW_RANGE),
    ],
)
def test_lists_in_wrong_places(simulator: MachineSimulator, registers: dict[str, int], code: ErrorCode) -> None:
    before = simulator.statistics.read_transactions
    with Host(simulator, *programs()["pooling"]) as host:
        host.set_up(**registers)
        host.start()
        outcome = host.wait()
        assert outcome is not None
        assert (outcome.code, outcome.command) == (code, 0)
        host.soft_reset()
    assert simulator.statistics.read_transactions == before
    check_run(simulator, "pooling")


@pytest.mark.parametrize("name", ["pooling", "product"])
def test_damaged_commands(simulator: MachineSimulator, name: str) -> None:
    """Bits of commands changed: the golden model's fault, or an error of data, or an end; never a standstill, never a byte outside."""
    rng = random.Random(7)
    program, image = programs()[name]
    commands = [(command.opcode, command.word) for command in program.decode()]
    codes = set()
    for trial in range(150):
        simulator.set_memory(rng.choice(list(MEMORIES.values())))
        index = rng.randrange(len(commands))
        words = list(commands)
        words[index] = (words[index][0], damage(rng, *words[index]))
        data = b"".join(word.to_bytes(COMMAND_WORDS[opcode].num_bytes, "little") for opcode, word in words)
        with Host(simulator, dataclasses.replace(program, commands=data), image) as host:
            fault = host.golden_fault()
            outcome = host.run()
            context = f"trial {trial}: {fault}, {outcome}"
            if fault is not None:
                assert outcome == Outcome(fault.code, fault.command, fault.address), context
            elif outcome is not None:
                assert outcome.code is ErrorCode.NONE or outcome.code in DATA_ERRORS, context
            host.soft_reset()
            codes.add(outcome and outcome.code)
        simulator.check_bus()
    assert len(codes) > 8
    check_run(simulator, name)


# ----------------------------------------------------------------------------------------------------------------------------
# What is wrong with data


def test_wrong_metadata(simulator: MachineSimulator) -> None:
    program, image = programs()["product"]
    counts, entries, runs = (place_of(program, target) for target in (LoadTarget.COUNTS, LoadTarget.ENTRIES, LoadTarget.RUNS))
    (execute,) = [command.index for command in program.decode() if command.opcode is Opcode.EXECUTE]

    def entry(index: int, n: int) -> bytes:
        return ENTRY.pack(index=index, n_minus_1=n - 1).to_bytes(2, "little")

    def run(**fields: int) -> bytes:
        defaults = {"dy": 0, "dx": 0, "pixels": 0, "plane": 0, "words_minus_1": 15, "last": 1}
        return RUN.pack(**defaults | fields).to_bytes(8, "little")

    wrong = [
        (counts, COUNT.pack(blocks=0).to_bytes(2, "little"), ErrorCode.METADATA_COUNT),
        (counts, COUNT.pack(blocks=5).to_bytes(2, "little"), ErrorCode.METADATA_COUNT),
        (entries, entry(4, 1), ErrorCode.METADATA_INDEX),
        (entries, entry(2, 1) + entry(2, 1), ErrorCode.METADATA_INDEX),
        (entries, entry(0, 5), ErrorCode.METADATA_N),
        (runs, run(words_minus_1=14), ErrorCode.RUN_RANGE),
        (runs, run(words_minus_1=16), ErrorCode.RUN_RANGE),
        (runs, run(plane=TINY.activation_words), ErrorCode.ACTIVATION_RANGE),
    ]
    for place, data, code in wrong:
        with Host(simulator, damaged(program, place, data), image) as host:
            assert host.golden_fault() is None
            outcome = host.run()
            assert outcome is not None
            assert (outcome.code, outcome.command) == (code, execute), data
            units = sum(COMMAND_WORDS[command.opcode].num_bytes for command in program.decode()[:execute])
            assert outcome.address == host.ranges[MemoryWindow.PROGRAM].base + units
            host.soft_reset()
    check_run(simulator, "product")


@pytest.mark.parametrize("name", ["pooling", "product"])
def test_damaged_constants(simulator: MachineSimulator, name: str) -> None:
    """Bits of the constants changed: an end, or an error of data; never a standstill, never a byte outside."""
    rng = random.Random(8)
    program, image = programs()[name]
    ends = set()
    for trial in range(120):
        constants = bytearray(program.constants)
        for _ in range(rng.choice((1, 4, 50))):
            bit = rng.randrange(8 * len(constants))
            constants[bit // 8] ^= 1 << bit % 8
        with Host(simulator, dataclasses.replace(program, constants=bytes(constants)), image) as host:
            outcome = host.run()
            assert outcome is None or outcome.code is ErrorCode.NONE or outcome.code in DATA_ERRORS, f"trial {trial}: {outcome}"
            host.soft_reset()
            ends.add(outcome and outcome.code)
        simulator.check_bus()
    assert len(ends) > (3 if name == "product" else 0)
    check_run(simulator, name)


# ----------------------------------------------------------------------------------------------------------------------------
# What goes wrong in memory


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR, Response.EXOKAY])
@pytest.mark.parametrize("name", ["pooling", "product"])
def test_bus_errors(simulator: MachineSimulator, name: str, response: Response) -> None:
    """Any transaction may fail; address and command are told, and what memory holds beside is as it was."""
    program, image = programs()[name]
    before = simulator.statistics
    check_run(simulator, name)
    after = simulator.statistics
    reads = after.read_transactions - before.read_transactions
    writes = after.write_transactions - before.write_transactions
    rng = random.Random(int(response))
    failures = [(False, number) for number in sorted(rng.sample(range(reads), min(reads, 12)))]
    failures += [(True, number) for number in sorted(rng.sample(range(writes), min(writes, 4)))]
    for write, number in failures:
        simulator.set_memory(rng.choice(list(MEMORIES.values())))
        simulator.set_faults([Fault(write=write, response=response, transaction=number)])
        with Host(simulator, program, image) as host:
            outcome = host.run()
            assert outcome is not None
            assert outcome.code is (ErrorCode.WRITE_RESPONSE if write else ErrorCode.READ_RESPONSE), (number, outcome)
            (window,) = [window for window, place in host.ranges.items() if place.base <= outcome.address < place.base + max(place.size, 1)]
            assert (window is MemoryWindow.OUTPUT) == write
            assert 0 <= outcome.command < len(program.decode())
            opcode = program.decode()[outcome.command].opcode
            assert write == (opcode is Opcode.STORE) or outcome.address < host.ranges[MemoryWindow.PROGRAM].base + len(program.commands)
            simulator.set_faults()
            host.soft_reset()
        check_run(simulator, name)


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("name", ["pooling", "product"])
def test_memory_that_does_not_answer(simulator: MachineSimulator, name: str, write: bool) -> None:
    """The watchdog tells; a machine to which memory owes answers cannot be started, and is as ever once they have come."""
    program, image = programs()[name]
    for number in (0,) if write else (0, 3):
        simulator.set_faults([Fault(write=write, response=Response.NONE, transaction=number)])
        with Host(simulator, program, image, watchdog=700) as host:
            host.set_up()
            host.start()
            assert simulator.advance(50_000)
            assert ErrorCode(host.read("ERROR_CODE")["code"]) is ErrorCode.WATCHDOG
            oldest = host.read("ERROR_COMMAND")["error_command"]
            completed = sum(host.read(f"{queue}_COMPLETED")[f"{queue.lower()}_completed"] for queue in ("LOADS", "EXECUTES", "STORES"))
            assert oldest == completed
            assert host.read("STATUS") == {"busy": 1, "done": 0, "error": 1, "resetting": 0, "bus_stuck": 0}
            host.write("INTERRUPT_STATUS", done=1, error=1)
            assert simulator.advance(2000), "that the bus is stuck is told, too"
            assert host.read("STATUS") == {"busy": 1, "done": 0, "error": 1, "resetting": 0, "bus_stuck": 1}
            host.write("CONTROL", soft_reset=1)
            assert host.read("STATUS")["resetting"]
            simulator.idle(3000)
            host.start()
            assert host.read("STATUS") == {"busy": 1, "done": 0, "error": 0, "resetting": 1, "bus_stuck": 1}
            simulator.set_faults()
            simulator.idle(200)
            assert host.read("STATUS") == {"busy": 0, "done": 0, "error": 0, "resetting": 0, "bus_stuck": 0}
        check_run(simulator, name)


def test_watchdog_that_is_off(simulator: MachineSimulator) -> None:
    simulator.set_faults([Fault(write=False, response=Response.NONE, transaction=1)])
    program, image = programs()["pooling"]
    with Host(simulator, program, image, watchdog=0) as host:
        host.set_up()
        host.start()
        assert not simulator.advance(20_000)
        simulator.set_faults()
        assert host.wait() == DONE


# ----------------------------------------------------------------------------------------------------------------------------
# Resets


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", ["pooling", "product"])
def test_soft_reset_at_any_cycle(simulator: MachineSimulator, name: str, memory: str) -> None:
    """Wherever it comes, whole transactions only have gone over the bus, and the next program runs as if nothing had been."""
    simulator.set_memory(MEMORIES[memory])
    program, image = programs()[name]
    rng = random.Random(f"{name} {memory}")
    cycles = check_run(simulator, name)["cycles"]
    for _ in range(40):
        with Host(simulator, program, image) as host:
            host.set_up()
            host.start()
            simulator.idle(rng.randrange(cycles + 50))
            host.soft_reset()
            assert simulator.outstanding == 0
            assert host.read("ERROR_CODE")["code"] == host.read("INTERRUPT_STATUS")["done"] == 0
        simulator.check_bus()
        assert check_run(simulator, name)["active"] == cycles_active(name)


@functools.cache
def cycles_active(name: str) -> int:
    """Return the steps of a program."""
    fresh = MachineSimulator(TINY, memory=MEMORIES["quick"])
    return check_run(fresh, name)["active"]


def test_soft_resets_in_a_row(simulator: MachineSimulator) -> None:
    """One reset while another waits for the bus, and one of a machine at rest."""
    simulator.set_memory(MEMORIES["slow"])
    with Host(simulator, *programs()["product"]) as host:
        host.soft_reset()
        host.set_up()
        host.start()
        simulator.idle(300)
        for _ in range(5):
            host.write("CONTROL", soft_reset=1)
        host.write("CONTROL", start=1, soft_reset=1)
        host.soft_reset()
    check_run(simulator, "product")


def test_hard_reset_at_any_cycle(simulator: MachineSimulator) -> None:
    rng = random.Random(4)
    for _ in range(20):
        with Host(simulator, *programs()["product"]) as host:
            host.set_up()
            host.start()
            simulator.idle(rng.randrange(3000))
            simulator.reset()
            assert host.read("STATUS") == {"busy": 0, "done": 0, "error": 0, "resetting": 0, "bus_stuck": 0}
        check_run(simulator, "product")


def test_table_is_what_the_program_says(simulator: MachineSimulator) -> None:
    """Of the hand-made program the result is known without any model."""
    program, image = programs()["pooling"]
    with Host(simulator, program, image) as host:
        assert host.run() == DONE
        assert (host.outputs()["result"] == TABLE[image.astype(int) + 128]).all()


# ----------------------------------------------------------------------------------------------------------------------------
# Everything at once


def flip_bits(rng: random.Random, data: bytes, number: int) -> bytes:
    """Return bytes of which some bits are others."""
    changed = bytearray(data)
    for bit in rng.choices(range(8 * len(data)), k=number):
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_anything_at_any_time(simulator: MachineSimulator, seed: int) -> None:
    """Thousands of runs of random layers, one after the other on a machine that is never reset hard: right, damaged, failed, stopped."""
    rng = random.Random(seed)
    whole = []
    for layer, x in random_layers(TINY, seed=seed, number=12):
        image = np.ascontiguousarray(x[: layer.packed.shape[1]].T).reshape(1, 1, -1, layer.packed.shape[1])
        program = compile_layer(layer, TINY, height=1, width=x.shape[1])
        whole.append((program, image, run_program(program, {program.inputs[0].name: image})))
    for number in range(1500):
        program, image, expected = rng.choice(whole)
        simulator.set_memory(rng.choice(list(MEMORIES.values())))
        kind = rng.choice(("right", "commands", "constants", "memory", "reset"))
        if kind == "commands":
            words = [(command.opcode, command.word) for command in program.decode()]
            place = rng.randrange(len(words))
            words[place] = (words[place][0], damage(rng, *words[place]))
            data = b"".join(word.to_bytes(COMMAND_WORDS[opcode].num_bytes, "little") for opcode, word in words)
            program = dataclasses.replace(program, commands=data)
        elif kind == "constants":
            program = dataclasses.replace(program, constants=flip_bits(rng, program.constants, rng.choice((1, 4, 40))))
        elif kind == "memory":
            response = rng.choice((Response.SLVERR, Response.DECERR, Response.NONE))
            simulator.set_faults([Fault(write=rng.random() < 0.3, response=response, transaction=rng.randrange(40))])
        with Host(simulator, program, image, watchdog=3000) as host:
            host.set_up()
            host.start()
            context = f"run {number}, {kind}"
            if kind == "reset":
                simulator.idle(rng.randrange(4000))
            else:
                ended = simulator.advance(100_000)
                if kind == "memory":
                    # Answers that were held back come now.
                    simulator.set_faults()
                    simulator.idle(400)
                outcome = host.wait() if ended else None
                fault = host.golden_fault()
                if fault is not None:
                    assert outcome == Outcome(fault.code, fault.command, fault.address), context
                elif kind == "right":
                    assert outcome == DONE, context
                    for name, values in host.outputs().items():
                        np.testing.assert_array_equal(values, expected[name], err_msg=context)
                elif kind != "memory":
                    assert outcome is None or outcome.code in DATA_ERRORS | {ErrorCode.NONE}, f"{context}: {outcome}"
            host.soft_reset()
        simulator.set_faults()
        simulator.check_bus()
        assert simulator.outstanding == 0, context
