"""Bench classes for cocotb: drive and check ``amaranth.lib.stream`` ports in three modes.

A test of streams reads as stimulus and check::

    @cocotb.test()
    async def passes_everything(dut):
        bench = await Bench.start(dut, mode=parameters()["mode"])
        source, sink = bench.source("i_data"), bench.sink("o_data")
        source.send(values)
        await sink.expect(values)
        if bench.mode is Mode.FULL:
            sink.check_throughput()

and its pytest function runs it table-driven over `MODES`. Every stream that a bench drives is also checked: once valid, a
payload stays until it is taken.

All processes sample right after the rising edge, where signals still have the values of the cycle that ends, and drive
for the cycle that begins.
"""

import enum
import os
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, RisingEdge

__all__ = ["MODES", "Bench", "Mode", "Process", "StreamMonitor", "StreamSink", "StreamSource", "layout_codec"]

#: Nanoseconds; of no meaning for a design with one clock.
CLOCK_PERIOD = 10

#: Cycles without a transfer after which a wait fails.
PATIENCE = 2_000


class Mode(enum.Enum):
    """How a bench treats its streams."""

    FULL = "full"
    """Sources and sinks never wait: throughput can be checked."""
    IDLE = "idle"
    """Sources insert idle cycles at random; sinks never wait."""
    BACKPRESSURE = "backpressure"
    """Sinks hold back at random, often not ready before they see valid; sources never wait."""


#: Values for a table of tests and for `parameters`, which speak JSON.
MODES = tuple(mode.value for mode in Mode)


def _same(value: Any) -> Any:
    return value


class Process(Protocol):
    """What a `Bench` runs: it samples the cycle that ends, and drives the one that begins."""

    def step(self) -> None:
        """One rising edge."""

    def forget(self) -> None:
        """Reset begins: withdraw what is offered, forget what waits."""


class StreamMonitor:
    """Watch a stream: count and time its transfers, and check that a payload stays until it is taken.

    Parameters
    ----------
    bench : Bench
        What holds clock and reset.
    name : str
        Name of the stream, ``i_data`` for the ports ``i_data__valid``, ``i_data__ready``, ``i_data__payload``.
    decode : callable
        Makes the payload's integer into what `transfers` holds.
    """

    def __init__(self, bench: "Bench", name: str, decode: Callable[[int], Any] = _same) -> None:
        self.bench = bench
        self.name = name
        self.decode = decode
        self.transfers: list[Any] = []
        self.cycles: list[int] = []
        self.valid = getattr(bench.dut, f"{name}__valid")
        self.ready = getattr(bench.dut, f"{name}__ready")
        # A stream of no bits has no payload port.
        self.payload = getattr(bench.dut, f"{name}__payload", None)
        self._held: int | None = None

    def read_payload(self) -> int:
        """Return the payload of this cycle as an integer."""
        return 0 if self.payload is None else int(self.payload.value)

    def sample(self) -> bool:
        """Take note of the cycle that ends; return whether a transfer took place."""
        if not int(self.valid.value):
            if self._held is not None:
                raise AssertionError(f"{self.name}: valid fell in cycle {self.bench.cycle} before {self._held:#x} was taken")
            return False
        payload = self.read_payload()
        if self._held is not None and payload != self._held:
            raise AssertionError(
                f"{self.name}: payload changed from {self._held:#x} to {payload:#x} in cycle {self.bench.cycle} before it was taken"
            )
        if not int(self.ready.value):
            self._held = payload
            return False
        self._held = None
        self.transfers.append(self.decode(payload))
        self.cycles.append(self.bench.cycle)
        return True

    def forget(self) -> None:
        """Forget a payload that waits, for a reset."""
        self._held = None

    def check_throughput(self, cycles_per_transfer: int = 1) -> None:
        """Check that from the first transfer to the last no more than ``cycles_per_transfer`` passed for each.

        Raises
        ------
        AssertionError
            With the first gap.
        """
        for index, (before, after) in enumerate(zip(self.cycles, self.cycles[1:], strict=False)):
            if after - before > cycles_per_transfer:
                raise AssertionError(
                    f"{self.name}: {after - before} cycles from transfer {index} in cycle {before} to the next, not {cycles_per_transfer}"
                )


