# amaranth: UnusedElaboratable=no
"""AXI reader: what it delivers, how it asks, and what it does about faults. Its golden model is the memory's bytes themselves."""

import cocotb
import numpy as np
import pytest
from tests.hw.axi_memory import AxiMemory, ErrorWatch

from crisp_hw.axi import transfer_layout
from crisp_hw.axi_reader import AxiReader, beat_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, layout_codec

BASE = 0x12_3456_7000


class Reader:
    """The component in a bench with memory and clients."""

    def __init__(self, bench: Bench, latency: int) -> None:
        table = parameters()
        self.bench = bench
        self.beat_bytes = table["data_width"] // 8
        self.rng = np.random.default_rng(bench.seed)
        self.memory = AxiMemory(bench, bytearray(self.rng.bytes(16384)), base=BASE, latency=latency, max_burst=table["max_burst"])
        self.watch = ErrorWatch(bench)
        encode, _ = layout_codec(transfer_layout(26))
        _, decode = layout_codec(beat_layout(table["data_width"]))
        clients = range(len(table["depths"]))
        self.sources = [bench.source(f"i_transfers__{client}", encode) for client in clients]
        self.sinks = [bench.sink(f"o_beats__{client}", decode) for client in clients]

    def random_transfers(self, number: int, longest: int) -> list[tuple[int, int]]:
        """Return start and bytes of transfers in the memory, aligned to beats; lengths of all kinds."""
        beats = len(self.memory.data) // self.beat_bytes
        transfers = []
        for _ in range(number):
            start = int(self.rng.integers(beats)) * self.beat_bytes
            transfers.append((start, min(int(self.rng.integers(1, longest)), len(self.memory.data) - start)))
        return transfers

    def ask(self, client: int, transfers: list[tuple[int, int]]) -> None:
        self.sources[client].send({"address": BASE + start, "bytes": size} for start, size in transfers)

    def beats_of(self, transfers: list[tuple[int, int]]) -> list[dict[str, int]]:
        beats = []
        for start, size in transfers:
            number = -(-size // self.beat_bytes)
            for beat in range(number):
                place = start + beat * self.beat_bytes
                word = int.from_bytes(self.memory.data[place : place + self.beat_bytes], "little")
                beats.append({"data": word, "last": int(beat == number - 1)})
        return beats

    def quiet(self) -> bool:
        return bool(int(self.bench.dut.o_idle.value)) and self.memory.is_quiet


async def start(dut, mode: str, latency: int) -> Reader:
    return Reader(await Bench.start(dut, mode=mode), latency)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def reads_for_all_clients(dut, mode: str) -> None:
    """Everything in order, each client its own, whatever holds back; bursts are checked by the memory."""
    reader = await start(dut, mode, latency=7)
    asked = [reader.random_transfers(25, 40 * reader.beat_bytes) for _ in reader.sinks]
    for client, transfers in enumerate(asked):
        reader.ask(client, transfers)
    for sink, transfers in zip(reader.sinks, asked, strict=True):
        await sink.expect(reader.beats_of(transfers))
        await sink.expect_nothing(cycles=3)
    assert reader.quiet()
    assert not reader.watch.errors


@cocotb.test()
@cocotb.parametrize(latency=[1, 40])
async def wastes_no_cycle(dut, latency: int) -> None:
    """One beat a cycle over a memory that answers after 40 cycles, with rows of 28 and of 448 bytes, aligned or not."""
    reader = await start(dut, "full", latency)
    size = max(448, 7 * reader.beat_bytes)
    transfers = [(row * 512 + 64, size) for row in range(20)] if reader.beat_bytes < 64 else [(row * 512, size) for row in range(20)]
    reader.ask(-1, transfers)
    await reader.sinks[-1].expect(reader.beats_of(transfers))
    cycles = reader.memory.read_cycles
    assert np.diff(cycles).max() == 1, f"a gap of {np.diff(cycles).max()} cycles on the bus"
    assert reader.sources[-1].cycles[0] + AxiReader.LATENCY + latency == cycles[0]
    assert cycles[0] + AxiReader.RETURN_LATENCY == reader.sinks[-1].cycles[0]


@cocotb.test()
async def a_client_that_waits_holds_nobody_back(dut) -> None:
    """The bus never waits, and others go on, while one client takes nothing."""
    reader = await start(dut, "full", latency=3)
    reader.sinks[0].enabled = False
    transfers = reader.random_transfers(20, 40 * reader.beat_bytes)
    for client in range(len(reader.sinks)):
        reader.ask(client, transfers)
    for sink in reader.sinks[1:]:
        await sink.expect(reader.beats_of(transfers))
    reader.sinks[0].enabled = True
    await reader.sinks[0].expect(reader.beats_of(transfers))


@cocotb.test()
@cocotb.parametrize(mode=MODES, fault=["SLVERR", "DECERR", "EXOKAY", "early", "late"])
async def faults_end_all(dut, mode: str, fault: str) -> None:
    """The beat before a fault is the last one; the fault is reported with its address; the bus comes to rest."""
    reader = await start(dut, mode, latency=9)
    size = reader.beat_bytes
    transfers = [(0, 40 * size), (4096, 40 * size), (8192, 40 * size)]
    max_burst = parameters()["max_burst"]
    place = 4096 + 20 * size
    end = 4096 + (min((20 // max_burst + 1) * max_burst, 40) - 1) * size  # of the burst with that beat
    match fault:
        case "early":
            reader.memory.last_override[BASE + place] = 1
            code, address = 1, place
        case "late":
            reader.memory.last_override[BASE + end] = 0
            code, address = 1, end
        case _:
            code, address = {"EXOKAY": 1, "SLVERR": 2, "DECERR": 3}[fault], place
            reader.memory.responses[BASE + place] = code
    reader.ask(-1, transfers)
    good = (40 * size + address - 4096) // size
    await reader.sinks[-1].expect(reader.beats_of(transfers)[:good])
    await reader.sinks[-1].expect_nothing(cycles=50)
    assert reader.watch.errors[0] == (code, BASE + address)
    assert reader.watch.clients[0] == len(reader.sinks) - 1
    if fault == "late":
        # The memory goes on with the next burst as if it were the same one: how much comes is not for the reader to know.
        return
    await reader.bench.until(reader.quiet, what=lambda: "the bus does not come to rest")
    bursts = len(reader.memory.read_bursts)
    reader.ask(0, transfers)
    await reader.bench.wait(30)
    assert len(reader.memory.read_bursts) == bursts

    # Reset makes it work again.
    reader.memory.responses.clear()
    reader.memory.last_override.clear()
    await reader.bench.reset()
    reader.ask(-1, transfers)
    await reader.sinks[-1].expect(reader.beats_of(transfers))


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def stops_when_told(dut, mode: str) -> None:
    """Nothing new is asked for, what was asked for comes and is dropped, and the bus comes to rest."""
    reader = await start(dut, mode, latency=9)
    reader.ask(-1, [(0, 16384)])
    await reader.sinks[-1].receive(5)
    dut.i_stop.value = 1
    await reader.bench.wait(2)
    # An address that was valid when the stop came is still to be taken; none follows.
    pending = int(dut.bus__arvalid.value) & ~int(dut.bus__arready.value)
    bursts = len(reader.memory.read_bursts) + pending
    await reader.bench.until(reader.quiet, what=lambda: "the bus does not come to rest")
    await reader.bench.wait(30)
    assert len(reader.memory.read_bursts) == bursts < 16384 // reader.beat_bytes // parameters()["max_burst"]
    assert not reader.watch.errors


@pytest.mark.parametrize(
    ("data_width", "max_burst", "depths"),
    [(32, 16, [64]), (64, 16, [16, 96]), (128, 32, [32, 40, 96]), (512, 64, [64, 128]), (128, 2, [4, 64])],
)
def test_axi_reader(data_width: int, max_burst: int, depths: list[int]) -> None:
    table = {"data_width": data_width, "max_burst": max_burst, "depths": depths, "outstanding": 64 if max_burst == 2 else 16}
    simulate(AxiReader(**table), __file__, name="axi_reader", parameters=table)


def test_a_queue_holds_a_burst() -> None:
    with pytest.raises(ValueError, match=r"^depths must be one a client, each at least 16, not \[8\]$"):
        AxiReader(data_width=64, depths=[8])
