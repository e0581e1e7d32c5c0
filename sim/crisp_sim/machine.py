"""The whole machine under Verilator: registers to read and write, memory behind its bus, a clock that runs until its interrupt.

`MachineSimulator` is as near to the metal as a board would be; ``crisp.runtime`` drives it, and drives a board alike.
"""

import ctypes
import dataclasses
import enum
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crisp.arch import Config

from .errors import MachineFault, SimulationError
from .machine_build import build_machine, describe_machine, describe_ports

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["Fault", "MachineSimulator", "MemoryModel", "MemoryStatistics", "Response", "Rule", "Violation"]

#: Cycles after which a register that does not answer never will.
REGISTER_PATIENCE = 1000


class Response(enum.IntEnum):
    """What memory answers."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3
    NONE = 4
    """No answer at all, until the faults are set anew."""


class Rule(enum.IntEnum):
    """What the machine must not do on its bus, in the order of ``memory.hpp``."""

    OUT_OF_RANGE = 0
    """Bytes that are not mapped, or not for this direction; answered by DECERR."""
    CROSSES_PAGE = 1
    """A burst goes across a multiple of 4 KiB."""
    NOT_ALIGNED = 2
    """An address is no multiple of the bus width."""
    BURST_KIND = 3
    """A burst is not of full beats at ascending addresses."""
    READ_ADDRESS_CHANGED = 4
    """A request was withdrawn or changed before it was taken."""
    WRITE_ADDRESS_CHANGED = 5
    """Likewise."""
    WRITE_DATA_CHANGED = 6
    """Likewise, data."""
    WRITE_LAST = 7
    """WLAST is not at the burst's last beat."""
    VALID_IN_RESET = 8
    """A request is valid in reset."""