class StreamSource(StreamMonitor):
    """Drive an input stream of the component.

    Parameters
    ----------
    bench, name
        As of `StreamMonitor`.
    encode : callable
        Makes what `send` is given into the payload's integer.
    idle : float
        Probability of an idle cycle before each transfer; the default follows the bench's mode.
    """

    def __init__(self, bench: "Bench", name: str, encode: Callable[[Any], int] = _same, idle: float | None = None) -> None:
        super().__init__(bench, name)
        self.encode = encode
        self.idle = (0.5 if bench.mode is Mode.IDLE else 0.0) if idle is None else idle
        self.random = random.Random(f"{bench.seed} {name}")
        self.queue: deque[int] = deque()
        self._offering = False
        self.valid.value = 0
        bench.processes.append(self)

    def send(self, values: Iterable[Any]) -> None:
        """Queue values; they are offered from the next cycle on. See `drain` to wait until they were taken."""
        self.queue.extend(self.encode(value) for value in values)

    async def drain(self, patience: int = PATIENCE) -> None:
        """Wait until everything queued was taken.

        Raises
        ------
        AssertionError
            When nothing was taken for ``patience`` cycles.
        """
        total = len(self.transfers) + len(self.queue)
        await self.bench.until(
            lambda: len(self.transfers) >= total,
            progress=lambda: len(self.transfers),
            patience=patience,
            what=lambda: f"{self.name}: {len(self.transfers)} of {total} values taken, ready is {int(self.ready.value)}",
        )

    def step(self) -> None:
        """One rising edge."""
        offered = self._offering
        if self.sample():
            self.queue.popleft()
            offered = False
        if not offered and self.queue and self.random.random() >= self.idle:
            offered = True
            if self.payload is not None:
                self.payload.value = self.queue[0]
        if offered != self._offering:
            self.valid.value = int(offered)
        self._offering = offered

    def forget(self) -> None:
        """Withdraw what is offered and forget the queue, for a reset."""
        super().forget()
        self.queue.clear()
        self._offering = False
        self.valid.value = 0


class StreamSink(StreamMonitor):
    """Take from an output stream of the component.

    Parameters
    ----------
    bench, name, decode
        As of `StreamMonitor`.
    stall : float
        Probability of a cycle without ready; the default follows the bench's mode.
    """

    def __init__(self, bench: "Bench", name: str, decode: Callable[[int], Any] = _same, stall: float | None = None) -> None:
        super().__init__(bench, name, decode)
        self.stall = (0.5 if bench.mode is Mode.BACKPRESSURE else 0.0) if stall is None else stall
        self.random = random.Random(f"{bench.seed} {name}")
        self.enabled = True
        self._checked = 0
        self._ready = -1
        self._after_valid = False
        bench.processes.append(self)

    def step(self) -> None:
        """One rising edge."""
        if self.sample():
            # Half of the transfers are made ready only after valid: a component that waits for ready would stop here.
            self._after_valid = self.stall > 0 and self.random.random() < 0.5
        willing = self.enabled and self.random.random() >= self.stall
        if self._after_valid and self._held is None:
            willing = False
        if willing != self._ready:
            self.ready.value = self._ready = int(willing)

    async def receive(self, number: int, patience: int = PATIENCE) -> list[Any]:
        """Wait for the next ``number`` values and return them.

        Raises
        ------
        AssertionError
            When none came for ``patience`` cycles.
        """
        total = self._checked + number
        await self.bench.until(
            lambda: len(self.transfers) >= total,
            progress=lambda: len(self.transfers),
            patience=patience,
            what=lambda: f"{self.name}: {len(self.transfers) - self._checked} of {number} values came",
        )
        values = self.transfers[self._checked : total]
        self._checked = total
        return values

    async def expect(self, values: Iterable[Any], patience: int = PATIENCE) -> None:
        """Wait for exactly ``values``, in order: the scoreboard. Each is compared as it comes.

        Raises
        ------
        AssertionError
            With the place of the first that differs, or that did not come.
        """
        for index, value in enumerate(values):
            (got,) = await self.receive(1, patience)
            if got != value:
                raise AssertionError(
                    f"{self.name}: value {index} must be {_show(value)}, not {_show(got)}, in cycle {self.cycles[self._checked - 1]}"
                )

    async def expect_nothing(self, cycles: int) -> None:
        """Check that no value beyond those already received comes for some cycles.

        Raises
        ------
        AssertionError
            With the value that came.
        """
        await self.bench.wait(cycles)
        if len(self.transfers) > self._checked:
            raise AssertionError(f"{self.name}: nothing more must come, but {_show(self.transfers[self._checked])} did")


