# amaranth: UnusedElaboratable=no
"""Activation buffer against an array: any addresses, any lanes, all readers and writers at once, one request a cycle."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp_hw.activation_buffer import ActivationBuffer
from crisp_hw.layouts import read_request_layout, slot_layout, write_request_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, layout_codec


class Answers(Process):
    """Note the answers to a reader, and when they came."""

    def __init__(self, bench: Bench, reader: int, decode) -> None:
        super().__init__(bench)
        self.valid = getattr(bench.dut, f"o_reads__{reader}__valid")
        self.payload = getattr(bench.dut, f"o_reads__{reader}__payload")
        self.decode = decode
        self.words: list[np.ndarray] = []
        self.cycles: list[int] = []

    def step(self) -> None:
        if int(self.valid.value):
            self.words.append(np.array(self.decode(int(self.payload.value))))
            self.cycles.append(self.bench.cycle)


class Buffer:
    """A bench around the buffer, with its streams and an array of what it must hold."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        table = parameters()
        self.columns, self.size, self.banks = table["columns"], table["group_size"], table["banks"]
        self.num_words = table["banks"] * table["depth"]
        encode_read, _ = layout_codec(read_request_layout(self.columns, self.num_words))
        encode_write, _ = layout_codec(write_request_layout(self.columns, self.size, self.num_words))
        _, decode = layout_codec(slot_layout(self.columns, self.size))
        self.writers = [bench.source(f"i_writes__{writer}", encode_write) for writer in range(table["num_writers"])]
        self.readers = [bench.source(f"i_reads__{reader}", encode_read) for reader in range(table["num_readers"])]
        self.answers = [Answers(bench, reader, decode) for reader in range(table["num_readers"])]
        self.rng = np.random.default_rng([bench.seed, self.columns])
        self.memory = np.zeros((self.num_words, self.size), np.int64)

    def addresses(self, low: int, high: int) -> np.ndarray:
        """Return addresses of lanes in a range: neighbours, a stride, or any."""
        first, lanes = self.rng.integers(low, high), np.arange(self.columns)
        stride = self.rng.choice([1, 2, 3, self.banks])
        chosen = self.rng.integers(low, high, self.columns) if self.rng.random() < 0.3 else first + stride * lanes
        return low + (chosen - low) % (high - low)

    def enables(self) -> np.ndarray:
        """Return enabled lanes, often all of them."""
        return self.rng.random(self.columns) < self.rng.choice([0.0, 0.5, 1.0, 1.0])

    def write(self, writer: int, addresses: np.ndarray, enables: np.ndarray) -> None:
        """Send a write request with any words, and do the same to the array."""
        words = self.rng.integers(-128, 128, (self.columns, self.size))
        mask = sum(1 << lane for lane in np.flatnonzero(enables))
        self.writers[writer].send([{"addresses": addresses.tolist(), "enables": mask, "data": words.tolist()}])
        for lane in np.flatnonzero(enables):
            self.memory[addresses[lane]] = words[lane]

    def read(self, reader: int, addresses: np.ndarray, enables: np.ndarray) -> np.ndarray:
        """Send a read request and return the answer that must come."""
        mask = sum(1 << lane for lane in np.flatnonzero(enables))
        self.readers[reader].send([{"addresses": addresses.tolist(), "enables": mask}])
        return np.where(enables[:, None], self.memory[addresses], 0)

    def cost(self, addresses: np.ndarray, enables: np.ndarray) -> int:
        """Return the cycles of a request."""
        return max(1, np.bincount(addresses[enables] % self.banks, minlength=1).max(initial=0))

    async def fill(self) -> None:
        """Write every word."""
        for first in range(0, self.num_words, self.columns):
            addresses = first + np.arange(self.columns)
            self.write(0, addresses % self.num_words, addresses < self.num_words)
        await self.until_idle()

    async def until_idle(self) -> None:
        """Wait until everything sent is in the RAM and was answered."""
        for source in (*self.writers, *self.readers):
            await source.drain()
        await self.bench.until(lambda: bool(int(self.bench.dut.o_idle.value)), what=lambda: "the buffer is busy")


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def holds_what_was_written(dut, mode: str) -> None:
    """Writers write their own parts at once, then all readers read everything, while writers write elsewhere."""
    buffer = Buffer(await Bench.start(dut, mode=mode))
    await buffer.fill()
    writers, readers = len(buffer.writers), len(buffer.readers)
    lower, upper = (0, buffer.num_words // 2), (buffer.num_words // 2, buffer.num_words)
    expected: list[list[np.ndarray]] = [[] for _ in range(readers)]
    for (low, high), (begin, end) in ((lower, upper), (upper, lower)) * 3:
        # Readers and writers never meet: one half is read, of the other each writer has its part.
        bounds = np.linspace(begin, end, writers + 1).astype(int)
        for _ in range(60):
            for writer in range(writers):
                buffer.write(writer, buffer.addresses(bounds[writer], bounds[writer + 1]), buffer.enables())
            for reader in range(readers):
                expected[reader].append(buffer.read(reader, buffer.addresses(low, high), buffer.enables()))
        await buffer.until_idle()
    for answers, words in zip(buffer.answers, expected, strict=True):
        assert len(answers.words) == len(words)
        assert np.array_equal(answers.words, words)


@cocotb.test()
async def takes_a_request_a_cycle(dut) -> None:
    """Without conflicts a read and a write every cycle, whoever asks; the first answer comes after `LATENCY` cycles."""
    buffer = Buffer(await Bench.start(dut))
    await buffer.fill()
    everyone, lanes = np.ones(buffer.columns, bool), np.arange(buffer.columns)
    for _ in range(60):
        first, stride = buffer.rng.integers(buffer.num_words), 2 * buffer.rng.integers(buffer.banks) + 1
        for reader in range(len(buffer.readers)):
            buffer.read(reader, (first + stride * lanes) % buffer.num_words, everyone)
        for writer in range(len(buffer.writers)):
            buffer.write(writer, (first + stride * lanes) % buffer.num_words, everyone)
    taken = [len(source.cycles) for source in (*buffer.readers, *buffer.writers)]
    await buffer.until_idle()
    asked = sorted(cycle for source, old in zip(buffer.readers, taken, strict=False) for cycle in source.cycles[old:])
    answered = sorted(cycle for answers in buffer.answers for cycle in answers.cycles)
    assert [cycle + ActivationBuffer.LATENCY for cycle in asked] == answered
    assert np.diff(answered).tolist() == [1] * (60 * len(buffer.readers) - 1)
    written = sorted(
        cycle for source, old in zip(buffer.writers, taken[len(buffer.readers) :], strict=True) for cycle in source.cycles[old:]
    )
    assert np.diff(written).tolist() == [1] * (60 * len(buffer.writers) - 1)


@cocotb.test()
async def takes_as_long_as_the_fullest_bank(dut) -> None:
    """A request takes a cycle for each lane that wants the same bank, and no more."""
    buffer = Buffer(await Bench.start(dut))
    requests = [(buffer.addresses(0, buffer.num_words), buffer.enables()) for _ in range(200)]
    for addresses, enables in requests:
        buffer.read(0, addresses, enables)
    await buffer.until_idle()
    assert np.diff(buffer.answers[0].cycles).tolist() == [buffer.cost(addresses, enables) for addresses, enables in requests[1:]]


@cocotb.test()
async def says_what_is_written(dut) -> None:
    """A word may be read as soon as its writer has none under way, while the other writer goes on."""
    buffer = Buffer(await Bench.start(dut))
    await buffer.fill()
    writers = len(buffer.writers)
    half = buffer.num_words // 2
    for round in range(40):
        writer = round % writers
        addresses, enables = buffer.addresses(0, half), buffer.enables()
        for other in range(writers):
            for _ in range(30 * (other != writer)):
                buffer.write(other, buffer.addresses(half, buffer.num_words), buffer.enables())
        buffer.write(writer, addresses, enables)
        await buffer.writers[writer].drain()
        await buffer.bench.wait(1)
        assert int(dut.o_writing.value) >> writer & 1
        assert not int(dut.o_idle.value)
        await buffer.bench.until(lambda writer=writer: not int(dut.o_writing.value) >> writer & 1, what=lambda: "the writer is busy")
        assert writers == 1 or int(dut.o_writing.value), "the other writer has not gone on"
        expected = buffer.read(0, addresses, np.ones(buffer.columns, bool))
        await buffer.readers[0].drain()
        await buffer.bench.wait(1)
        assert not int(dut.o_idle.value)
        await buffer.bench.wait(ActivationBuffer.LATENCY + buffer.columns)
        assert np.array_equal(buffer.answers[0].words[-1], expected)
        await buffer.until_idle()


@pytest.mark.parametrize(
    ("columns", "group_size", "banks", "depth", "num_readers", "num_writers", "simulator"),
    [
        (1, 2, 1, 40, 1, 1, "verilator"),
        (3, 2, 4, 13, 3, 2, "verilator"),
        (4, 8, 4, 16, 2, 1, "verilator"),
        pytest.param(14, 4, 16, 24, 3, 2, "verilator", marks=pytest.mark.slow),
        pytest.param(16, 4, 16, 16, 3, 2, "verilator", marks=pytest.mark.slow),
        (3, 2, 4, 13, 3, 2, "icarus"),
    ],
)
def test_activation_buffer(
    columns: int, group_size: int, banks: int, depth: int, num_readers: int, num_writers: int, simulator: str
) -> None:
    table = {"columns": columns, "group_size": group_size, "banks": banks, "depth": depth}
    table |= {"num_readers": num_readers, "num_writers": num_writers}
    simulate(ActivationBuffer(**table), __file__, name="activation_buffer", parameters=table, simulator=simulator)


@pytest.mark.parametrize("banks", [2, 12])
def test_refuses_banks(banks: int) -> None:
    with pytest.raises(ValueError, match=rf"^banks must be a power of two and at least columns = 3, not {banks}$"):
        ActivationBuffer(columns=3, group_size=4, banks=banks, depth=16)
