"""Register file: every register against its declaration, whatever the order and the pauses of the bus's channels."""

import itertools
import random

import cocotb
import pytest
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp
from tests.hw.bench import Process

from crisp.arch import REGISTERS, register
from crisp.arch.registers import ADDRESS_SPACE_BYTES, MAGIC, Access, wide_registers
from crisp_hw.csr import RegisterFile, event_layout, host_layout, machine_layout, place, pulse_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import Bench, layout_codec

DIGEST = 0x89ABCDEF


class Registers:
    """The component in a bench, with a host.

    Parameters
    ----------
    bench : Bench
        The bench.
    pauses : bool
        Whether all channels pause at random.
    """

    def __init__(self, bench: Bench, *, pauses: bool) -> None:
        self.bench, self.dut = bench, bench.dut
        self.rng = random.Random(bench.seed)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(bench.dut, "s_axi_"), bench.dut.clk, bench.dut.rst)
        for channel in (self.host.write_if, self.host.read_if):
            channel.log.setLevel("WARNING")
        if pauses:
            channels = (
                self.host.write_if.aw_channel,
                self.host.write_if.w_channel,
                self.host.write_if.b_channel,
                self.host.read_if.ar_channel,
                self.host.read_if.r_channel,
            )
            for channel in channels:
                channel.set_pause_generator(self.rng.random() < 0.5 for _ in itertools.count())
        self.encode_machine, _ = layout_codec(machine_layout())
        self.encode_events, _ = layout_codec(event_layout())
        _, self.decode_host = layout_codec(host_layout())
        self.machine = dict.fromkeys(machine_layout().members, 0)
        self.pulses = PulseWatch(bench)

    def show(self, **values: int) -> None:
        """Let the machine show values."""
        self.machine.update(values)
        self.dut.i_machine.value = self.encode_machine(self.machine)

    async def read(self, offset: int) -> tuple[int, AxiResp]:
        answer = await self.host.read(offset, 4)
        return int.from_bytes(answer.data, "little"), answer.resp

    async def write(self, offset: int, word: int, *, first: int = 0, size: int = 4) -> AxiResp:
        """Write some bytes of a register."""
        data = word.to_bytes(4, "little")[first : first + size]
        return (await self.host.write(offset + first, data)).resp

    def host_values(self) -> dict[str, int]:
        return self.decode_host(int(self.dut.o_host.value))

    async def happen(self, **events: int) -> None:
        """Let events happen in one cycle."""
        values = dict.fromkeys(event_layout().members, 0) | {f"interrupt_status_{name}": value for name, value in events.items()}
        self.dut.i_events.value = self.encode_events(values)
        await self.bench.wait(1)
        self.dut.i_events.value = 0


