"""The command stream: commands wait for what they depend on, and for nothing else; any order that the waits allow gives the same bytes."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sw.compile.integer_networks import Builder, random_network
from tests.sw.compile.interleaving import WAITS, Deadlock, Event, run_interleaved

from crisp.arch import CapacityError, Config, FieldError, LoadTarget, Opcode
from crisp.arch.program import Program
from crisp.compile import compile_network
from crisp.compile.stream import CommandStream, Touch

TINY = Config.preset("tiny")
SCRATCH = 16

# A stream against its definition: who must come before whom.

spans = st.tuples(st.integers(0, SCRATCH - 1), st.integers(1, 4)).map(lambda span: slice(span[0], min(span[0] + span[1], SCRATCH)))
activations = spans.map(lambda span: Touch("activations", span))
weights = spans.map(lambda span: Touch("steps", span))
scratch = spans.map(lambda span: Touch("scratch", span))
nothing = st.none()


@dataclasses.dataclass(frozen=True)
class Job:
    """A command by what it touches."""

    opcode: Opcode
    reads: tuple[Touch, ...]
    writes: tuple[Touch, ...]


def present(*touches: Touch | None) -> tuple[Touch, ...]:
    return tuple(touch for touch in touches if touch is not None)


loads = st.builds(lambda writes, reads: Job(Opcode.LOAD, present(reads), (writes,)), activations | weights, nothing | scratch)
executes = st.builds(
    lambda reads, writes: Job(Opcode.EXECUTE, tuple(reads), (writes,)), st.lists(activations | weights, min_size=1), activations
)
stores = st.builds(lambda reads, writes: Job(Opcode.STORE, (reads,), present(writes)), activations, nothing | scratch)


def places(touches: tuple[Touch, ...]) -> set[tuple[str, int]]:
    return {(touch.buffer, place) for touch in touches for place in range(SCRATCH)[touch.places]}


def must_wait(earlier: Job, later: Job) -> bool:
    """Of one queue, only EXECUTEs overlap: the next one gathers while this one has not yet written."""
    after_write = places(earlier.writes) & places(later.reads)
    if earlier.opcode is later.opcode:
        return later.opcode is Opcode.EXECUTE and bool(after_write)
    return bool(after_write | places(earlier.writes) & places(later.writes) | places(earlier.reads) & places(later.writes))


def emit(stream: CommandStream, job: Job) -> None:
    match job.opcode:
        case Opcode.LOAD:
            target = LoadTarget.STEPS if job.writes[0].buffer == "steps" else LoadTarget.ACTIVATIONS
            stream.load("layer", target, job.writes[0], reads=next(iter(job.reads), None))
        case Opcode.EXECUTE:
            stream.execute("layer", list(job.reads), job.writes[0])
        case Opcode.STORE:
            stream.store("layer", job.reads[0], writes=next(iter(job.writes), None))


@given(st.lists(loads | executes | stores, max_size=14))
def test_waits_are_the_latest_conflicts(jobs: list[Job]) -> None:
    stream = CommandStream(TINY, SCRATCH)
    for job in jobs:
        emit(stream, job)
    for number, (job, command) in enumerate(zip(jobs, stream.commands, strict=True)):
        for name, queue in WAITS.items():
            earlier = [other for other in jobs[:number] if other.opcode is queue]
            latest = max((count for count, other in enumerate(earlier, 1) if must_wait(other, job)), default=0)
            assert command.fields[name] == latest, f"command {number}, {name}"


def test_places_may_be_an_array() -> None:
    stream = CommandStream(TINY, SCRATCH)
    stream.execute("layer", [], Touch("activations", np.array([[1, 5], [9, 13]])))
    stream.store("layer", Touch("activations", np.array([2, 6])))
    stream.store("layer", Touch("activations", np.array([6, 9])))
    assert [command.fields["wait_execute"] for command in stream.commands[1:]] == [0, 1]


def test_end_waits_for_all() -> None:
    stream = CommandStream(TINY, SCRATCH)
    somewhere = Touch("activations", slice(0, 1))
    for _ in range(3):
        stream.load("layer", LoadTarget.ACTIVATIONS, somewhere)
    stream.execute("layer", [somewhere], somewhere)
    for _ in range(2):
        stream.store("layer", somewhere)
    stream.end()
    assert {name: stream.commands[-1].fields[name] for name in WAITS} == {"wait_load": 3, "wait_execute": 1, "wait_store": 2}


@pytest.mark.parametrize("old", [5, (1 << 14) - 1, 1 << 14, 1 << 15, (1 << 16) + 5])
def test_waits_count_modulo_and_never_from_too_far(old: int) -> None:
    """A command waits for one at most 2^14 back: what is older is complete when that one is, since a queue is in order."""
    stream = CommandStream(TINY, SCRATCH)
    stream.load("layer", LoadTarget.ACTIVATIONS, Touch("activations", slice(0, 1)))
    for _ in range(old):
        stream.load("layer", LoadTarget.ACTIVATIONS, Touch("activations", slice(1, 2)))
    stream.store("layer", Touch("activations", slice(0, 1)))
    stream.store("layer", Touch("activations", slice(1, 2)))
    issued = old + 1
    first, second = (command.fields["wait_load"] for command in stream.commands[-2:])
    assert first == max(1, issued - (1 << 14)) % (1 << 16)
    assert second == issued % (1 << 16)
    assert (issued - first) % (1 << 16) < 1 << 15


def test_commands_become_bytes() -> None:
    stream = CommandStream(TINY, SCRATCH)
    stream.load("layer", LoadTarget.TABLE, Touch("table", slice(0, 1)), row_bytes=256, rows=1)
    stream.execute("layer", [Touch("table", slice(0, 1))], Touch("activations", slice(0, 4)), pixels=4)
    stream.end()
    data = stream.to_bytes()
    assert [command.opcode for command in stream.commands] == [Opcode.LOAD, Opcode.EXECUTE, Opcode.END]
    assert len(data) == 32 + 128 + 32
    assert [data[position] & 15 for position in (0, 32, 160)] == [Opcode.LOAD, Opcode.EXECUTE, Opcode.END]


# Programs in every order that their waits allow.

LITTLE = dataclasses.replace(TINY, activation_buffer_depth=80, weight_buffer_depth=512)
MACHINES = {"tiny": TINY, "little memory": LITTLE}


def priorities() -> Iterator[Callable[[list[Event]], Event]]:
    """Yield choosers that hold some queues back as long as they can."""
    for order in itertools.permutations((Opcode.LOAD, Opcode.EXECUTE, Opcode.STORE)):
        for finish in (0, 1, 3):
            ranks: list[Event] = [*order[:finish], None, *order[finish:]]
            yield functools.partial(min, key=ranks.index)


def at_random(seed: int) -> Callable[[list[Event]], Event]:
    random = np.random.default_rng(seed)
    return lambda events: events[int(random.integers(len(events)))]


def through_memory() -> Builder:
    """Return a network whose tensors do not fit a small machine: stripes, tensors in memory, sums, several chunks, a table."""
    net = Builder(LITTLE, (12, 12, 4), seed=5)
    first = net.conv("input", 8, kernel=(3, 3), padding=(1, 1))
    second = net.conv(first, 8, kernel=(3, 3), padding=(1, 1))
    third = net.add(net.conv(second, 8, kernel=(3, 3), padding=(1, 1)), first)
    fourth = net.conv(net.table(net.conv(third, 16, stride=(2, 2))), 32, kernel=(3, 3), padding=(1, 1))
    net.conv(net.maximum(fourth, kernel=(3, 3), stride=(2, 2), padding=(1, 1)), 8, kernel=(3, 3))
    return net


@functools.cache
def through_memory_program() -> Program:
    return compile_network(through_memory().network(), LITTLE, (12, 12, 4))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("seed", range(4))
def test_every_order_gives_the_same_bytes(seed: int, machine: str) -> None:
    config = MACHINES[machine]
    net = random_network(config, seed + 2, length=5)
    network = net.network()
    program = compile_network(network, config, net.image)
    expected = network.run(net.images())
    for choose in [*priorities(), at_random(seed), at_random(seed + 100)]:
        output = program.read_outputs(run_interleaved(program, net.images(), choose))[program.outputs[0].name]
        np.testing.assert_array_equal(output.reshape(expected.shape), expected)


def test_stripes_and_memory_in_every_order() -> None:
    net, program = through_memory(), through_memory_program()
    expected = net.network().run(net.images())
    opcodes = [command.opcode for command in program.decode()]
    assert min(opcodes.count(opcode) for opcode in WAITS.values()) > 5, "the network must be large enough to say something"
    for choose in [*priorities(), *map(at_random, range(6))]:
        output = program.read_outputs(run_interleaved(program, net.images(), choose))[program.outputs[0].name]
        np.testing.assert_array_equal(output.reshape(expected.shape), expected)


def differs(program: Program, image: np.ndarray, expected: np.ndarray, drop: tuple[Opcode, str]) -> bool:
    """Tell whether some order gives something else when commands lose a wait."""
    for choose in [*priorities(), *map(at_random, range(4))]:
        try:
            if (run_interleaved(program, image, choose, drop=drop) != expected).any():
                return True
        except (CapacityError, FieldError, Deadlock, ValueError):  # the last where a window and its weights differ in length
            return True
    return False


@pytest.mark.parametrize(
    "drop",
    [
        (Opcode.LOAD, "wait_execute"),
        (Opcode.LOAD, "wait_store"),
        (Opcode.EXECUTE, "wait_load"),
        (Opcode.EXECUTE, "wait_execute"),
        (Opcode.EXECUTE, "wait_store"),
        (Opcode.STORE, "wait_execute"),
    ],
    ids=lambda drop: f"{drop[0].name} without {drop[1]}",
)
def test_every_wait_is_needed(drop: tuple[Opcode, str]) -> None:
    net, program = through_memory(), through_memory_program()
    expected = run_interleaved(program, net.images(), at_random(0))
    assert differs(program, net.images(), expected, drop)
