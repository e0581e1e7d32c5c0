"""Memory at the end of an AXI bus: answers after a given time, holds back at random, fails where it is told, and is strict.

Every rule of the protocol that a manager can break is checked: what is valid stays as it is until it is taken, bursts are of the kind and
length that the design uses and stay within 4 KiB, ``wlast`` comes with the last beat, and ``o_idle`` is low until all responses are in.
"""

import random
from collections import deque
from typing import Any

from tests.hw.bench import Process

from crisp_hw.axi import error_layout
from crisp_sim.streams import Bench, Mode, layout_codec

__all__ = ["AxiMemory", "ErrorWatch", "StabilityChecker"]


class StabilityChecker:
    """Check of one channel: from valid to ready nothing of it changes.

    Parameters
    ----------
    dut : cocotb handle
        Top level.
    prefix, channel : str
        ``bus__`` and ``ar`` for ``bus__arvalid``.
    """

    def __init__(self, dut: Any, prefix: str, channel: str) -> None:
        self.name = f"{prefix}{channel}"
        self.valid = getattr(dut, f"{self.name}valid")
        self.ready = getattr(dut, f"{self.name}ready")
        names = {
            "ar": ("addr", "len", "size", "burst", "id", "lock", "cache", "prot", "qos"),
            "aw": ("addr", "len", "size", "burst", "id", "lock", "cache", "prot", "qos"),
            "w": ("data", "strb", "last"),
        }[channel]
        self.ports = {name: getattr(dut, self.name + name) for name in names}
        self.held: dict[str, int] | None = None

    def sample(self) -> dict[str, int] | None:
        """Look at the cycle that ends; return what was transferred in it, if something was."""
        if not int(self.valid.value):
            assert self.held is None, f"{self.name}: valid fell before ready"
            return None
        payload = {name: int(port.value) for name, port in self.ports.items()}
        assert self.held in (None, payload), f"{self.name}: {self.held} changed to {payload} before ready"
        self.held = None if int(self.ready.value) else payload
        return None if self.held else payload