class PulseWatch(Process):
    """Count what the host orders."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.counts = dict.fromkeys(pulse_layout().members, 0)
        _, self.decode = layout_codec(pulse_layout())

    def step(self) -> None:
        for name, value in self.decode(int(self.dut.o_pulses.value)).items():
            self.counts[name] += value


async def start(dut) -> Registers:
    bench = await Bench.start(dut)
    registers = Registers(bench, pauses=parameters()["pauses"])
    registers.show()
    return registers


@cocotb.test()
async def reset_values_are_declared(dut):
    registers = await start(dut)
    for entry in REGISTERS:
        expected = DIGEST if entry.name == "CONFIG_DIGEST" else entry.reset
        assert await registers.read(entry.offset) == (expected, AxiResp.OKAY), entry.name


@cocotb.test()
async def machine_is_shown(dut):
    registers = await start(dut)
    rng = registers.rng
    values = {name: rng.getrandbits(len_of(name)) for name in machine_layout().members}
    registers.show(**values)
    for entry in REGISTERS:
        word, response = await registers.read(entry.offset)
        assert response == AxiResp.OKAY
        for field in entry.fields:
            key, bit = place(entry, field)
            if key in values:
                expected = values[key] >> bit & ((1 << field.width) - 1)
                assert field.extract(word) == expected, f"{entry.name}.{field.name}"
    low, high = wide_registers("CYCLES")
    await registers.read(low.offset)
    registers.show(cycles=values["cycles"] + (1 << 32))
    assert (await registers.read(high.offset))[0] == values["cycles"] >> 32, "the high half is kept"
    await registers.read(low.offset)
    assert (await registers.read(high.offset))[0] == (values["cycles"] + (1 << 32)) >> 32 & 0xFFFFFFFF


def len_of(name: str) -> int:
    """Return the bits of what the machine shows."""
    return machine_layout()[name].width


@cocotb.test()
async def host_writes_bytes(dut):
    registers = await start(dut)
    rng = registers.rng
    writable = [entry for entry in REGISTERS if entry.fields[0].access in (Access.WRITE, Access.LOCKED)]
    words = {entry.name: entry.reset for entry in writable}
    for _ in range(150):
        entry, word = rng.choice(writable), rng.getrandbits(32)
        first = rng.randrange(4)
        size = rng.randint(1, 4 - first)
        busy = rng.random() < 0.3
        registers.show(status_busy=int(busy))
        locked = busy and entry.fields[0].access is Access.LOCKED
        response = await registers.write(entry.offset, word, first=first, size=size)
        assert response == (AxiResp.SLVERR if locked else AxiResp.OKAY)
        if not locked:
            mask = (((1 << 8 * size) - 1) << 8 * first) & sum(field.mask for field in entry.fields)
            words[entry.name] = words[entry.name] & ~mask | word & mask
        entry = rng.choice(writable)
        assert await registers.read(entry.offset) == (words[entry.name], AxiResp.OKAY), entry.name
    host = registers.host_values()
    for name in ("watchdog", "command_offset", "program_size"):
        assert host[name] == words[name.upper()]
    for window in ("program", "scratch", "input", "output"):
        assert host[f"{window}_base"] == words[f"{window.upper()}_BASE_LOW"] | words[f"{window.upper()}_BASE_HIGH"] << 32
    assert not any(registers.pulses.counts.values())


@cocotb.test()
async def orders_are_pulses(dut):
    registers = await start(dut)
    control = register("CONTROL")
    for count in range(1, 4):
        await registers.write(control.offset, control.pack(start=1))
        assert registers.pulses.counts == {"control_start": count, "control_soft_reset": count - 1}
        await registers.write(control.offset, control.pack(soft_reset=1))
        assert registers.pulses.counts == {"control_start": count, "control_soft_reset": count}
        assert await registers.read(control.offset) == (0, AxiResp.OKAY)
    await registers.write(control.offset, 0xFFFFFFFF, first=1, size=3)
    assert registers.pulses.counts == {"control_start": 3, "control_soft_reset": 3}, "bytes that are not written order nothing"


@cocotb.test()
async def events_raise_the_interrupt(dut):
    registers = await start(dut)
    enable, status = register("INTERRUPT_ENABLE"), register("INTERRUPT_STATUS")
    interrupt = dut.o_interrupt
    await registers.happen(done=1)
    await registers.bench.wait(2)
    assert not int(interrupt.value)
    assert (await registers.read(status.offset))[0] == status.pack(done=1)
    await registers.write(enable.offset, enable.pack(error=1))
    assert not int(interrupt.value)
    await registers.write(enable.offset, enable.pack(done=1))
    assert int(interrupt.value)
    await registers.write(status.offset, status.pack(error=1))
    assert int(interrupt.value)
    await registers.write(status.offset, status.pack(done=1))
    assert not int(interrupt.value)

    # An event in the very cycle in which it is cleared is not lost.
    registers.dut.i_events.value = registers.encode_events({"interrupt_status_done": 1, "interrupt_status_error": 1})
    await registers.write(status.offset, status.pack(done=1, error=1))
    registers.dut.i_events.value = 0
    await registers.bench.wait(2)
    assert (await registers.read(status.offset))[0] == status.pack(done=1, error=1)
    dut.i_forget.value = 1
    await registers.bench.wait(1)
    dut.i_forget.value = 0
    assert (await registers.read(status.offset))[0] == 0


class RawHost(Process):
    """Writes registers signal by signal: with anything in the bytes that are not written, and knowing the cycle of each write."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.written: int | None = None  # the cycle in which the write took effect
        self.pending: set[str] = set()
        self.answering = False
        self.dut.s_axi__bready.value = 1

    def write(self, offset: int, word: int, strobes: int) -> None:
        """Offer a write, from the next cycle on."""
        dut = self.dut
        dut.s_axi__awaddr.value, dut.s_axi__wdata.value, dut.s_axi__wstrb.value = offset, word, strobes
        self.pending = {"aw", "w"}
        self.written = None
        for channel in self.pending:
            getattr(dut, f"s_axi__{channel}valid").value = 1
        self.offered = self.bench.cycle

    def step(self) -> None:
        if self.bench.cycle > getattr(self, "offered", self.bench.cycle):
            for channel in list(self.pending):
                if int(getattr(self.dut, f"s_axi__{channel}ready").value):
                    getattr(self.dut, f"s_axi__{channel}valid").value = 0
                    self.pending.remove(channel)
        if int(self.dut.s_axi__bvalid.value) and self.written is None:
            self.written = self.bench.cycle - 1

    async def finish(self) -> None:
        """Wait for the answer."""
        await self.bench.until(lambda: self.written is not None, what=lambda: "a write must be answered")
        await self.bench.wait(2)


