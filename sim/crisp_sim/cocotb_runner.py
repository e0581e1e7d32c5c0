"""Run cocotb tests on an Amaranth component, from pytest or from any Python code.

The stock runner of cocotb opens every signal to VPI, which makes simulation six times slower, and builds anew for each
folder. This one opens the ports only and builds by content; a run of something built before takes about a second.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cocotb_tools.config

from .cache import build_cached, cache_folder
from .errors import CocotbFailure, ToolError
from .parameters import parameters
from .toolchain import compiler, compiler_version, execute, find_icarus, find_libpython, find_verilator
from .verilate import compile_model, public_ports, runtime_library, top_ports, verilate

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["CocotbRun", "default_seed", "parameters", "simulate", "trace_wanted"]

#: A small model compiles in the time that it saves in the run; measured: -O1 costs 0.3 s more than -O0, halves the run.
OPTIMISE = "-O1"

#: Verilog-2005, in which initial values are events at time 0: Yosys relies on them to start ``always @*``. With SystemVerilog's
#: rules such a block keeps X until an input changes.
ICARUS_FLAGS = ["-g2005"]

VERILATOR_FLAGS = ["--vpi", "--no-timing", "-O3", "-Wno-fatal", "-Wno-lint", "--timescale", "1ns/1ps"]

#: Longest value of an environment variable that Linux takes is 128 KiB.
LONGEST_VARIABLE = 100_000


@dataclasses.dataclass(frozen=True)
class CocotbRun:
    """What a run of cocotb tests was.

    Parameters
    ----------
    tests : tuple of str
        Tests that passed.
    seed : int
        Seed of Python's ``random`` in the simulator.
    seconds : float
        Wall-clock time of the simulator's process.
    folder : Path or None
        Where log and waves are; None when nothing was kept.
    """

    tests: tuple[str, ...]
    seed: int
    seconds: float
    folder: Path | None


def default_seed() -> int:
    """Return the seed of runs that name none: ``$CRISP_SEED``, else 1."""
    return int(os.environ.get("CRISP_SEED", "1"))


def trace_wanted() -> bool:
    """Tell whether waves are to be recorded: ``$CRISP_TRACE`` is set and not 0."""
    return os.environ.get("CRISP_TRACE", "0") not in ("", "0")


def simulate(
    component: "Component | str",
    test_module: str | Path,
    *,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    simulator: str | None = None,
    testcase: str | Sequence[str] | None = None,
    seed: int | None = None,
    timeout_seconds: float = 600,
) -> CocotbRun:
    """Build a component for a simulator and run cocotb tests on it.

    Parameters
    ----------
    component : amaranth.lib.wiring.Component or str
        What to simulate; or Verilog text whose top module is ``name``.
    test_module : str or Path
        Module with the ``@cocotb.test()`` coroutines: a path to its file (``__file__`` of a test that holds them itself),
        or a dotted name.
    name : str
        Name of the top module, an identifier; also begins the names of folders.
    parameters : mapping, optional
        Numbers, strings, lists, NumPy arrays that the tests read back with `parameters`.
    env : mapping, optional
        More environment variables for the simulator.
    simulator : str, optional
        ``verilator`` or ``icarus``; default is ``$CRISP_SIMULATOR``, else ``verilator``. Where Icarus is missing, skips.
    testcase : str or sequence of str, optional
        Run only the tests of these names.
    seed : int, optional
        Seed of Python's ``random`` in the tests; default is `default_seed`.
    timeout_seconds : float
        Longest time for the simulator's process.

    Returns
    -------
    CocotbRun
        What passed. Log and waves are kept when ``$CRISP_TRACE`` is set or a test fails, under ``build/sim/runs``.

    Raises
    ------
    CocotbFailure
        When a test fails, none is found, or the simulator dies; with the assertion, the seed, and where the log is.
    BuildError, ToolError
        When the simulator cannot be built.
    """
    __tracebackhide__ = True
    simulator = simulator or os.environ.get("CRISP_SIMULATOR", "verilator")
    seed = default_seed() if seed is None else seed
    trace = trace_wanted()
    verilog = component if isinstance(component, str) else _emit(component, name)
    if simulator == "verilator":
        command = [str(_build_verilator(verilog, name, trace=trace)), *(["--trace"] if trace else [])]
    elif simulator == "icarus":
        command = _icarus_command(verilog, name, trace=trace)
    else:
        raise ToolError(f"simulator must be 'verilator' or 'icarus', not {simulator!r}")

    folder = _make_run_folder(name)
    environment = _environment(folder, test_module, name, parameters or {}, simulator, testcase, seed)
    environment["CRISP_INPUTS"] = " ".join(top_ports(verilog, name, "input"))
    start = time.monotonic()
    with (folder / "log").open("w") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            cwd=folder,
            env={**environment, **(env or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=timeout_seconds,
        )
    seconds = time.monotonic() - start

    passed, failed = _read_results(folder / "results.xml")
    if failed or not passed:
        raise CocotbFailure(_describe(name, simulator, seed, passed, failed, folder, seconds, timeout_seconds))
    if not trace:
        shutil.rmtree(folder)
    return CocotbRun(tuple(passed), seed, seconds, folder if trace else None)


def _emit(component: "Component", name: str) -> str:
    """Convert a component to Verilog; imported here, for a run of Verilog text needs no Amaranth."""
    from crisp_hw.verilog import emit

    return emit(component, name)


def _build_verilator(verilog: str, name: str, *, trace: bool) -> Path:
    """Return the simulator's program, built by Verilator."""
    libraries = Path(cocotb_tools.config.libs_dir)
    main = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    vlt = public_ports(verilog, name)
    flags = [*VERILATOR_FLAGS, *(["--trace-vcd"] if trace else [])]

    def build(folder: Path) -> None:
        runtime = runtime_library()
        verilate(verilog, name, folder=folder, flags=flags, vlt=vlt)
        objects = compile_model(folder, optimise=OPTIMISE, trace=trace, extra=[main])
        command = [compiler(), *objects, str(runtime), "-L", str(libraries), f"-Wl,-rpath,{libraries}"]
        command += ["-lcocotbvpi_verilator", "-lpthread", "-o", "simulator"]
        execute(command, folder=folder, log=folder / "build.log")
        for leftover in objects:
            (folder / leftover).unlink()
        shutil.rmtree(folder / "model")

    key = [verilog, vlt, *flags, OPTIMISE, find_verilator().version, compiler_version(), main.read_text(), str(libraries)]
    return build_cached(name, key, build) / "simulator"


