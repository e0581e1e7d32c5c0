"""Serve the `yosys` command line from pyosys.

pyosys brings Yosys as a Python module, without the command that Amaranth, sby and a person at a prompt expect.
`make setup` writes `.venv/bin/yosys`, a two-line shell script that runs this file. Only the options in use are
served; an unknown one is refused rather than ignored.

Yosys ends the whole process on its first error and, with its log silenced, says nothing. So the work is done in a
child, and with `-q` the parent repeats the log's warnings and errors on standard error, as the real command does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

FRONTENDS = {
    ".il": "read_rtlil",
    ".rtlil": "read_rtlil",
    ".json": "read_json",
    ".sv": "read_verilog -sv",
    ".v": "read_verilog",
    ".ys": "script",
}
BACKENDS = {
    ".cc": "write_cxxrtl",
    ".il": "write_rtlil",
    ".json": "write_json",
    ".smt2": "write_smt2",
    ".sv": "write_verilog -sv",
    ".v": "write_verilog",
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the part of Yosys' command line that is served."""
    parser = argparse.ArgumentParser(prog="yosys", description="Yosys, by way of pyosys", allow_abbrev=False)
    parser.add_argument("files", nargs="*", help="source or .ys script, - for a script on standard input")
    parser.add_argument("-q", action="count", default=0, help="print warnings and errors only")
    parser.add_argument("-Q", action="store_true", help="accepted: no banner is ever printed")
    parser.add_argument("-T", action="store_true", help="accepted: no footer is ever printed")
    parser.add_argument("-l", "-L", metavar="FILE", dest="log", help="write the log to FILE")
    parser.add_argument("-p", metavar="COMMANDS", action="append", default=[], help="commands to run after reading")
    parser.add_argument("-s", metavar="FILE", action="append", default=[], help="script to run after reading")
    parser.add_argument("-o", metavar="FILE", action="append", default=[], help="write the design in the end")
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    options = parser.parse_args(arguments)
    for option, table, names in (("file", FRONTENDS, options.files), ("-o", BACKENDS, options.o)):
        for name in names:
            if name != "-" and Path(name).suffix not in table:
                parser.error(f"{option} {name}: the suffix must be one of {', '.join(table)}")
    return options


def commands(options: argparse.Namespace, folder: Path) -> list[list[str]]:
    """Give the commands that do what the command line asks for, as lists of words."""
    found = []
    for name in options.files:
        found.append(["script", "/dev/stdin"] if name == "-" else [*FRONTENDS[Path(name).suffix].split(), name])
    if options.p:
        # A command line may hold several commands, which only a script separates.
        inline = folder / "inline.ys"
        inline.write_text("\n".join(options.p) + "\n")
        found.append(["script", str(inline)])
    found += [["script", name] for name in options.s]
    found += [[*BACKENDS[Path(name).suffix].split(), name] for name in options.o]
    return found


def execute(calls: list[list[str]], quiet: bool, log_path: Path) -> None:
    """Run commands in this process, which Yosys ends with status 1 on an error."""
    from pyosys import libyosys

    design = libyosys.Design()
    log_path.write_text("")
    tee = ["tee", "-q"] if quiet else ["tee"]
    for call in calls:
        libyosys.Pass.call(design, libyosys.StringVector([*tee, "-a", str(log_path), *call]))


def main(arguments: list[str]) -> int:
    """Run Yosys with the given arguments and return its exit status."""
    options = parse(arguments)
    if options.version:
        from pyosys import libyosys

        print(libyosys.yosys_maybe_version().strip())
        return 0
    if not (options.files or options.p or options.s):
        print("yosys: give files, -p COMMANDS or -s FILE; the interactive shell is not served", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="yosys-") as folder:
        calls = commands(options, Path(folder))
        log_path = Path(options.log) if options.log else Path(folder) / "yosys.log"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                execute(calls, options.q > 0, log_path)
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if options.q and log_path.exists():
            for line in log_path.read_text(errors="replace").splitlines():
                if line.startswith(("Warning:", "ERROR:")) or ": Warning: " in line or ": ERROR: " in line:
                    print(line, file=sys.stderr)
        if status < 0:
            print(f"yosys: ended by signal {-status}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