@cocotb.test()
async def strobes_choose_bytes(dut):
    bench = await Bench.start(dut)
    host, rng = RawHost(bench), random.Random(bench.seed)
    _, decode = layout_codec(host_layout())
    expected = register("COMMAND_OFFSET").reset
    for _ in range(40):
        word, strobes = rng.getrandbits(32), rng.getrandbits(4)
        host.write(register("COMMAND_OFFSET").offset, word, strobes)
        await host.finish()
        mask = sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
        expected = expected & ~mask | word & mask
        assert decode(int(dut.o_host.value))["command_offset"] == expected


@cocotb.test()
async def an_event_is_not_lost_to_its_clearing(dut):
    bench = await Bench.start(dut)
    host = RawHost(bench)
    enable, status = register("INTERRUPT_ENABLE"), register("INTERRUPT_STATUS")
    host.write(enable.offset, enable.pack(done=1), 0xF)
    await host.finish()
    encode, _ = layout_codec(event_layout())
    met = 0
    for delay in range(7):
        # What has happened before is cleared; an event comes some cycles after the write is offered.
        dut.i_forget.value = 1
        await bench.wait(1)
        dut.i_forget.value = 0
        host.write(status.offset, status.pack(done=1), 0xF)
        await bench.wait(delay)
        dut.i_events.value = encode({"interrupt_status_done": 1, "interrupt_status_error": 0})
        await bench.wait(1)
        dut.i_events.value = 0
        happened = bench.cycle
        await host.finish()
        assert host.written is not None
        met += happened == host.written
        assert int(dut.o_interrupt.value) == (happened >= host.written), f"event in cycle {happened}, cleared in {host.written}"
    assert met == 1


@cocotb.test()
async def what_is_no_register_is_refused(dut):
    registers = await start(dut)
    offsets = {entry.offset for entry in REGISTERS}
    holes = [offset for offset in range(0, ADDRESS_SPACE_BYTES, 4) if offset not in offsets]
    for offset in registers.rng.sample(holes, 20):
        assert await registers.read(offset) == (0, AxiResp.SLVERR)
        assert await registers.write(offset, 0xFFFFFFFF) == AxiResp.SLVERR
    for entry in REGISTERS:
        if not entry.writable:
            assert await registers.write(entry.offset, 0xFFFFFFFF) == AxiResp.SLVERR, entry.name
    assert await registers.read(register("ID").offset) == (MAGIC, AxiResp.OKAY)


@pytest.mark.parametrize("pauses", [False, True], ids=["full", "pauses"])
def test_register_file(pauses):
    simulate(RegisterFile(digest=DIGEST), __file__, name="csr", parameters={"pauses": pauses})
