"""What the host does in cycles in which something happens by itself: resets at faults and ends, starts while resetting, cleared events."""

from collections.abc import Iterator

import pytest
from tests.hw.accelerator_host import Host, Outcome, at_rest
from tests.hw.test_accelerator import DONE, IMAGE, MEMORIES, TINY, check_run, damaged, place_of, programs
from tests.sw.arch.programs import copy, end, load, make_program, store

from crisp.arch import COUNT, ErrorCode, LoadTarget, MemoryWindow
from crisp_sim.machine import Fault, MachineSimulator, Response

#: Registers at rest.
REST = dict.fromkeys(("busy", "done", "error", "resetting", "bus_stuck"), 0)


@pytest.fixture(scope="module")
def machine() -> MachineSimulator:
    return MachineSimulator(TINY)


@pytest.fixture
def simulator(machine: MachineSimulator) -> Iterator[MachineSimulator]:
    with at_rest(machine, MEMORIES["quick"]) as simulator:
        yield simulator


def cycles_to_interrupt(host: Host) -> int:
    """Run the host's program; return the cycles from its start to the interrupt."""
    simulator = host.simulator
    host.set_up()
    host.start()
    begin = simulator.cycle
    assert simulator.advance(100_000)
    cycles = simulator.cycle - begin
    host.soft_reset()
    return cycles


def faults(name: str, simulator: MachineSimulator) -> Host:
    """Return a host whose program comes to a fault: of data in an EXECUTE, of a command, or of memory."""
    program, image = programs()["product"]
    if name == "data":
        program = damaged(program, place_of(program, LoadTarget.COUNTS), COUNT.pack(blocks=0).to_bytes(2, "little"))
    elif name == "command":
        before = load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS, rows=2, row_bytes=140, row_stride=144)
        return Host(simulator, make_program(before + copy(wait_load=1) + load(rows=0) + end()), IMAGE)
    elif name == "memory":
        simulator.set_faults([Fault(write=False, response=Response.SLVERR, transaction=9)])
    return Host(simulator, program, image)


@pytest.mark.parametrize("name", ["data", "command", "memory", "end"])
def test_resets_around_faults_and_ends(simulator: MachineSimulator, name: str) -> None:
    """A reset in any cycle around that of a fault, or of the end, leaves nothing of it: no error, no event."""
    with faults(name, simulator) as host:
        when = cycles_to_interrupt(host)
    for early in range(-4, 16):
        with faults(name, simulator) as host:
            host.set_up()
            host.start()
            simulator.idle(max(0, when - early))
            host.soft_reset()
            simulator.set_faults()
            assert not simulator.advance(100), "an event came after the reset"
            assert host.read("INTERRUPT_STATUS") == {"done": 0, "error": 0}
            assert host.read("ERROR_CODE")["code"] == host.read("ERROR_COMMAND")["error_command"] == host.read_wide("ERROR_ADDRESS") == 0
    check_run(simulator, "product")


def test_the_first_error_stays(simulator: MachineSimulator) -> None:
    """Where every answer of memory is wrong the first one is told, and nothing that comes after it."""
    simulator.set_memory(MEMORIES["slow"])
    program, image = programs()["product"]
    wrong = [Fault(write=write, response=Response.DECERR, transaction=number) for write in (False, True) for number in range(2, 60)]
    simulator.set_faults(wrong)
    with Host(simulator, program, image) as host:
        host.set_up()
        host.start()
        assert simulator.advance(100_000)
        first = [host.read("ERROR_CODE"), host.read("ERROR_COMMAND"), host.read_wide("ERROR_ADDRESS")]
        assert first[0]["code"] == ErrorCode.READ_RESPONSE
        simulator.idle(3000)
        host.start()
        simulator.idle(300)
        assert [host.read("ERROR_CODE"), host.read("ERROR_COMMAND"), host.read_wide("ERROR_ADDRESS")] == first
        assert host.read("STATUS") == {**REST, "error": 1}
        simulator.set_faults()
        host.soft_reset()
    check_run(simulator, "product")


