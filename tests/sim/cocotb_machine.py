"""The machine under cocotb, as a device that the runtime's driver drives: the bus's other side is cocotbext-axi's, not ours."""

import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import cocotb
import numpy as np
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, First, RisingEdge, Trigger
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp, AxiSlave
from cocotbext.axi.address_space import MemoryInterface

from crisp_sim.streams import Bench, layout_codec

__all__ = ["CocotbMachine", "in_thread"]

Result = TypeVar("Result")

#: Bytes of the address space.
SPACE = 1 << 40


async def in_thread(function: Callable[..., Result], *arguments: Any, **more: Any) -> Result:
    """Run blocking code, such as the driver, in step with the simulator."""
    blocking: Callable[..., Awaitable[Result]] = bridge(function)
    return await blocking(*arguments, **more)


class MappedMemory(MemoryInterface):
    """Arrays at addresses; whatever lies beside them fails, and so is answered SLVERR."""

    def __init__(self) -> None:
        super().__init__(SPACE)
        self.arrays: dict[int, tuple[memoryview, bool, bool]] = {}

    def find(self, address: int, length: int, write: bool) -> memoryview:
        for base, (data, readable, writable) in self.arrays.items():
            if base <= address and address + length <= base + len(data) and (writable if write else readable):
                return data[address - base : address - base + length]
        raise ValueError(f"{length} bytes at {address:#x} must be mapped to be {'written' if write else 'read'}")

    async def _read(self, address: int, length: int, **kwargs: Any) -> bytes:
        return bytes(self.find(address, length, False))

    async def _write(self, address: int, data: bytes, **kwargs: Any) -> None:
        self.find(address, len(data), True)[:] = bytes(data)


class CocotbMachine:
    """A device of `crisp.runtime`. Its methods block: call what calls them by way of `in_thread`.

    Parameters
    ----------
    bench : Bench
        Clock and reset.
    pauses : float
        Probability that a channel pauses for a cycle.
    trace_shape : shape-castable, optional
        Payload of the trace port.
    """

    def __init__(self, bench: Bench, *, pauses: float = 0.0, trace_shape: Any = None) -> None:
        self.bench, self.dut = bench, bench.dut
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(self.dut, "s_axi"), self.dut.clk, self.dut.rst)
        self.memory = MappedMemory()
        slave = AxiSlave(AxiBus.from_prefix(self.dut, "m_axi"), self.dut.clk, self.dut.rst, target=self.memory)
        rng = random.Random(bench.seed)
        for interface in (self.host.write_if, self.host.read_if, slave.write_if, slave.read_if):
            interface.log.setLevel("ERROR")
            for name in ("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel"):
                if pauses and hasattr(interface, name):
                    getattr(interface, name).set_pause_generator(rng.random() < pauses for _ in itertools.count())
        self.trace: list[dict[str, int]] = []
        if trace_shape is not None:
            _, self.decode = layout_codec(trace_shape)
            cocotb.start_soon(self.watch_trace())

    async def watch_trace(self) -> None:
        while True:
            await RisingEdge(self.dut.o_trace__valid)
            await RisingEdge(self.dut.clk)
            while int(self.dut.o_trace__valid.value):
                self.trace.append({"cycle": self.bench.cycle, **self.decode(int(self.dut.o_trace__payload.value))})
                await RisingEdge(self.dut.clk)

    @property
    def cycle(self) -> int:
        return self.bench.cycle

    @resume
    async def read_register(self, address: int) -> int:
        answer = await self.host.read(address, 4)
        assert answer.resp == AxiResp.OKAY, f"register {address:#x}: {answer.resp}"
        return int.from_bytes(answer.data, "little")

    @resume
    async def write_register(self, address: int, value: int) -> None:
        answer = await self.host.write(address, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"register {address:#x}: {answer.resp}"

    @resume
    async def advance(self, cycles: int) -> bool:
        if not int(self.dut.interrupt.value):
            waits: list[Trigger] = [RisingEdge(self.dut.interrupt), ClockCycles(self.dut.clk, cycles)]
            await First(*waits)
        return bool(int(self.dut.interrupt.value))

    def map(self, base: int, array: np.ndarray, *, readable: bool = True, writable: bool = True) -> None:
        self.memory.arrays[base] = (memoryview(array).cast("B"), readable, writable)

    def unmap(self, base: int) -> None:
        del self.memory.arrays[base]

    def take_trace(self) -> list[dict[str, int]]:
        trace, self.trace = self.trace, []
        return trace
