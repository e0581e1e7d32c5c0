"""A program, tensors in, tensors out: the same call whatever runs it."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from crisp.arch import UNIT_BYTES, Config, Program
from crisp.arch.command_stream import MemoryRange
from crisp.golden.command_check import check_list
from crisp.golden.machine import run_program

from .driver import Device, Driver, place_windows
from .errors import AcceleratorError, DeviceError
from .layers import LayerReport, report_layers

if TYPE_CHECKING:
    from crisp_sim.machine import MemoryModel

__all__ = ["BACKENDS", "Accelerator", "RunResult"]

#: Called with commands that are complete, and all of them.
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run gave.

    Parameters
    ----------
    outputs : dict
        ``int8`` tensors of shape N, H, W, C by name.
    backend : str
        What ran the program.
    cycles : int or None
        From start to end; None where there is no clock.
    counters : dict
        Counters of the machine, see ``docs/registers.md``; empty where there are none.
    layers : tuple of LayerReport
        The program's layers, with their cycles where there are any.
    seconds : float
        Wall-clock time.
    """

    outputs: dict[str, np.ndarray]
    backend: str
    cycles: int | None
    counters: dict[str, int]
    layers: tuple[LayerReport, ...]
    seconds: float


class Backend(Protocol):
    """What can run a program."""

    def run(self, program: Program, inputs: Mapping[str, np.ndarray], progress: Progress | None) -> dict[str, Any]:
        """Return `RunResult`'s outputs, cycles, counters and layers."""


class GoldenBackend:
    """The golden machine: integers in NumPy, no clock."""

    def run(self, program: Program, inputs: Mapping[str, np.ndarray], progress: Progress | None) -> dict[str, Any]:
        """Check the commands as the machine does, then carry them out."""
        sizes = program.window_bytes
        windows = {window: MemoryRange(base, sizes[window]) for window, base in place_windows(sizes).items()}
        units = len(program.commands) // UNIT_BYTES
        fault = check_list(program.commands, program.config, windows, command_offset=0, command_units=units)
        if fault is not None:
            raise AcceleratorError(program, fault.code, fault.command, fault.address)
        outputs = run_program(program, inputs, progress=progress)
        return {"outputs": outputs, "cycles": None, "counters": {}, "layers": report_layers(program, [], 0)}


class DeviceBackend:
    """A machine with registers and memory."""

    def __init__(self, device: Device, config: Config) -> None:
        self.driver = Driver(device, config)

    def run(self, program: Program, inputs: Mapping[str, np.ndarray], progress: Progress | None) -> dict[str, Any]:
        """Run a program by way of the driver."""
        run = self.driver.run(program, program.input_window(inputs), progress=progress)
        return {
            "outputs": program.read_outputs(run.output),
            "cycles": run.counters["cycles"],
            "counters": run.counters,
            "layers": run.layers,
        }


#: Backends by name.
BACKENDS = ("golden", "verilator")


class Accelerator:
    """Runs programs.

    Parameters
    ----------
    config : Config
        The machine.
    backend : str
        ``golden`` or ``verilator``; not looked at where there is a ``device``.
    device : Device, optional
        Another machine, such as one that cocotb simulates.
    memory : MemoryModel, optional
        How memory behaves, for ``verilator``.
    trace : Path, optional
        Where ``verilator`` records waves.
    log : callable, optional
        Told when a simulator is built.

    Raises
    ------
    DeviceError
        When there is no such backend, or the device is another machine.
    """

    def __init__(
        self,
        config: Config,
        *,
        backend: str = "verilator",
        device: Device | None = None,
        memory: "MemoryModel | None" = None,
        trace: Path | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.backend = type(device).__name__ if device is not None else backend
        self._backend: Backend
        if device is not None:
            self._backend = DeviceBackend(device, config)
        elif backend == "golden":
            self._backend = GoldenBackend()
        elif backend == "verilator":
            from crisp_sim.machine import MachineSimulator

            self._backend = DeviceBackend(MachineSimulator(config, memory=memory, trace=trace, log=log), config)
        else:
            raise DeviceError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")

    def run(self, program: Program, inputs: Mapping[str, np.ndarray], *, progress: Progress | None = None) -> RunResult:
        """Run a program.

        Parameters
        ----------
        program : Program
            For this configuration.
        inputs : mapping
            ``int8`` tensors of shape N, H, W, C by name.
        progress : callable, optional
            Called now and then with commands that are complete, and all of them.

        Raises
        ------
        AcceleratorError
            When the program or its constants break a rule, or memory fails.
        DeviceError
            When the program is for another machine.
        ProgramError
            When an input is missing, unknown, or of another shape or type.
        """
        if program.config != self.config:
            raise DeviceError(
                f"{program.network}: must be compiled for this machine, whose configuration has digest {self.config.digest:#010x}, "
                f"not {program.config.digest:#010x}: compile it with this configuration"
            )
        start = time.perf_counter()
        values = self._backend.run(program, inputs, progress)
        return RunResult(**values, backend=self.backend, seconds=time.perf_counter() - start)
