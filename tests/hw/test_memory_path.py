"""Memory to activation buffer and back through the whole bus, at an AXI memory that is not ours: cocotbext-axi's."""

import itertools
import logging
import random
from typing import Any

import cocotb
import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from tests.hw.axi_memory import ErrorWatch, StabilityChecker
from tests.hw.bench import Process

from crisp.arch import Config
from crisp.arch.commands import LOAD, STORE, LoadTarget
from crisp.golden.load_unit import load
from crisp.golden.on_chip import OnChip
from crisp.golden.store_unit import store
from crisp_hw.activation_buffer import ActivationBuffer
from crisp_hw.axi import AxiSignature, connect_flat, error_layout, flat_members
from crisp_hw.axi_reader import AxiReader
from crisp_hw.axi_writer import AxiWriter
from crisp_hw.load_unit import LoadUnit, load_command_layout
from crisp_hw.store_unit import StoreUnit, store_command_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

#: Bytes of the memory, and of a part of it that fails.
MEMORY_BYTES = 1 << 16
FAULTY_BYTES = 256


class MemoryPath(wiring.Component):
    """Reader, load unit, activation buffer, store unit, writer."""

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            **flat_members("m_axi", Out(AxiSignature(data_width=config.axi_data_width))),
            "i_load": In(stream.Signature(load_command_layout())),
            "i_store": In(stream.Signature(store_command_layout())),
            "i_stop": In(1),
            "o_load_done": Out(1),
            "o_store_done": Out(1),
            "o_error": Out(error_layout()),
            "o_idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.reader = reader = AxiReader(data_width=config.axi_data_width, depths=[64])
        m.submodules.writer = writer = AxiWriter(data_width=config.axi_data_width)
        m.submodules.load_unit = load_unit = LoadUnit(config)
        m.submodules.store_unit = store_unit = StoreUnit(config)
        m.submodules.activation_buffer = buffer = ActivationBuffer(
            columns=config.columns, group_size=config.group_size, banks=config.banks, depth=config.activation_buffer_depth,
            num_readers=1, num_writers=1,
        )  # fmt: skip
        wiring.connect(m, wiring.flipped(self.i_load), load_unit.i_command)
        wiring.connect(m, load_unit.o_transfer, reader.i_transfers[0])
        wiring.connect(m, reader.o_beats[0], load_unit.i_beats)
        wiring.connect(m, load_unit.o_write, buffer.i_writes[0])
        wiring.connect(m, wiring.flipped(self.i_store), store_unit.i_command)
        wiring.connect(m, store_unit.o_read, buffer.i_reads[0])
        wiring.connect(m, buffer.o_reads[0], store_unit.i_read)
        wiring.connect(m, store_unit.o_transfer, writer.i_transfer)
        wiring.connect(m, store_unit.o_data, writer.i_data)
        connect_flat(m, self, "m_axi", reader.bus)
        connect_flat(m, self, "m_axi", writer.bus)
        m.d.comb += [load_unit.i_writing.eq(buffer.o_writing), store_unit.i_done.eq(writer.o_done)]
        m.d.comb += [reader.i_stop.eq(self.i_stop), writer.i_stop.eq(self.i_stop)]
        m.d.comb += [self.o_load_done.eq(load_unit.o_done), self.o_store_done.eq(store_unit.o_done)]
        m.d.comb += self.o_error.eq(reader.o_error)
        with m.If(writer.o_error.valid):
            m.d.comb += self.o_error.eq(writer.o_error)
        m.d.comb += self.o_idle.eq(reader.o_idle & writer.o_idle)
        return m


