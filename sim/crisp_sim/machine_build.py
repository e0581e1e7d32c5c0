"""Build the simulated machine: from configuration to a shared library, and a description of its trace port beside it."""

import dataclasses
import importlib.metadata
import importlib.util
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crisp.arch import Config

from .cache import build_cached
from .errors import SimulationError
from .toolchain import compiler, compiler_version, execute, find_verilator
from .verilate import compile_model, runtime_library, verilate

__all__ = ["MachinePorts", "build_machine", "describe_machine", "describe_ports"]

#: A third faster than -Os once built, for a fourth more time to build; -O3 and the processor's own instructions bring nothing.
OPTIMISE = "-O2"

VERILATOR_FLAGS = ["--no-timing", "-O3", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--output-split", "10000"]

FOLDER = Path(__file__).parent

#: Sources of the harness; the first is compiled, the others it includes.
HARNESS = (FOLDER / "machine.cpp", FOLDER / "memory.hpp")

#: Name of the trace port: a pulse and what it tells.
TRACE_VALID, TRACE_PAYLOAD = "o_trace__valid", "o_trace__payload"

#: Verilator's name of the port ``interrupt``, which is no good name in all C++ compilers.
INTERRUPT = "__SYM__interrupt"


@dataclasses.dataclass(frozen=True)
class MachinePorts:
    """What the harness must know of a machine's ports; kept in the cache beside the Verilog.

    Parameters
    ----------
    data_bytes : int
        Bytes of a beat on the memory bus.
    trace_bytes : int
        Bytes of the trace port's payload, 0 where the machine has no such port.
    trace_fields : dict
        Place and width of each field of a trace record, in bits.
    """

    data_bytes: int
    trace_bytes: int
    trace_fields: dict[str, tuple[int, int]]

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "MachinePorts":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        fields = {name: (low, width) for name, (low, width) in values["trace_fields"].items()}
        return cls(values["data_bytes"], values["trace_bytes"], fields)

    def header(self) -> str:
        """Return the text of ``machine_ports.h``, which `machine.cpp` includes."""
        # Verilator reserves two underscores in a row for itself.
        valid, payload = (name.replace("__", "___05F") for name in (TRACE_VALID, TRACE_PAYLOAD))
        if not self.trace_bytes:
            valid = payload = INTERRUPT
        return "\n".join([
            "// Generated from the machine's signature.",
            "#pragma once",
            f"constexpr unsigned BEAT_BYTES = {self.data_bytes};",
            f"constexpr unsigned TRACE_BYTES = {self.trace_bytes};",
            f"#define INTERRUPT {INTERRUPT}",
            f"#define TRACE_VALID {valid}",
            f"#define TRACE_PAYLOAD {payload}",
            "",
        ])  # fmt: skip


def port_shapes(component: Any) -> dict[str, Any]:
    """Return the shape of every port by its name in Verilog: the path in the signature, joined by two underscores."""
    return {"__".join(map(str, path)): member.shape for path, member, _ in component.signature.flatten(component)}


def describe_ports(machine: Any) -> MachinePorts:
    """Read from a machine's signature what the harness must know.

    Raises
    ------
    SimulationError
        When it lacks a port that the harness drives.
    """
    from amaranth.hdl import Shape
    from amaranth.lib.data import Layout

    ports = port_shapes(machine)
    for name in ("m_axi_araddr", "m_axi_rdata", "m_axi_awaddr", "m_axi_wdata", "s_axi_awaddr", "s_axi_araddr", "interrupt"):
        if name not in ports:
            raise SimulationError(f"a machine must have the port {name}; there are {', '.join(ports)}")
    fields: dict[str, tuple[int, int]] = {}
    if TRACE_PAYLOAD in ports:
        layout = Layout.cast(ports[TRACE_PAYLOAD])
        fields = {str(name): (field.offset, field.width) for name, field in layout}
    return MachinePorts(
        data_bytes=Shape.cast(ports["m_axi_rdata"]).width // 8,
        trace_bytes=-(-max((low + width for low, width in fields.values()), default=0) // 8),
        trace_fields=fields,
    )


def describe_machine(config: Config) -> tuple[str, MachinePorts]:
    """Return Verilog and ports of the real machine, from the cache if the sources that make them are the same."""
    folders = []
    for package in ("crisp_hw", "crisp.arch"):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SimulationError(f"the package {package} is missing: install the project with `make setup`")
        folders.append(Path(next(iter(spec.submodule_search_locations))))
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]

    def build(folder: Path) -> None:
        from crisp_hw.accelerator import Accelerator
        from crisp_hw.verilog import emit

        machine = Accelerator(config)
        (folder / "machine.v").write_text(emit(machine, "machine"))
        (folder / "ports.json").write_text(describe_ports(machine).to_json())

    version = importlib.metadata.version("amaranth")
    key = [repr(config), version, *(part for path in sources for part in (path.name, path.read_bytes()))]
    folder = build_cached(f"verilog-machine-{config.rows}x{config.columns}", key, build)
    return (folder / "machine.v").read_text(), MachinePorts.from_json((folder / "ports.json").read_text())


def build_machine(name: str, verilog: str, ports: MachinePorts, *, trace: bool, log: Callable[[str], None]) -> Path:
    """Return the shared library of a machine, from the cache where it is there.

    Parameters
    ----------
    name : str
        What messages and the cache's folder call it.
    verilog : str
        Text whose top module is ``machine``.
    ports : MachinePorts
        Its ports.
    trace : bool
        Whether waves can be recorded.
    log : callable
        Told when a build starts and ends.

    Raises
    ------
    BuildError, ToolError
        When it cannot be built.
    """
    flags = [*VERILATOR_FLAGS, *(["--trace-vcd"] if trace else [])]
    header = ports.header()

    def build(folder: Path) -> None:
        start = time.perf_counter()
        log(f"building the simulator of the {name} machine (once, kept in {folder.parent})")
        verilate(verilog, "machine", folder=folder, flags=flags)
        (folder / "machine_ports.h").write_text(header)
        for source in HARNESS:
            shutil.copyfile(source, folder / source.name)
        runtime = runtime_library()
        objects = compile_model(folder, optimise=OPTIMISE, trace=trace, extra=[folder / HARNESS[0].name])
        command = [compiler(), "-shared", "-Wl,-Bsymbolic", *objects, str(runtime), "-lpthread", "-o", "machine.so"]
        execute(command, folder=folder, log=folder / "build.log")
        for leftover in objects:
            (folder / leftover).unlink()
        shutil.rmtree(folder / "model")
        log(f"built it in {time.perf_counter() - start:.0f} s")

    sources = [source.read_text() for source in HARNESS]
    key = [verilog, header, *sources, OPTIMISE, *flags, find_verilator().version, compiler_version()]
    return build_cached(f"machine-{name}", key, build) / "machine.so"