class ErrorWatch(Process):
    """Record what a component reports on ``o_error``: code and address of each error, and whose it is where that is said."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.errors: list[tuple[int, int]] = []
        self.clients: list[int] = []
        self.client = getattr(self.dut, "o_error_client", None)
        _, self.decode = layout_codec(error_layout())

    def step(self) -> None:
        error = self.decode(int(self.dut.o_error.value))
        if error["valid"]:
            self.errors.append((error["error"], error["address"]))
            self.clients.append(int(self.client.value) if self.client is not None else 0)


class AxiMemory(Process):
    """Memory behind the port ``bus`` of a component.

    Parameters
    ----------
    bench : Bench
        Backpressure is on all channels in that mode.
    data : bytearray
        What it holds.
    base : int
        Its first address.
    latency : int
        Cycles from an address to its first beat, and from a burst's last beat to its response.
    responses : dict
        Response other than OKAY of a beat's address, or of a burst's when written.
    prefix : str
        What the names of its ports begin with.

    Attributes
    ----------
    read_bursts, write_bursts : list of tuple
        Address and beats of each burst.
    read_cycles, write_cycles : list of int
        Cycles in which beats were transferred.
    last_override : dict
        Value of ``rlast`` in a beat's address, where it is to be wrong.
    """

    def __init__(
        self,
        bench: Bench,
        data: bytearray,
        *,
        base: int = 0,
        latency: int = 3,
        responses: dict[int, int] | None = None,
        max_burst: int = 16,
        prefix: str = "bus__",
    ) -> None:
        super().__init__(bench)
        self.data, self.base, self.latency = data, base, latency
        self.responses = responses or {}
        self.max_burst = max_burst
        self.stall = 0.5 if bench.mode is Mode.BACKPRESSURE else 0.0
        self.random = random.Random(f"{bench.seed} memory")
        self.last_override: dict[int, int] = {}
        self.read_bursts: list[tuple[int, int]] = []
        self.write_bursts: list[tuple[int, int]] = []
        self.read_cycles: list[int] = []
        self.write_cycles: list[int] = []
        self.prefix = prefix
        self.has_read = hasattr(self.dut, f"{prefix}arvalid")
        self.has_write = hasattr(self.dut, f"{prefix}awvalid")
        if self.has_read:
            self.ar = StabilityChecker(self.dut, prefix, "ar")
            self.beat_bytes = len(self.port("rdata")) // 8
            self.to_read: deque[tuple[int, int, int]] = deque()  # due, address, last
            self.reading = False
        if self.has_write:
            self.aw, self.w = StabilityChecker(self.dut, prefix, "aw"), StabilityChecker(self.dut, prefix, "w")
            self.beat_bytes = len(self.port("wdata")) // 8
            self.to_write: deque[tuple[int, int]] = deque()
            self.beats: deque[dict[str, int]] = deque()
            self.written = 0  # beats of the first burst of to_write
            self.to_answer: deque[tuple[int, int]] = deque()  # due, response
            self.answering = False

    def port(self, name: str) -> Any:
        return getattr(self.dut, f"{self.prefix}{name}")

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        quiet = not (self.has_read and self.to_read)
        return quiet and not (self.has_write and (self.to_write or self.to_answer or self.beats))

    def check_burst(self, request: dict[str, int]) -> tuple[int, int]:
        """Check an address; return it and the number of beats."""
        address, beats = request["addr"], request["len"] + 1
        assert request["burst"] == 1, "bursts must be INCR"
        assert 1 << request["size"] == self.beat_bytes, f"size must be that of the bus, not {request['size']}"
        assert (request["lock"], request["id"], request["cache"], request["prot"], request["qos"]) == (0, 0, 0b0010, 0b010, 0)
        assert address % self.beat_bytes == 0, f"address {address:#x} must be aligned to the bus"
        assert beats <= self.max_burst, f"bursts must not exceed {self.max_burst} beats, not {beats}"
        assert address // 4096 == (address + beats * self.beat_bytes - 1) // 4096, f"{beats} beats from {address:#x} cross 4 KiB"
        assert 0 <= address - self.base, f"address {address:#x} lies before the memory"
        assert address - self.base + beats * self.beat_bytes <= len(self.data), f"{beats} beats from {address:#x} reach behind the memory"
        return address, beats

    def step(self) -> None:
        assert self.is_quiet or not int(self.dut.o_idle.value), "o_idle is high while something is under way"
        if self.has_read:
            self.step_read()
        if self.has_write:
            self.step_write()

    def willing(self) -> int:
        return int(self.random.random() >= self.stall)

    def step_read(self) -> None:
        if (request := self.ar.sample()) is not None:
            address, beats = self.check_burst(request)
            self.read_bursts.append((address, beats))
            due = self.bench.cycle + self.latency
            for beat in range(beats):
                place = address + beat * self.beat_bytes
                last = self.last_override.get(place, int(beat == beats - 1))
                self.to_read.append((due, place, last))
                if last:
                    break
        self.port("arready").value = self.willing()

        if self.reading and int(self.port("rready").value):
            self.to_read.popleft()
            self.read_cycles.append(self.bench.cycle)
            self.reading = False
        if not self.reading and self.to_read and self.to_read[0][0] <= self.bench.cycle + 1 and self.willing():
            self.reading = True
            _, address, last = self.to_read[0]
            start = address - self.base
            self.port("rdata").value = int.from_bytes(self.data[start : start + self.beat_bytes], "little")
            self.port("rresp").value = self.responses.get(address, 0)
            self.port("rlast").value = last
        elif not self.reading:
            # What is not valid says nothing, so it may be anything.
            self.port("rdata").value = self.random.getrandbits(8 * self.beat_bytes)
            self.port("rlast").value = self.random.getrandbits(1)
            self.port("rresp").value = self.random.getrandbits(2)
        self.port("rvalid").value = int(self.reading)

    def step_write(self) -> None:
        if (request := self.aw.sample()) is not None:
            self.to_write.append(self.check_burst(request))
            self.write_bursts.append(self.to_write[-1])
        self.port("awready").value = self.willing()
        if (beat := self.w.sample()) is not None:
            self.beats.append(beat)
            self.write_cycles.append(self.bench.cycle)
        self.port("wready").value = self.willing()

        while self.beats and self.to_write:
            beat = self.beats.popleft()
            address, beats = self.to_write[0]
            start = address + self.written * self.beat_bytes - self.base
            for byte in range(self.beat_bytes):
                if beat["strb"] >> byte & 1:
                    self.data[start + byte] = beat["data"] >> (8 * byte) & 0xFF
            self.written += 1
            assert beat["last"] == (self.written == beats), f"wlast is {beat['last']} in beat {self.written} of {beats} from {address:#x}"
            if beat["last"]:
                self.written = 0
                self.to_write.popleft()
                self.to_answer.append((self.bench.cycle + self.latency, self.responses.get(address, 0)))

        if self.answering and int(self.port("bready").value):
            self.to_answer.popleft()
            self.answering = False
        if not self.answering and self.to_answer and self.to_answer[0][0] <= self.bench.cycle + 1 and self.willing():
            self.answering = True
            self.port("bresp").value = self.to_answer[0][1]
        elif not self.answering:
            self.port("bresp").value = self.random.getrandbits(2)
        self.port("bvalid").value = int(self.answering)