class Watch(Process):
    """Count completions, and check that what is valid on the bus stays."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.loads = self.stores = 0
        self.checkers = [StabilityChecker(bench.dut, "m_axi_", channel) for channel in ("ar", "aw", "w")]

    def step(self) -> None:
        self.loads += int(self.dut.o_load_done.value)
        self.stores += int(self.dut.o_store_done.value)
        for checker in self.checkers:
            checker.sample()


class Path:
    """The component, its memory, and what should be in both."""

    def __init__(self, bench: Bench) -> None:
        # Imported by the simulator alone: it warns of what cocotb 2 calls otherwise.
        from cocotbext.axi import AxiBus, AxiRam

        self.bench = bench
        self.config = Config(**parameters()["config"])
        logging.getLogger("cocotb.memory_path").setLevel(logging.WARNING)  # it tells every burst otherwise
        self.ram = AxiRam(AxiBus.from_prefix(bench.dut, "m_axi"), bench.dut.clk, bench.dut.rst, size=MEMORY_BYTES)
        if bench.mode is Mode.BACKPRESSURE:
            for index, channel in enumerate(self.channels()):
                channel.set_pause_generator(pauses(f"{bench.seed} {index}"))
        rng = np.random.default_rng(bench.seed)
        self.expected = rng.integers(0, 256, MEMORY_BYTES, dtype=np.uint8)
        self.ram.write(0, self.expected.tobytes())
        self.on_chip = OnChip.cleared(self.config)
        self.watch, self.errors = Watch(bench), ErrorWatch(bench)
        self.loads = bench.source("i_load", layout_codec(load_command_layout())[0])
        self.stores = bench.source("i_store", layout_codec(store_command_layout())[0])

    def channels(self) -> list[Any]:
        read, write = self.ram.read_if, self.ram.write_if
        return [read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel]

    def fail_in(self, place: int) -> None:
        """Answer SLVERR in a part of the memory."""
        for interface, name in ((self.ram.read_if, "_read"), (self.ram.write_if, "_write")):
            setattr(interface, name, fails_in(getattr(interface, name), place))

    def load(self, **fields: int) -> None:
        command = {**dict.fromkeys((field.name for field in LOAD.fields), 0), "rows": 1, **fields}
        self.loads.send([{"fields": command, "base": 0}])
        load(command, self.expected, self.on_chip)

    def store(self, **fields: int) -> None:
        command = {**dict.fromkeys((field.name for field in STORE.fields), 0), "rows": 1, **fields}
        self.stores.send([{"fields": command, "base": 0}])
        store(command, self.expected, self.on_chip)

    async def complete(self, *, loads: int, stores: int) -> None:
        await self.bench.until(
            lambda: (self.watch.loads, self.watch.stores) == (loads, stores),
            what=lambda: f"{self.watch.loads} of {loads} LOADs, {self.watch.stores} of {stores} STOREs are complete",
        )


def pauses(seed: str):
    """Pause a channel at random."""
    rng = random.Random(seed)
    return (rng.random() < 0.5 for _ in itertools.count())


def fails_in(access: Any, place: int):
    """Let an access raise where it begins in a part of the memory, which cocotbext-axi makes SLVERR of."""

    async def wrapped(address: int, *arguments: Any) -> Any:
        if place <= address < place + FAULTY_BYTES:
            raise OSError("the memory fails here")
        return await access(address, *arguments)

    return wrapped


async def start(dut, mode: str) -> Path:
    bench = await Bench.start(dut, mode=mode)
    path = Path(bench)
    # cocotbext-axi begins with the end of a reset that it has seen.
    await bench.reset()
    return path


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def there_and_back(dut, mode: str) -> None:
    """Planes across 4 KiB and patches of an image come in and go out elsewhere; all other bytes of the memory guard them."""
    path = await start(dut, mode)
    group, beat = path.config.group_size, path.config.beat_bytes
    words = 75
    stride = -(-words * group // beat) * beat
    path.load(
        target=LoadTarget.ACTIVATIONS, offset=4096 - 3 * beat, rows=9, row_bytes=words * group, row_stride=stride, destination=11,
        destination_stride=words,
    )  # fmt: skip
    path.load(
        target=LoadTarget.PATCHES, offset=8192, rows=6, row_bytes=50, row_stride=max(64, beat), destination=800, destination_stride=150,
        patch_step=4, patch_words=2, patch_lead=2, patches=25, fill=-3,
    )  # fmt: skip
    await path.complete(loads=2, stores=0)
    path.store(offset=32768 - 5 * beat, rows=9, row_bytes=words * group, row_stride=stride + beat, source=11, source_stride=words)
    path.store(offset=49152, rows=2, row_bytes=150 * group, row_stride=4096, source=800, source_stride=150)
    await path.complete(loads=2, stores=2)
    assert path.ram.read(0, MEMORY_BYTES) == path.expected.tobytes()
    assert int(dut.o_idle.value)
    assert not path.errors.errors


@cocotb.test()
@cocotb.parametrize(mode=MODES, direction=["read", "write"])
async def a_refused_burst_ends_the_command(dut, mode: str, direction: str) -> None:
    """SLVERR is reported with the place, the command never completes, and the bus comes to rest."""
    path = await start(dut, mode)
    place = 16384
    path.fail_in(place)
    size = {"rows": 3, "row_bytes": 512, "row_stride": 512}
    if direction == "read":
        path.load(target=LoadTarget.ACTIVATIONS, offset=place - 512, destination_stride=512 // path.config.group_size, **size)
    else:
        path.store(offset=place - 512, source_stride=512 // path.config.group_size, **size)
    await path.bench.until(lambda: bool(path.errors.errors), what=lambda: "no error was reported")
    assert path.errors.errors[0] == (2, place)
    dut.i_stop.value = 1
    await path.bench.until(lambda: bool(int(dut.o_idle.value)), what=lambda: "the bus does not come to rest")
    await path.bench.wait(50)
    assert int(dut.o_idle.value)
    assert (path.watch.loads, path.watch.stores) == (0, 0)


CONFIGS = {
    "tiny": {"rows": 4, "columns": 4, "group_size": 4, "drain_rows": 1, "axi_data_width": 32},
    "default": {"rows": 16, "columns": 16, "group_size": 4, "drain_rows": 2, "axi_data_width": 128},
    "fourteen_columns": {"rows": 8, "columns": 14, "group_size": 8, "drain_rows": 1, "axi_data_width": 64},
    "wide": {"rows": 4, "columns": 3, "group_size": 2, "drain_rows": 1, "axi_data_width": 512},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_memory_path(name: str) -> None:
    table = {"activation_buffer_depth": 512, **CONFIGS[name]}
    simulate(MemoryPath(Config(**table)), __file__, name="memory_path", parameters={"config": table})
