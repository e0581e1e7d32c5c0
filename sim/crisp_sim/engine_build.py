"""Build the simulated engine: from configuration to a shared library, and a description of its ports beside it."""

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
from .ports import scalar_ports, slices, streams
from .toolchain import compiler, compiler_version, execute, find_verilator
from .verilate import compile_model, runtime_library, verilate

__all__ = ["EnginePorts", "ReadingPort", "StreamPort", "build_engine", "describe_engine", "describe_ports"]

#: About as fast as -O3 once built, and built in half the time.
OPTIMISE = "-Os"

VERILATOR_FLAGS = ["--no-timing", "-O3", "-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--output-split", "10000"]

HARNESS = Path(__file__).with_name("harness.cpp")


@dataclasses.dataclass(frozen=True)
class StreamPort:
    """A stream: its name, the C++ members of its three ports, and the bytes of its payload."""

    name: str
    valid: str
    ready: str
    payload: str
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class ReadingPort:
    """An output that belongs to no stream: its name, its C++ member and its bytes."""

    name: str
    member: str
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class EnginePorts:
    """The ports of an engine, as far as the harness must know them; kept in the cache beside the Verilog.

    Parameters
    ----------
    sources : list of StreamPort
        Streams into the engine, without that of the windows.
    window : StreamPort
        The stream of windows.
    sinks : list of StreamPort
        Streams out of the engine.
    readings : list of ReadingPort
        Outputs that belong to no stream.
    window_shifts : dict
        Place of ``data``, ``address`` and ``last`` in a window's word, in bits.
    """

    sources: list[StreamPort]
    window: StreamPort
    sinks: list[StreamPort]
    readings: list[ReadingPort]
    window_shifts: dict[str, int]

    def source_index(self, name: str) -> int:
        """Return the number of a stream into the engine."""
        return next(index for index, stream in enumerate(self.sources) if stream.name == name)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "EnginePorts":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(
            sources=[StreamPort(**stream) for stream in values["sources"]],
            window=StreamPort(**values["window"]),
            sinks=[StreamPort(**stream) for stream in values["sinks"]],
            readings=[ReadingPort(**reading) for reading in values["readings"]],
            window_shifts=values["window_shifts"],
        )

    def header(self, config: Config) -> str:
        """Return the text of ``engine_ports.h``, which `harness.cpp` includes."""
        window, shifts = self.window, self.window_shifts
        lines = [
            "// Generated from the engine's signature.",
            "#pragma once",
            f"constexpr unsigned COLUMNS = {config.columns};",
            f"constexpr unsigned GROUP_SIZE = {config.group_size};",
            f"constexpr unsigned WINDOW_BYTES = {window.num_bytes};",
            f"constexpr unsigned WINDOW_DATA_SHIFT = {shifts['data']};",
            f"constexpr unsigned WINDOW_ADDRESS_SHIFT = {shifts['address']};",
            f"constexpr unsigned WINDOW_LAST_SHIFT = {shifts['last']};",
            f"constexpr unsigned OUTPUT_BYTES = {self.sinks[0].num_bytes};",
            f"constexpr unsigned NUM_SOURCES = {len(self.sources)};",
            f"constexpr unsigned NUM_SINKS = {len(self.sinks)};",
            f"constexpr unsigned SOURCE_BYTES[] = {{{', '.join(str(stream.num_bytes) for stream in self.sources)}}};",
            f"#define WINDOW_VALID {window.valid}",
            f"#define WINDOW_READY {window.ready}",
            f"#define WINDOW_PAYLOAD {window.payload}",
            "#define ENGINE_BUSY o_busy",
            "#define ENGINE_DONE o_done",
        ]
        for name, group in (("CRISP_SOURCES", self.sources), ("CRISP_SINKS", self.sinks)):
            items = [f"X({index}, {port.valid}, {port.ready}, {port.payload})" for index, port in enumerate(group)]
            lines.append(f"#define {name}(X) {' '.join(items)}")
        items = [f"X({index}, {port.member}, {port.num_bytes})" for index, port in enumerate(self.readings)]
        lines.append(f"#define CRISP_READINGS(X) {' '.join(items)}")
        return "\n".join([*lines, ""])


def describe_ports(engine: Any) -> EnginePorts:
    """Read from an engine's signature what the harness must know.

    Raises
    ------
    SimulationError
        When a window's data are not whole bytes.
    """
    found = {
        name: StreamPort(name, stream.valid.member, stream.ready.member, stream.payload.member, stream.payload.num_bytes)
        for name, stream in streams(engine).items()
    }
    sources = [name for name, stream in streams(engine).items() if stream.is_source and name != "i_window"]
    sinks = [name for name, stream in streams(engine).items() if not stream.is_source]
    fields = slices(streams(engine)["i_window"].payload.shape)
    if fields["data"][0] % 8:
        raise SimulationError(f"i_window.data must begin at a whole byte, not at bit {fields['data'][0]}")
    return EnginePorts(
        sources=[found[name] for name in sources],
        window=found["i_window"],
        sinks=[found[name] for name in sinks],
        readings=[ReadingPort(port.name, port.member, port.num_bytes) for port in scalar_ports(engine).values() if not port.is_input],
        window_shifts={name: fields[name][0] for name in ("data", "address", "last")},
    )


def describe_engine(config: Config) -> tuple[str, EnginePorts]:
    """Return Verilog and ports of the real engine, from the cache if the sources that make them are the same."""
    folders = []
    for package in ("crisp_hw", "crisp.arch"):
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SimulationError(f"the package {package} is missing: install the project with `make setup`")
        folders.append(Path(next(iter(spec.submodule_search_locations))))
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]

    def build(folder: Path) -> None:
        from crisp_hw.engine import LayerEngine
        from crisp_hw.verilog import emit

        engine = LayerEngine(config)
        (folder / "engine.v").write_text(emit(engine, "engine"))
        (folder / "ports.json").write_text(describe_ports(engine).to_json())

    version = importlib.metadata.version("amaranth")
    key = [repr(config), version, *(part for path in sources for part in (path.name, path.read_bytes()))]
    folder = build_cached(f"verilog-{config.rows}x{config.columns}", key, build)
    return (folder / "engine.v").read_text(), EnginePorts.from_json((folder / "ports.json").read_text())


def build_engine(config: Config, verilog: str, ports: EnginePorts, *, trace: bool, log: Callable[[str], None]) -> Path:
    """Return the shared library of an engine, from the cache where it is there.

    Raises
    ------
    BuildError, ToolError
        When it cannot be built.
    """
    flags = [*VERILATOR_FLAGS, *(["--trace-vcd"] if trace else [])]
    header = ports.header(config)

    def build(folder: Path) -> None:
        start = time.perf_counter()
        log(f"building the simulator of the {config.rows}x{config.columns} engine (once, kept in {folder.parent})")
        verilate(verilog, "engine", folder=folder, flags=flags)
        (folder / "engine_ports.h").write_text(header)
        runtime = runtime_library()
        objects = compile_model(folder, optimise=OPTIMISE, trace=trace, extra=[HARNESS])
        command = [compiler(), "-shared", "-Wl,-Bsymbolic", *objects, str(runtime), "-lpthread", "-o", "engine.so"]
        execute(command, folder=folder, log=folder / "build.log")
        for leftover in objects:
            (folder / leftover).unlink()
        shutil.rmtree(folder / "model")
        log(f"built it in {time.perf_counter() - start:.0f} s")

    key = [verilog, header, HARNESS.read_text(), OPTIMISE, *flags, find_verilator().version, compiler_version()]
    return build_cached(f"engine-{config.rows}x{config.columns}", key, build) / "engine.so"
