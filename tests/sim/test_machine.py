# amaranth: UnusedElaboratable=no
"""The harness of the whole machine: its memory is a memory, its checks bite, its registers answer."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component
from tests.sim.copier import BEATS, BEATS_REGISTER, DESTINATION, SOURCE, START, STATUS, TRACE, Copier

from crisp.arch import Config
from crisp_sim.errors import MachineFault, SimulationError
from crisp_sim.machine import Fault, MachineSimulator, MemoryModel, Response, Rule

TINY = Config.preset("tiny")
WIDE = dataclasses.replace(TINY, axi_data_width=512)
FROM, TO = 0x1000, 0x8000
SEED = 7


class NoMachine(Component):
    """Has nothing but a trace port's members."""

    def __init__(self) -> None:
        super().__init__(dict(TRACE.members))

    def elaborate(self, platform) -> Module:
        return Module()


@pytest.fixture(scope="module")
def shared() -> MachineSimulator:
    return MachineSimulator(TINY, machine=Copier(TINY))


@pytest.fixture
def simulator(shared: MachineSimulator) -> MachineSimulator:
    """A copier as new, with nothing mapped."""
    return as_new(shared)


def as_new(simulator: MachineSimulator) -> MachineSimulator:
    simulator.reset()
    for base in list(simulator._mapped):
        simulator.unmap(base)
    simulator.set_memory(MemoryModel())
    simulator.set_faults()
    simulator.clear_violations()
    simulator.take_trace()
    return simulator


def start(simulator: MachineSimulator, beats: int, *, source: int = FROM, destination: int = TO) -> None:
    for register, value in ((SOURCE, source), (DESTINATION, destination), (BEATS_REGISTER, beats), (START, 1)):
        simulator.write_register(register, value)