@dataclasses.dataclass(frozen=True)
class Violation:
    """A rule that the machine broke.

    Parameters
    ----------
    rule : Rule
        Which.
    cycle : int
        When.
    address : int
        Where in memory.
    """

    rule: Rule
    cycle: int
    address: int

    def __str__(self) -> str:
        return f"{self.rule.name} at {self.address:#x} in cycle {self.cycle}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryModel:
    """How memory behaves.

    Parameters
    ----------
    latency : int
        Cycles from a request to its first response; requests overlap.
    bandwidth : float
        Beats a cycle, reads and writes together; from 2 on, each direction moves one a cycle whatever the other does.
    outstanding : int
        Requests that wait for their responses at a time, in each direction.
    stall : float
        Probability that a channel pauses for a cycle.
    seed : int
        Seed of the pauses.

    Raises
    ------
    SimulationError
        When a value would let nothing through.
    """

    latency: int = 40
    bandwidth: float = 1.0
    outstanding: int = 16
    stall: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.latency < 0:
            raise SimulationError(f"latency must not be negative, not {self.latency}")
        if not 0 < self.bandwidth <= 2:
            raise SimulationError(f"bandwidth must be above 0 and at most 2 beats a cycle, not {self.bandwidth}")
        if self.outstanding < 1:
            raise SimulationError(f"outstanding must be at least 1, not {self.outstanding}")
        if not 0 <= self.stall < 1:
            raise SimulationError(f"stall must be a probability less than 1, so that work goes on, not {self.stall}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """A response that memory gives in place of the right one.

    Parameters
    ----------
    write : bool
        Whether writes meet it, or reads.
    response : Response
        What it answers.
    low, high : int
        Addresses that meet it, ``high`` not included.
    transaction : int, optional
        Number of the request that meets it, counted from 0 in its direction since faults were set; default is all.
    """

    write: bool
    response: Response
    low: int = 0
    high: int = (1 << 64) - 1
    transaction: int | None = None


class MemoryStatistics(ctypes.Structure):
    """What went over the bus since the simulator was made; requests, beats, bytes of set strobes, broken rules."""

    read_transactions: int
    read_beats: int
    write_transactions: int
    write_beats: int
    written_bytes: int
    violations: int

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("read_transactions", "read_beats", "write_transactions", "write_beats", "written_bytes", "violations")
    ]


class MachineSimulator:
    """A simulated machine.

    Parameters
    ----------
    config : Config
        Size of the machine.
    machine : Component, optional
        Another component with the machine's ports; default is ``crisp_hw.accelerator.Accelerator``.
    memory : MemoryModel, optional
        How memory behaves.
    trace : Path, optional
        Where to record waves, as VCD; default is ``$CRISP_TRACE`` when it names a ``.vcd`` file.
    log : callable, optional
        Told when a build starts and ends; default prints to standard error.

    Raises
    ------
    BuildError, ToolError
        When the machine cannot be built.
    """

    def __init__(
        self,
        config: Config,
        *,
        machine: "Component | None" = None,
        memory: MemoryModel | None = None,
        trace: Path | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        if trace is None and os.environ.get("CRISP_TRACE", "").endswith(".vcd"):
            trace = Path(os.environ["CRISP_TRACE"])
        self.config = config
        if machine is None:
            verilog, self.ports = describe_machine(config)
        else:
            from crisp_hw.verilog import emit

            verilog, self.ports = emit(machine, "machine"), describe_ports(machine)
        name = f"{config.rows}x{config.columns}"
        self._library = load_library(build_machine(name, verilog, self.ports, trace=trace is not None, log=log or print_error))
        self._machine: int | None = self._library.crisp_create()
        self._mapped: dict[int, np.ndarray] = {}
        self.set_memory(memory or MemoryModel())
        if trace is not None:
            self._library.crisp_open_trace(self._machine, str(trace).encode())

    def close(self) -> None:
        """Free the simulated machine and complete the waves; also done when the object goes."""
        if self._machine is not None:
            self._library.crisp_destroy(self._machine)
            self._machine = None

    def __del__(self) -> None:
        if getattr(self, "_machine", None) is not None:
            self.close()

    def reset(self) -> None:
        """Reset the machine, hard: what the bus owes is forgotten, memory stays."""
        self._library.crisp_reset(self._machine)

    # ------------------------------------------------------------------------------------------------------------------------
    # Memory

    def set_memory(self, memory: MemoryModel) -> None:
        """Change how memory behaves."""
        self.memory = memory
        self._library.crisp_set_memory(self._machine, memory.latency, memory.bandwidth, memory.outstanding, memory.stall, memory.seed)

    def map(self, base: int, array: np.ndarray, *, readable: bool = True, writable: bool = True) -> None:
        """Let bytes of the machine's memory be those of an array, from now on.

        Parameters
        ----------
        base : int
            Address of the first byte.
        array : numpy.ndarray
            Contiguous; what the machine writes appears in it.
        readable, writable : bool
            What the machine may do; what it may not is answered by DECERR and recorded in `violations`.

        Raises
        ------
        SimulationError
            When the bytes meet others that are mapped, or the array is not contiguous.
        """
        if not array.flags.c_contiguous:
            raise SimulationError(f"memory at {base:#x} must be a contiguous array")
        for other, mapped in self._mapped.items():
            if base < other + mapped.nbytes and other < base + array.nbytes:
                raise SimulationError(f"memory at {base:#x}..{base + array.nbytes:#x} must not meet that at {other:#x}")
        self._mapped[base] = array
        self._library.crisp_map(self._machine, base, array.nbytes, array.ctypes.data, readable, writable)

    def unmap(self, base: int) -> None:
        """Forget what `map` mapped at ``base``."""
        self._library.crisp_unmap(self._machine, base)
        del self._mapped[base]

    def set_faults(self, faults: Sequence[Fault] = ()) -> None:
        """Replace all faults; responses that were held back and no longer are come now."""
        anything = (1 << 64) - 1
        numbers = [
            (int(fault.write), int(fault.response), fault.low, fault.high, anything if fault.transaction is None else fault.transaction)
            for fault in faults
        ]
        flat = (ctypes.c_uint64 * (5 * len(numbers)))(*(number for fault in numbers for number in fault))
        self._library.crisp_set_faults(self._machine, flat, len(numbers))

    @property
    def outstanding(self) -> int:
        """Requests that memory has not answered in full."""
        return self._library.crisp_outstanding(self._machine)

    @property
    def statistics(self) -> MemoryStatistics:
        """What went over the bus since the machine was made."""
        result = MemoryStatistics()
        self._library.crisp_statistics(self._machine, ctypes.byref(result))
        return result

    @property
    def violations(self) -> list[Violation]:
        """The first 64 rules that the machine broke."""
        numbers = np.zeros((self._library.crisp_num_violations(self._machine), 3), np.uint64)
        self._library.crisp_violations(self._machine, numbers.ctypes.data)
        return [Violation(Rule(rule), cycle, address) for cycle, address, rule in numbers.tolist()]

    def clear_violations(self) -> None:
        """Forget the rules that were broken."""
        self._library.crisp_clear_violations(self._machine)

    def check_bus(self) -> None:
        """Raise unless the machine kept all rules of the bus.

        Raises
        ------
        MachineFault
            Names the first that it broke.
        """
        if violations := self.violations:
            raise MachineFault(f"the machine broke {self.statistics.violations} rules of its bus, first {violations[0]}")

    # ------------------------------------------------------------------------------------------------------------------------
    # Registers and clock

    def write_register(self, address: int, value: int) -> None:
        """Write a register of 32 bits; the clock runs meanwhile.

        Raises
        ------
        MachineFault
            When it does not answer, or with an error.
        """
        self._check_response("write", address, self._library.crisp_write_register(self._machine, address, value, REGISTER_PATIENCE))

    def read_register(self, address: int) -> int:
        """Read a register of 32 bits; the clock runs meanwhile.

        Raises
        ------
        MachineFault
            When it does not answer, or with an error.
        """
        value = ctypes.c_uint32()
        response = self._library.crisp_read_register(self._machine, address, ctypes.byref(value), REGISTER_PATIENCE)
        self._check_response("read", address, response)
        return value.value

    def advance(self, cycles: int) -> bool:
        """Let the clock run until the interrupt is high, ``cycles`` at most; return whether it is."""
        return bool(self._library.crisp_advance(self._machine, cycles))

    def idle(self, cycles: int) -> None:
        """Let the clock run."""
        self._library.crisp_idle(self._machine, cycles)

    @property
    def cycle(self) -> int:
        """Cycles since the simulator was made."""
        return self._library.crisp_cycle(self._machine)

    def take_trace(self) -> list[dict[str, int]]:
        """Return what the trace port told since the last call: ``cycle``, and the fields of its payload."""
        size = 8 + self.ports.trace_bytes
        data = ctypes.create_string_buffer(self._library.crisp_record_bytes(self._machine))
        self._library.crisp_take_records(self._machine, data)
        records = []
        for begin in range(0, len(data), size):
            payload = int.from_bytes(data.raw[begin + 8 : begin + size], "little")
            fields = {name: payload >> low & ((1 << width) - 1) for name, (low, width) in self.ports.trace_fields.items()}
            records.append({"cycle": int.from_bytes(data.raw[begin : begin + 8], "little"), **fields})
        return records

    def _check_response(self, what: str, address: int, response: int) -> None:
        """Raise unless a register answered OKAY."""
        if response < 0:
            raise MachineFault(f"register {address:#x}: a {what} must be answered, but was not in {REGISTER_PATIENCE} cycles")
        if response:
            raise MachineFault(f"register {address:#x}: a {what} must be answered OKAY, not {Response(response).name}")


def load_library(path: Path) -> ctypes.CDLL:
    """Load the library and declare its functions."""
    library = ctypes.CDLL(str(path))
    pointer, number, small, real, flag = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_double, ctypes.c_int
    functions: dict[str, tuple[Any, list[Any]]] = {
        "crisp_create": (pointer, []),
        "crisp_destroy": (None, [pointer]),
        "crisp_reset": (None, [pointer]),
        "crisp_open_trace": (flag, [pointer, ctypes.c_char_p]),
        "crisp_set_memory": (None, [pointer, number, real, number, real, number]),
        "crisp_map": (None, [pointer, number, number, pointer, flag, flag]),
        "crisp_unmap": (None, [pointer, number]),
        "crisp_set_faults": (None, [pointer, pointer, number]),
        "crisp_write_register": (flag, [pointer, small, small, number]),
        "crisp_read_register": (flag, [pointer, small, pointer, number]),
        "crisp_advance": (flag, [pointer, number]),
        "crisp_idle": (None, [pointer, number]),
        "crisp_cycle": (number, [pointer]),
        "crisp_outstanding": (number, [pointer]),
        "crisp_statistics": (None, [pointer, pointer]),
        "crisp_num_violations": (number, [pointer]),
        "crisp_violations": (None, [pointer, pointer]),
        "crisp_clear_violations": (None, [pointer]),
        "crisp_record_bytes": (number, [pointer]),
        "crisp_take_records": (None, [pointer, pointer]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def print_error(text: str) -> None:
    """Tell the user that a build takes its time."""
    print(text, file=sys.stderr, flush=True)
