"""Verilog text to object code, by way of Verilator and a C++ compiler, without make and Perl."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cache import build_cached
from .toolchain import Verilator, compiler, compiler_version, execute, find_verilator

__all__ = ["PREFIX", "compile_model", "public_ports", "runtime_library", "top_ports", "verilate"]

#: Class name of the model in C++.
PREFIX = "Vtop"

#: Sources of Verilator's run-time; the linker takes what it needs.
RUNTIME = ("verilated", "verilated_dpi", "verilated_threads", "verilated_vcd_c", "verilated_vpi")

COMMON_FLAGS = ["-std=gnu++17", "-fPIC", "-faligned-new", "-DVM_COVERAGE=0", "-DVM_SC=0", "-w"]

#: Below this many bytes of generated C++ one translation unit compiles fastest: each one parses the headers anew, 1 s.
SINGLE_UNIT_BYTES = 400_000


def define_trace(trace: bool) -> list[str]:
    """Return the compiler flags that tell generated code whether it traces."""
    return [f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_VCD={int(trace)}", "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0"]


def top_ports(verilog: str, top: str, direction: str = "input|output") -> list[str]:
    """Return the names of the ports of module ``top``, in the order of declaration; of one ``direction`` only where given."""
    match = re.search(rf"^module \\?{re.escape(top)}\s*\(.*?^endmodule", verilog, re.DOTALL | re.MULTILINE)
    body = match.group(0) if match else ""
    return re.findall(rf"^\s*(?:{direction})\s+(?:wire\s+|reg\s+)?(?:signed\s+)?(?:\[[^]]*\]\s*)?(\w+)", body, re.MULTILINE)


def public_ports(verilog: str, top: str) -> str:
    """Return a control file that opens only the ports of ``top`` to VPI.

    With everything open, as by ``--public-flat-rw``, nothing can be optimised and simulation is six times slower.
    """
    lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in top_ports(verilog, top)]
    return "\n".join(["`verilator_config", *lines, ""])


def runtime_library() -> Path:
    """Return ``libverilated.a``, compiled once for all models: it takes longer than a small model does."""
    verilator = find_verilator()
    flags = [*COMMON_FLAGS, *define_trace(False), "-O1"]

    def build(folder: Path) -> None:
        def compile_source(name: str) -> str:
            source = verilator.include / f"{name}.cpp"
            command = [compiler(), *flags, *include_flags(verilator), "-c", str(source), "-o", f"{name}.o"]
            execute(command, folder=folder, log=folder / "build.log")
            return f"{name}.o"

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_source, RUNTIME))
        execute(["ar", "rcs", "libverilated.a", *objects], folder=folder, log=folder / "build.log")
        for name in objects:
            (folder / name).unlink()

    return build_cached("runtime", [verilator.version, compiler_version(), *flags], build) / "libverilated.a"


def include_flags(verilator: Verilator) -> list[str]:
    """Return the compiler flags that find Verilator's headers."""
    return ["-isystem", str(verilator.include), "-isystem", str(verilator.include / "vltstd")]


def verilate(verilog: str, top: str, *, folder: Path, flags: list[str], vlt: str = "") -> None:
    """Generate the C++ model of module ``top`` in ``folder/model``; the Verilog text stays as ``<top>.v`` beside it.

    Raises
    ------
    BuildError
        With Verilator's message.
    """
    verilator = find_verilator()
    (folder / f"{top}.v").write_text(verilog)
    (folder / "ports.vlt").write_text(vlt)
    command = [str(verilator.command), "--cc", "--top-module", top, "--prefix", PREFIX, "-Mdir", "model"]
    command += [*flags, *(["ports.vlt"] if vlt else []), f"{top}.v"]
    execute(command, folder=folder, log=folder / "build.log", environment=verilator.environment)


def compile_model(folder: Path, *, optimise: str, trace: bool, extra: list[Path] | None = None) -> list[str]:
    """Compile the model in ``folder/model`` and more sources; return the names of the object files in ``folder``.

    Parameters
    ----------
    folder : Path
        Where `verilate` worked.
    optimise : str
        Flag of the C++ compiler, such as ``-O1``.
    trace : bool
        Whether the model was generated with ``--trace-vcd``.
    extra : list of Path
        Sources that see the model's headers.

    Raises
    ------
    BuildError
        With the compiler's message.
    """
    model = folder / "model"
    sources = sorted(model.glob("*.cpp")) + (extra or [])
    if sum(source.stat().st_size for source in sources) < SINGLE_UNIT_BYTES:
        unit = folder / "all.cpp"
        unit.write_text("".join(f'#include "{source}"\n' for source in sources))
        sources = [unit]
    flags = [*COMMON_FLAGS, *define_trace(trace), "-I", str(folder), "-I", str(model), *include_flags(find_verilator())]

    def compile_source(source: Path) -> str:
        name = f"{source.stem}.o"
        # What runs once, such as setting up the model, is not worth optimising, and is most of the code.
        level = "-O0" if "__Slow" in source.name or "__Syms" in source.name else optimise
        execute(
            [compiler(), *flags, level, "-c", str(source), "-o", name],
            folder=folder,
            log=folder / "build.log",
        )
        return name

    # The largest first, so that no processor waits for it in the end.
    sources.sort(key=lambda source: -source.stat().st_size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_source, sources))