def copy(simulator: MachineSimulator, num_bytes: int, **places: int) -> np.ndarray:
    """Copy random bytes; return those that arrived."""
    simulator.map(FROM, np.random.default_rng(SEED).integers(0, 256, num_bytes, dtype=np.uint8), writable=False)
    arrived = np.zeros(num_bytes, np.uint8)
    simulator.map(TO, arrived, readable=False)
    start(simulator, num_bytes // simulator.config.beat_bytes, **places)
    assert simulator.advance(1_000_000)
    return arrived


def sent(num_bytes: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, num_bytes, dtype=np.uint8)


@pytest.mark.parametrize("config", [TINY, WIDE], ids=["32 bits", "512 bits"])
@pytest.mark.parametrize(
    "memory",
    [MemoryModel(), MemoryModel(latency=0, bandwidth=2), MemoryModel(stall=0.7, seed=SEED), MemoryModel(bandwidth=0.3, outstanding=1)],
    ids=["latency", "fast", "pauses", "slow"],
)
def test_copies(config: Config, memory: MemoryModel) -> None:
    """However memory behaves, the same bytes arrive, and no rule is broken."""
    simulator = MachineSimulator(config, machine=Copier(config), memory=memory)
    size = 12 * BEATS * config.beat_bytes
    assert (copy(simulator, size) == sent(size)).all()
    simulator.check_bus()
    assert simulator.outstanding == 0
    statistics = simulator.statistics
    assert statistics.read_beats == statistics.write_beats == 12 * BEATS
    assert statistics.read_transactions == statistics.write_transactions == 12
    assert statistics.written_bytes == size


def cycles_of(simulator: MachineSimulator, memory: MemoryModel) -> int:
    as_new(simulator).set_memory(memory)
    begin = simulator.cycle
    copy(simulator, 100 * BEATS * TINY.beat_bytes)
    return simulator.cycle - begin


def test_latency_is_of_each_request(simulator: MachineSimulator) -> None:
    """The copier asks one thing at a time: a burst waits twice for its memory."""
    fast, slow = (cycles_of(simulator, MemoryModel(latency=latency, bandwidth=2)) for latency in (10, 60))
    assert slow - fast == 100 * 2 * 50


def test_bandwidth_is_of_both_directions(simulator: MachineSimulator) -> None:
    """A quarter of a beat a cycle takes at least four cycles a beat of either direction."""
    assert cycles_of(simulator, MemoryModel(latency=0, bandwidth=0.25)) >= 4 * 100 * 2 * BEATS
    full = cycles_of(simulator, MemoryModel(latency=0, bandwidth=1))
    assert full < 2 * 100 * 2 * BEATS + 100 * 8


def test_runs_repeat(simulator: MachineSimulator) -> None:
    memory = MemoryModel(stall=0.5, seed=3)
    first, second = cycles_of(simulator, memory), cycles_of(simulator, memory)
    assert first == second != cycles_of(simulator, dataclasses.replace(memory, seed=4))


def test_registers(simulator: MachineSimulator) -> None:
    simulator.write_register(SOURCE, 0xDEADBEEF)
    assert simulator.read_register(SOURCE) == 0xDEADBEEF
    with pytest.raises(MachineFault, match=r"^register 0x40: a write must be answered OKAY, not DECERR$"):
        simulator.write_register(0x40, 1)


def test_trace_port(simulator: MachineSimulator) -> None:
    begin = simulator.cycle
    copy(simulator, 64)
    start(simulator, BEATS)
    assert not simulator.advance(10)
    assert simulator.advance(1000)
    first, second = simulator.take_trace()
    assert simulator.take_trace() == []
    assert (first["number"], second["number"]) == (0, 1)
    assert (first["end"], second["end"]) == (TO + 64, TO + 16)
    assert begin < first["cycle"] < second["cycle"] <= simulator.cycle


def test_a_trace_port_may_be_missing() -> None:
    simulator = MachineSimulator(TINY, machine=Copier(TINY, has_trace=False))
    assert (copy(simulator, 64) == sent(64)).all()
    assert simulator.take_trace() == []


def test_ports_that_must_be_there() -> None:
    with pytest.raises(SimulationError, match=r"^a machine must have the port m_axi_araddr; there are valid, payload$"):
        MachineSimulator(TINY, machine=NoMachine())


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
@pytest.mark.parametrize("where", [{"low": 0x24, "high": 0x28}, {"transaction": 2}], ids=["address", "transaction"])
def test_faults(simulator: MachineSimulator, write: bool, response: Response, where: dict[str, int]) -> None:
    """The right request gets the wrong answer, and writes nothing; the others are as ever."""
    base = TO if write else FROM
    simulator.set_faults(
        [Fault(write=write, response=response, **{name: value + base * (name != "transaction") for name, value in where.items()})]
    )
    size = 6 * BEATS * TINY.beat_bytes
    arrived = copy(simulator, size)
    assert simulator.read_register(STATUS) == 1 | response << 1
    expected = sent(size)
    damaged = slice(0x24, 0x28) if "low" in where else slice(32, 48)
    assert (arrived[damaged] == (0 if write else 0xA5)).all()
    arrived[damaged] = expected[damaged]
    assert (arrived == expected).all()
    simulator.check_bus()


@pytest.mark.parametrize("write", [False, True])
def test_missing_response(simulator: MachineSimulator, write: bool) -> None:
    """A response that is held back holds up the copier until the faults are taken away."""
    simulator.set_faults([Fault(write=write, response=Response.NONE, transaction=1)])
    simulator.map(FROM, sent(64))
    arrived = np.zeros(64, np.uint8)
    simulator.map(TO, arrived)
    start(simulator, 16)
    assert not simulator.advance(100_000)
    assert simulator.outstanding == 1
    simulator.set_faults()
    assert simulator.advance(1000)
    assert (arrived == sent(64)).all()
    assert simulator.outstanding == 0


@pytest.mark.parametrize(
    ("places", "address"),
    [({"source": FROM - 16}, FROM - 16), ({"source": FROM + 52}, FROM + 64), ({"destination": TO + 4096}, TO + 4096)],
    ids=["before", "behind", "elsewhere"],
)
def test_out_of_range(simulator: MachineSimulator, places: dict[str, int], address: int) -> None:
    """Bytes that nobody mapped are neither read nor written, and told."""
    copy(simulator, 64, **places)
    assert simulator.read_register(STATUS) == 1 | Response.DECERR << 1
    assert simulator.violations[0].rule is Rule.OUT_OF_RANGE
    assert simulator.violations[0].address == address
    with pytest.raises(MachineFault, match=rf"^the machine broke \d+ rules of its bus, first OUT_OF_RANGE at {address:#x} in cycle \d+$"):
        simulator.check_bus()


def test_permissions(simulator: MachineSimulator) -> None:
    """What is mapped to be read is not written, and the other way round."""
    copy(simulator, 64, source=TO, destination=FROM)
    assert {violation.rule for violation in simulator.violations} == {Rule.OUT_OF_RANGE}
    assert simulator.statistics.violations >= 32
    assert (simulator._mapped[FROM] == sent(64)).all()


@pytest.mark.parametrize(
    ("fault", "rules"),
    [
        ("page", {Rule.CROSSES_PAGE, Rule.WRITE_LAST}),  # it ends its bursts early as well
        ("fickle", {Rule.READ_ADDRESS_CHANGED}),
        ("last", {Rule.WRITE_LAST}),
        ("moody", {Rule.WRITE_DATA_CHANGED}),
        ("narrow", {Rule.BURST_KIND}),
        ("odd", {Rule.NOT_ALIGNED, Rule.CROSSES_PAGE}),
    ],
)
def test_broken_rule(fault: str, rules: set[Rule]) -> None:
    """A machine that breaks a rule of the bus is found out."""
    simulator = MachineSimulator(TINY, machine=Copier(TINY, fault), memory=MemoryModel(stall=0.6))
    simulator.map(0, np.zeros(0x20000, np.uint8))
    start(simulator, 16 * BEATS, source=FROM - 16, destination=TO)
    simulator.advance(10_000)
    assert {violation.rule for violation in simulator.violations} == rules


def test_silent_registers() -> None:
    simulator = MachineSimulator(TINY, machine=Copier(TINY, "deaf"))
    with pytest.raises(MachineFault, match=r"^register 0x4: a write must be answered, but was not in 1000 cycles$"):
        simulator.write_register(DESTINATION, 1)
    with pytest.raises(MachineFault, match=r"^register 0x4: a read must be answered, but was not in 1000 cycles$"):
        simulator.read_register(DESTINATION)


def test_mapping(simulator: MachineSimulator) -> None:
    simulator.map(64, np.zeros(64, np.uint8))
    with pytest.raises(SimulationError, match=r"^memory at 0x7f\.\.0x80 must not meet that at 0x40$"):
        simulator.map(127, np.zeros(1, np.uint8))
    with pytest.raises(SimulationError, match=r"^memory at 0x80 must be a contiguous array$"):
        simulator.map(128, np.zeros((2, 2), np.uint8)[:, 0])
    simulator.map(128, np.zeros(64, np.uint8))
    simulator.unmap(64)
    simulator.map(0, np.zeros(128, np.uint8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latency": -1}, "latency must not be negative, not -1"),
        ({"bandwidth": 0}, "bandwidth must be above 0 and at most 2 beats a cycle, not 0"),
        ({"outstanding": 0}, "outstanding must be at least 1, not 0"),
        ({"stall": 1}, "stall must be a probability less than 1, so that work goes on, not 1"),
    ],
)
def test_memory_that_never_answers_is_refused(values: dict, message: str) -> None:
    with pytest.raises(SimulationError, match=f"^{message}$"):
        MemoryModel(**values)


def test_waves(tmp_path: Path) -> None:
    traced = MachineSimulator(TINY, machine=Copier(TINY), trace=tmp_path / "machine.vcd")
    copy(traced, 64)
    traced.close()
    text = (tmp_path / "machine.vcd").read_text()
    assert "m_axi_araddr" in text
    assert "#100" in text
