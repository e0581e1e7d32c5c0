# amaranth: UnusedElaboratable=no
"""AXI writer: what it writes and leaves alone, how it asks, and what it does about faults. Its golden model is the bytes themselves."""

import cocotb
import numpy as np
import pytest
from tests.hw.axi_memory import AxiMemory, ErrorWatch
from tests.hw.bench import Process

from crisp_hw.axi import transfer_layout
from crisp_hw.axi_writer import AxiWriter
from crisp_hw.burst_splitter import BurstSplitter
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, layout_codec

BASE = 0x45_6789_0000


class DoneCount(Process):
    """Count completions, and know in which cycles they came."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.cycles: list[int] = []

    def step(self) -> None:
        if int(self.dut.o_done.value):
            self.cycles.append(self.bench.cycle)


class Writer:
    """The component in a bench with memory, what should be in it, and who writes."""

    def __init__(self, bench: Bench, latency: int) -> None:
        table = parameters()
        self.bench = bench
        self.beat_bytes = table["data_width"] // 8
        self.rng = np.random.default_rng(bench.seed)
        self.memory = AxiMemory(bench, bytearray(self.rng.bytes(32768)), base=BASE, latency=latency, max_burst=table["max_burst"])
        self.expected = bytearray(self.memory.data)
        self.errors = ErrorWatch(bench)
        self.done = DoneCount(bench)
        self.source = bench.source("i_transfer", layout_codec(transfer_layout(26))[0])
        self.data = bench.source("i_data")
        self.asked = 0

    def write(self, start: int, size: int) -> None:
        """Send a transfer of random bytes; those behind its end are random too, and must not arrive."""
        beats = -(-size // self.beat_bytes)
        content = self.rng.bytes(beats * self.beat_bytes)
        self.expected[start : start + size] = content[:size]
        self.source.send([{"address": BASE + start, "bytes": size}])
        self.data.send(int.from_bytes(content[beat * self.beat_bytes : (beat + 1) * self.beat_bytes], "little") for beat in range(beats))
        self.asked += 1

    async def all_done(self) -> None:
        await self.bench.until(
            lambda: len(self.done.cycles) == self.asked,
            progress=lambda: (len(self.done.cycles), len(self.memory.write_cycles)),
            what=lambda: f"{len(self.done.cycles)} of {self.asked} transfers are complete",
        )

    def quiet(self) -> bool:
        return bool(int(self.bench.dut.o_idle.value)) and self.memory.is_quiet


async def start(dut, mode: str, latency: int) -> Writer:
    return Writer(await Bench.start(dut, mode=mode), latency)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def writes_what_it_is_told(dut, mode: str) -> None:
    """Every byte of a transfer, and none around it: transfers do not touch each other, so all others guard them."""
    writer = await start(dut, mode, latency=7)
    place = 0
    for _ in range(40):
        size = int(writer.rng.integers(1, 24 * writer.beat_bytes))
        end = place + -(-size // writer.beat_bytes) * writer.beat_bytes
        if end > len(writer.expected):
            break
        writer.write(place, size)
        place = end + int(writer.rng.integers(0, 2)) * writer.beat_bytes
    await writer.all_done()
    await writer.bench.wait(3)
    assert writer.memory.data == writer.expected
    assert writer.quiet()
    assert not writer.errors.errors


@cocotb.test()
async def a_transfer_is_complete_when_all_responses_are_in(dut) -> None:
    writer = await start(dut, "full", latency=50)
    writer.write(64, 40 * writer.beat_bytes)
    await writer.all_done()
    assert writer.memory.data == writer.expected
    assert writer.done.cycles[0] >= writer.memory.write_cycles[-1] + 50


@cocotb.test()
@cocotb.parametrize(latency=[1, 40])
async def wastes_no_cycle(dut, latency: int) -> None:
    """One beat a cycle from row to row, over a memory that answers after 40 cycles."""
    writer = await start(dut, "full", latency)
    size = max(448, 7 * writer.beat_bytes)
    for row in range(20):
        writer.write(row * 1024, size)
    await writer.all_done()
    assert writer.memory.data == writer.expected
    gaps = np.diff(writer.memory.write_cycles)
    assert gaps.max() == 1, f"a gap of {gaps.max()} cycles on the bus"


@cocotb.test()
async def holds_the_bus_only_with_data(dut) -> None:
    """A burst begins when its data is there, so that its beats follow each other, however slowly the data comes."""
    writer = await start(dut, "idle", latency=3)
    beats = parameters()["max_burst"]
    for row in range(6):
        writer.write(row * 4096, beats * writer.beat_bytes)
    await writer.all_done()
    cycles = np.array(writer.memory.write_cycles).reshape(6, beats)
    assert (np.diff(cycles, axis=1) == 1).all()


@cocotb.test()
@cocotb.parametrize(mode=MODES, response=[1, 2, 3])
async def faults_end_all(dut, mode: str, response: int) -> None:
    """The fault is reported with its burst's address; bursts begun come to an end; nothing is complete any more."""
    writer = await start(dut, mode, latency=9)
    size = writer.beat_bytes
    for row in range(6):
        writer.write(row * 4096, 40 * size)
    place = BASE + 4096 + parameters()["max_burst"] * size if parameters()["max_burst"] < 40 else BASE + 4096
    writer.memory.responses[place] = response
    await writer.bench.until(
        lambda: bool(writer.errors.errors), progress=lambda: len(writer.memory.write_cycles), what=lambda: "no error was reported"
    )
    assert writer.errors.errors == [(response, place)]
    assert len(writer.done.cycles) == 1
    await writer.bench.until(writer.quiet, what=lambda: "the bus does not come to rest")
    bursts = len(writer.memory.write_bursts)
    await writer.bench.wait(60)
    assert len(writer.memory.write_bursts) == bursts
    assert len(writer.done.cycles) == 1

    # Reset makes it work again.
    writer.memory.responses.clear()
    await writer.bench.reset()
    writer.expected[:] = writer.memory.data
    writer.asked = len(writer.done.cycles)
    writer.write(8192, 40 * size)
    await writer.all_done()
    assert writer.memory.data == writer.expected


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def stops_when_told(dut, mode: str) -> None:
    """Bursts begun come to their end, but write nothing; none follows."""
    writer = await start(dut, mode, latency=9)
    size = writer.beat_bytes
    writer.write(0, 16384)
    await writer.bench.until(lambda: len(writer.memory.write_cycles) > 5, what=lambda: "nothing is written")
    dut.i_stop.value = 1
    await writer.bench.wait(2)
    # A beat that was valid when the stop came stays as it is.
    written = len(writer.memory.write_cycles) + 1
    pending = int(dut.bus__awvalid.value) & ~int(dut.bus__awready.value)
    bursts = len(writer.memory.write_bursts) + pending
    await writer.bench.until(writer.quiet, what=lambda: "the bus does not come to rest")
    await writer.bench.wait(60)
    assert len(writer.memory.write_bursts) == bursts < 16384 // size // parameters()["max_burst"]
    before = np.random.default_rng(writer.bench.seed).bytes(32768)
    assert writer.memory.data[written * size :] == before[written * size :]
    assert not writer.done.cycles


@pytest.mark.parametrize(
    ("data_width", "max_burst", "depth"),
    [(32, 16, 64), (64, 16, 32), (128, 32, 64), (512, 64, 128)],
)
def test_axi_writer(data_width: int, max_burst: int, depth: int) -> None:
    table = {"data_width": data_width, "max_burst": max_burst, "depth": depth}
    simulate(AxiWriter(**table), __file__, name="axi_writer", parameters=table)


def test_the_queue_holds_a_burst() -> None:
    with pytest.raises(ValueError, match=r"^depth must be at least max_burst = 16, not 8$"):
        AxiWriter(data_width=64, depth=8)


@pytest.mark.parametrize(("data_width", "max_burst", "longest"), [(64, 24, 256), (512, 128, 64), (64, 0, 256)])
def test_bursts_are_such_as_the_standard_has(data_width: int, max_burst: int, longest: int) -> None:
    with pytest.raises(ValueError, match=rf"^max_burst must be a power of two, at most {longest}, not {max_burst}$"):
        BurstSplitter(beat_bytes=data_width // 8, max_burst=max_burst, bytes_width=26)