def test_two_faults_of_one_program(simulator: MachineSimulator) -> None:
    """A wrong command behind one that memory fails for: one of both is told, with its own command and address."""
    wrong = make_program(load(window=MemoryWindow.INPUT, target=LoadTarget.ACTIVATIONS) + load(rows=0) + end())
    seen = set()
    for number in range(4):
        for memory in MEMORIES.values():
            simulator.set_memory(memory)
            simulator.set_faults([Fault(write=False, response=Response.SLVERR, transaction=number)])
            with Host(simulator, wrong, IMAGE) as host:
                base = host.ranges[MemoryWindow.PROGRAM].base
                outcome = host.run()
                assert outcome is not None
                if outcome.code is ErrorCode.ZERO_DIMENSION:
                    assert (outcome.command, outcome.address) == (1, base + 32)
                else:
                    assert outcome.code is ErrorCode.READ_RESPONSE
                    assert outcome.command <= 2
                seen.add(outcome.code)
                simulator.set_faults()
                host.soft_reset()
    assert len(seen) == 2
    check_run(simulator, "pooling")


@pytest.mark.parametrize("memory", MEMORIES)
def test_starts_and_resets_while_resetting(simulator: MachineSimulator, memory: str) -> None:
    """Starts while the bus runs empty do nothing, and a second reset in any cycle of the first one changes nothing."""
    simulator.set_memory(MEMORIES[memory])
    program, image = programs()["product"]
    for later in range(0, 120, 5):
        with Host(simulator, program, image) as host:
            host.set_up()
            host.start()
            simulator.idle(400 + 7 * later)
            host.write("CONTROL", soft_reset=1)
            simulator.idle(later)
            resting = not host.read("STATUS")["busy"]
            host.write("CONTROL", start=1)
            if resting:
                simulator.idle(20)
                assert host.read("STATUS")["busy"]
            host.soft_reset()
            assert host.read("STATUS") == REST
            assert not simulator.advance(200)
    check_run(simulator, "product")


def test_events_that_are_cleared_as_they_come(simulator: MachineSimulator) -> None:
    """An event that the host has seen is gone when it is cleared, one that comes later stays; in between either may be."""
    program, image = programs()["pooling"]
    with Host(simulator, program, image) as host:
        when = cycles_to_interrupt(host)
    seen = set()
    for early in range(24):
        with Host(simulator, program, image) as host:
            host.set_up()
            host.start()
            simulator.idle(when - early)
            was_done = host.read("STATUS")["done"]
            host.write("INTERRUPT_STATUS", done=1, error=1)
            is_done = host.read("STATUS")["done"]
            simulator.idle(100)
            stays = host.read("INTERRUPT_STATUS")["done"]
            assert stays or is_done
            assert not (stays and was_done)
            assert simulator.advance(1) == bool(stays)
            seen.add((was_done, stays))
            host.soft_reset()
    assert {(0, 1), (1, 0)} <= seen


def test_counts_after_errors_and_resets(simulator: MachineSimulator) -> None:
    """Counts of complete commands tell how far the program was, and begin at 0 with the next one."""
    names = ("LOADS_COMPLETED", "EXECUTES_COMPLETED", "STORES_COMPLETED")
    for cycles in range(50, 900, 60):
        with Host(simulator, *programs()["pooling"]) as host:
            host.set_up()
            host.start()
            simulator.idle(cycles)
            host.soft_reset()
            counts = [host.read(name)[name.lower()] for name in names]
            assert all(count <= most for count, most in zip(counts, (3, 1, 1), strict=True))
            assert host.run() == DONE
            assert [host.read(name)[name.lower()] for name in names] == [3, 1, 1]


def test_memory_fails_behind_the_end(simulator: MachineSimulator) -> None:
    """Commands behind END are read ahead; a failure there comes before the end, or after it, and either is told whole."""
    program = make_program(store(source=100) + end(wait_store=1) + load() * 40 + end())
    seen = set()
    for memory in MEMORIES.values():
        for number in range(4):
            simulator.set_memory(memory)
            simulator.set_faults([Fault(write=False, response=Response.SLVERR, transaction=number)])
            with Host(simulator, program, IMAGE) as host:
                outcome = host.run()
                assert outcome is not None
                assert outcome == DONE or outcome == Outcome(ErrorCode.READ_RESPONSE, outcome.command, outcome.address)
                seen.add(outcome.code)
                simulator.set_faults()
                host.soft_reset()
    assert ErrorCode.READ_RESPONSE in seen
    check_run(simulator, "pooling")