class Bench:
    """Clock, reset and the processes that drive streams, all in step: one loop, so that little is spent on switching.

    Parameters
    ----------
    dut : cocotb handle
        Top level.
    mode : Mode or str
        How its sources and sinks behave.
    seed : int, optional
        Seed of their idle and stall cycles; default is cocotb's.

    Attributes
    ----------
    cycle : int
        Number of the cycle that ends at the rising edge at hand.
    processes : list of Process
        What is stepped at every rising edge, in this order; add your own.
    """

    def __init__(self, dut: Any, *, mode: Mode | str = Mode.FULL, seed: int | None = None) -> None:
        self.dut = dut
        self.mode = Mode(mode)
        self.seed = cocotb.RANDOM_SEED if seed is None else seed
        self.cycle = 0
        self.processes: list[Process] = []
        self.clock = getattr(dut, "clk", None)
        self._in_reset = False
        self._waiters: list[tuple[Callable[[], bool], Event]] = []

    @classmethod
    async def start(cls, dut: Any, *, mode: Mode | str = Mode.FULL, seed: int | None = None, **values: int) -> Self:
        """Build a bench, start the clock, and reset. Inputs are 0 before, or what ``values`` says (``i_load=1``)."""
        bench = cls(dut, mode=mode, seed=seed)
        # Undriven inputs are 0 in Verilator but unknown in Icarus; the runner says which ports are inputs.
        for name in dict.fromkeys([*os.environ.get("CRISP_INPUTS", "").split(), *values]):
            getattr(dut, name).value = values.get(name, 0)
        if bench.clock is None:
            raise AssertionError("the component has no clk port: it holds no register, so that a bench has no cycles")
        Clock(bench.clock, CLOCK_PERIOD, unit="ns").start(start_high=False)
        cocotb.start_soon(bench._run())
        await bench.reset()
        return bench

    async def reset(self, cycles: int = 2) -> None:
        """Hold reset for some cycles. Sources withdraw what they offer and forget their queues; nothing is sampled."""
        reset = getattr(self.dut, "rst", None)
        if reset is not None:
            reset.value = 1
        self._in_reset = True
        for process in self.processes:
            process.forget()
        await self.wait(cycles)
        self._in_reset = False
        if reset is not None:
            reset.value = 0

    def source(self, name: str, encode: Callable[[Any], int] = _same, idle: float | None = None) -> StreamSource:
        """Add a driver for the input stream ``name``."""
        return StreamSource(self, name, encode, idle)

    def sink(self, name: str, decode: Callable[[int], Any] = _same, stall: float | None = None) -> StreamSink:
        """Add a taker for the output stream ``name``."""
        return StreamSink(self, name, decode, stall)

    async def wait(self, cycles: int) -> None:
        """Let cycles pass."""
        target = self.cycle + cycles
        await self._wake(lambda: self.cycle >= target)

    async def until(
        self,
        condition: Callable[[], bool],
        *,
        what: Callable[[], str],
        progress: Callable[[], Any] = lambda: None,
        patience: int = PATIENCE,
    ) -> None:
        """Wait for a condition, which is looked at after each rising edge.

        Raises
        ------
        AssertionError
            With ``what()``, when ``progress()`` did not change for ``patience`` cycles.
        """
        last, deadline = progress(), self.cycle + patience

        def over() -> bool:
            nonlocal last, deadline
            if condition():
                return True
            if (now := progress()) != last:
                last, deadline = now, self.cycle + patience
            return self.cycle >= deadline

        await self._wake(over)
        if not condition():
            raise AssertionError(f"{what()}; no progress for {patience} cycles, gave up in cycle {self.cycle}")

    async def _wake(self, condition: Callable[[], bool]) -> None:
        """Sleep until a condition holds right after a rising edge."""
        if not condition():
            event = Event()
            self._waiters.append((condition, event))
            await event.wait()

    async def _run(self) -> None:
        """Step all processes at every rising edge."""
        edge = RisingEdge(self.clock)
        while True:
            await edge
            self.cycle += 1
            if not self._in_reset:
                for process in self.processes:
                    process.step()
            if self._waiters:
                waiting = []
                for condition, event in self._waiters:
                    if condition():
                        event.set()
                    else:
                        waiting.append((condition, event))
                self._waiters = waiting


def layout_codec(shape: Any) -> tuple[Callable[[Any], int], Callable[[int], Any]]:
    """Return how to pack and unpack payloads of an ``amaranth`` shape.

    Parameters
    ----------
    shape : shape-castable
        `StructLayout` (a dict of Python values), `ArrayLayout` (a list), or a plain, perhaps signed, shape (an integer).

    Returns
    -------
    encode, decode : callable
        From Python value to the port's integer, and back.
    """
    from amaranth.hdl import Shape
    from amaranth.lib.data import ArrayLayout, Layout

    if isinstance(shape, Layout):
        fields = [(key, field.offset, field.width, layout_codec(field.shape)) for key, field in shape]
        is_array = isinstance(shape, ArrayLayout)

        def encode(value: Any) -> int:
            word = 0
            for key, offset, width, (encode_field, _) in fields:
                word |= (encode_field(value[key]) & ((1 << width) - 1)) << offset
            return word

        def decode(word: int) -> Any:
            pairs = [(key, decode_field((word >> offset) & ((1 << width) - 1))) for key, offset, width, (_, decode_field) in fields]
            return [value for _, value in pairs] if is_array else dict(pairs)

        return encode, decode

    plain = Shape.cast(shape)
    width, sign = plain.width, plain.signed

    def encode_plain(value: int) -> int:
        return int(value) & ((1 << width) - 1)

    def decode_plain(word: int) -> int:
        return word - (1 << width) if sign and width and word >> (width - 1) else word

    return encode_plain, decode_plain


def _show(value: Any) -> str:
    """Show integers as hexadecimal too."""
    return f"{value} ({value:#x})" if isinstance(value, int) else repr(value)