def _icarus_command(verilog: str, name: str, *, trace: bool) -> list[str]:
    """Return the command that runs the component on Icarus, compiled where it was not before."""
    icarus = find_icarus()
    if icarus is None:
        import pytest

        pytest.skip("Icarus is not installed")
    compile_command, run_command = icarus
    dump = f'module dump; initial begin $dumpfile("dump.vcd"); $dumpvars(0, {name}); end endmodule\n' if trace else ""

    def build(folder: Path) -> None:
        (folder / f"{name}.v").write_text(verilog)
        (folder / "dump.v").write_text(dump)
        (folder / "options").write_text("+timescale+1ns/1ps\n")
        command = [str(compile_command), *ICARUS_FLAGS, "-s", name, *(["-s", "dump"] if trace else []), "-f", "options"]
        command += ["-o", "simulator.vvp", f"{name}.v", "dump.v"]
        execute(command, folder=folder, log=folder / "build.log")

    version = subprocess.run([compile_command, "-V"], capture_output=True, text=True).stdout.split("\n")[0]
    program = build_cached(f"{name}-icarus", [verilog, dump, version, *ICARUS_FLAGS], build) / "simulator.vvp"
    return [str(run_command), "-m", cocotb_tools.config.lib_entry("vpi", "icarus"), str(program)]


def _make_run_folder(name: str) -> Path:
    """Make a new folder for a run, and remove those that are older than a day."""
    runs = cache_folder() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        with contextlib.suppress(OSError):  # another process may remove it too
            if old.stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(old)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=runs))


def _environment(
    folder: Path,
    test_module: str | Path,
    name: str,
    parameters: Mapping[str, Any],
    simulator: str,
    testcase: str | Sequence[str] | None,
    seed: int,
) -> dict[str, str]:
    """Return the environment by which cocotb is told what to run."""
    path = list(sys.path)
    if isinstance(test_module, Path) or test_module.endswith(".py"):
        path.insert(0, str(Path(test_module).resolve().parent))
        test_module = Path(test_module).stem
    text = json.dumps(dict(parameters), default=_plain)
    if len(text) > LONGEST_VARIABLE:
        (folder / "parameters.json").write_text(text)
        text = f"@{folder / 'parameters.json'}"
    environment = {
        **os.environ,
        "COCOTB_TOPLEVEL": name,
        "COCOTB_TEST_MODULES": test_module,
        "COCOTB_RANDOM_SEED": str(seed),
        # Only the tests' own assertions need to tell their operands; rewriting every module costs a second a run.
        "COCOTB_REWRITE_ASSERTION_FILES": f"{test_module.rpartition('.')[2]}.py",
        "COCOTB_RESULTS_FILE": str(folder / "results.xml"),
        "COCOTB_ANSI_OUTPUT": "0",
        "CRISP_PARAMETERS": text,
        "GPI_USERS": f"{find_libpython()};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in path),
        "TOPLEVEL_LANG": "verilog",
        "PATH": os.pathsep.join([os.environ.get("PATH", ""), str(cocotb_tools.config.libs_dir)]),
    }
    if simulator == "verilator":
        environment["COCOTB_TRUST_INERTIAL_WRITES"] = "1"
    if testcase is not None:
        names = [testcase] if isinstance(testcase, str) else testcase
        environment["COCOTB_TEST_FILTER"] = rf"(^|\.)({'|'.join(names)})$"
    return environment


def _plain(value: Any) -> Any:
    """Turn what NumPy made into what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"parameters must be numbers, strings, lists and arrays, not {type(value).__name__}")


def _read_results(file: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names of the tests that passed, and of those that failed with their messages."""
    passed: list[str] = []
    failed: dict[str, str] = {}
    if not file.is_file():
        return passed, failed
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        test = case.get("name", "?")
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is not None:
            failed[test] = "\n".join(filter(None, [problem.get("message"), problem.text])).strip()
        elif case.find("skipped") is None:
            passed.append(test)
    return passed, failed


def _describe(
    name: str,
    simulator: str,
    seed: int,
    passed: list[str],
    failed: dict[str, str],
    folder: Path,
    seconds: float,
    timeout_seconds: float,
) -> str:
    """Tell what went wrong, how to see it again, and where the log is."""
    again = f"again with: CRISP_SEED={seed} (waves: CRISP_TRACE=1)\nlog: {folder / 'log'}"
    if failed:
        head = f"{name} on {simulator}, seed {seed}: {len(failed)} of {len(failed) + len(passed)} cocotb tests failed"
        return "\n".join([head, *(f"--- {test}\n{text}" for test, text in failed.items()), again])
    log = "\n".join((folder / "log").read_text(errors="replace").splitlines()[-25:])
    why = f"did not end in {timeout_seconds:g} s" if seconds >= timeout_seconds else "ended without running a test"
    return f"{name} on {simulator}, seed {seed}: the simulator {why}\n{log}\n{again}"
