"""Amaranth to Verilog: the same text, byte for byte, for the same hardware.

::

    component -> RTLIL (Amaranth) -> one module for all that are equal -> Verilog (Yosys) -> tidied

Amaranth emits a module for every instance, 256 equal processing elements for a 16x16 array. Merging them makes the text
short enough to read, and everything after it faster: a simulator or a synthesiser sees each kind of block once.

As a command: ``python -m crisp_hw.verilog --config default --output build/rtl/default``.
"""

import argparse
import gc
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from crisp.arch import Config, CrispError
from crisp.arch.files import write_text

__all__ = ["ToolError", "emit", "main", "merge_equal_modules", "run_yosys", "to_rtlil"]

#: Name of the machine's module and, with ``.v``, of its file.
MACHINE = "crisp_accelerator"

MODULE = re.compile(r"^((?:attribute [^\n]*\n)*)module (\\\S+)\n(.*?)^end\n", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"((?:^  attribute [^\n]*\n)*^  wire width \d+ (?:input|output|inout) )\d+(  (?:signed )?(\\\S+)\n\n?)", re.MULTILINE)
CELL = re.compile(r"^  cell (\\\S+)", re.MULTILINE)
INITIAL = re.compile(r"^  initial begin\n((?:    \S+ ?\[\d+\] = \S+;\n)+)  end\n", re.MULTILINE)
WORD = re.compile(r"^    (\S+ ?)\[(\d+)\] = (\S+);\n", re.MULTILINE)

#: As `amaranth.back.verilog` does it: processes stay ``always`` blocks, which simulators and people read best.
SCRIPT = """\
read_rtlil <<END_OF_RTLIL
{rtlil}
END_OF_RTLIL
delete s:0 x:* %d
proc -nomux -norom
memory_collect
write_verilog -noattr -norename
"""

#: Amaranth's widths are meant: what is cut off is cut off on purpose.
HEADER = "/* verilator lint_off WIDTH */\n\n"


class ToolError(CrispError):
    """A tool is missing or failed; the message names it and what to do, or repeats what it said."""


def emit(component: Component, name: str, path: Path | None = None) -> str:
    """Convert a component to Verilog.

    The text depends on the component and on the versions of Amaranth and Yosys alone, so it may serve as a key of what is built from it.

    Parameters
    ----------
    component : Component
        Any component with a signature; its members become ports, nested ones joined by ``__``.
    name : str
        Name of the top module. The others are named after their place in it.
    path : Path, optional
        File to write the text to, under another name first, so that it is whole or not there.

    Returns
    -------
    str
        Verilog-2005.

    Raises
    ------
    ToolError
        When Yosys is missing or fails.
    """
    text = tidy(run_yosys(SCRIPT.format(rtlil=merge_equal_modules(to_rtlil(component, name)))))
    if path is not None:
        write_text(path, text)
    return text


def to_rtlil(component: Component, name: str) -> str:
    """Convert a component to RTLIL, without the places in the source that would make equal modules differ."""
    # Nearly all of the many objects of a design live until its end: looking for garbage among them again and again takes most of the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        return rtlil.convert(component, name=name, emit_src=False)
    finally:
        if collects:
            gc.enable()


def merge_equal_modules(text: str) -> str:
    """Replace modules of an RTLIL text that differ in their names only by one.

    Leaves are compared first. Once they are one, the modules that contain them may be equal too, and so on until nothing changes.
    The one that stays is named without the index of its instance: of ``array.pe_0_0`` to ``array.pe_3_3`` stays ``array.pe``.

    Parameters
    ----------
    text : str
        RTLIL of a whole design, as Amaranth writes it.

    Returns
    -------
    str
        RTLIL of the same design with as many modules or less, in the same order.
    """
    modules = {match[2]: (match[1], sort_ports(match[3])) for match in MODULE.finditer(text)}
    while True:
        first_of: dict[tuple[str, str], str] = {}
        renamed = {name: first_of.setdefault(content, name) for name, content in modules.items()}
        if len(first_of) == len(modules):
            break
        modules = {name: modules[name] for name in first_of.values()}
        modules = rename_cells(modules, renamed)

    names = common_names(list(modules), merged={match[1] for match in CELL.finditer(text)} - modules.keys())
    modules = {names[name]: content for name, content in rename_cells(modules, names).items()}
    return "\n".join(f"{attributes}module {name}\n{body}end\n" for name, (attributes, body) in modules.items())


def sort_ports(body: str) -> str:
    """Sort the ports of a module by name, clock and reset first.

    Amaranth numbers them as it meets them, which differs between equal instances, and from 0, which puts the first one last: to Yosys
    0 is no number. Cells name the ports that they connect, so their order is free.
    """

    def by_name(match: re.Match[str]) -> tuple[bool, list[str | int]]:
        parts = re.split(r"(\d+)", match[3])
        return match[3] not in (r"\clk", r"\rst"), [int(part) if part.isdecimal() else part for part in parts]

    ports = sorted(PORT.finditer(body), key=by_name)
    return "".join(f"{port[1]}{number}{port[2]}" for number, port in enumerate(ports, 1)) + PORT.sub("", body)


def common_names(names: list[str], *, merged: set[str]) -> dict[str, str]:
    """Name modules that stand for several instances without an index, where no two would get the same name.

    Parameters
    ----------
    names : list of str
        The modules that are left, parents before their children.
    merged : set of str
        Those that are gone.
    """
    stems = {without_index(name) for name in merged}
    wish = {name: without_index(name) if without_index(name) in stems else name for name in names}
    demand = Counter(wish.values())
    found: dict[str, str] = {}
    for name in names:
        parent, dot, last = (wish[name] if demand[wish[name]] == 1 else name).rpartition(".")
        found[name] = found.get(parent, parent) + dot + last
    return found


def without_index(name: str) -> str:
    """Cut the indices from the end of an instance's name: ``pe`` from ``pe_3_0``."""
    return re.sub(r"(_\d+)+$", "", name)


def rename_cells(modules: dict[str, tuple[str, str]], names: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Rename the modules that cells are instances of."""

    def rename(match: re.Match[str]) -> str:
        return f"  cell {names.get(match[1], match[1])}"

    return {name: (attributes, CELL.sub(rename, body)) for name, (attributes, body) in modules.items()}


def tidy(text: str) -> str:
    """Remove from Yosys' Verilog what makes it long or hard to compare.

    These are its first line, which names the machine that Yosys was built on; a number in the name of the register that starts
    ``always @*`` blocks at time 0; and memories that are cleared word by word, 130,000 lines in a 16x16 engine, in place of a loop.

    Yosys gives that register its value where it declares it, which comes before any block waits for it: a block whose inputs never
    change is not started then, and Icarus keeps its outputs at X. A non-blocking assignment comes after all blocks wait.
    """
    text = re.sub(r"\A/\* Generated by .*? \*/\n+", HEADER, text, flags=re.DOTALL)
    name = r"\\\$auto\$verilog_backend\.cc:\d+:dump_module\$\d+ "
    text = re.sub(rf"^  reg {name} = 0;$", r"  reg \\$start = 1'b0;\n  initial \\$start <= 1'b1;", text, flags=re.MULTILINE)
    text = re.sub(name, r"\\$start ", text)
    return INITIAL.sub(clear_in_loop, text)


def clear_in_loop(match: re.Match[str]) -> str:
    """Rewrite an ``initial`` block that gives all words of a memory the same value."""
    words = WORD.findall(match[1])
    name, _, value = words[0]
    if words != [(name, str(index), value) for index in range(len(words))] or len(words) < 4:
        return match[0]
    return (
        f"  initial begin : \\$clear_{name.strip().lstrip(chr(92))} \n"
        "    integer index;\n"
        f"    for (index = 0; index < {len(words)}; index = index + 1)\n"
        f"      {name}[index] = {value};\n"
        "  end\n"
    )


def run_yosys(script: str, *, cwd: Path | None = None) -> str:
    """Run a Yosys script and return what it writes to standard output.

    Raises
    ------
    ToolError
        When there is no Yosys, or when it fails.
    """
    # Beside this Python first, where `make setup` puts it: it is the version that the project is tested with.
    own = Path(sys.executable).parent / "yosys"
    command = str(own) if own.exists() else shutil.which("yosys")
    if command is None:
        raise ToolError(f"yosys must be on PATH or beside {sys.executable}: run `make setup`")
    done = subprocess.run([command, "-q", "-"], input=script, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode:
        raise ToolError(f"yosys failed: {(done.stderr.strip() or done.stdout.strip())[-2000:] or 'it said nothing'}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the Verilog of the accelerator; give an exit status."""
    parser = argparse.ArgumentParser(prog="python -m crisp_hw.verilog", description="Write the accelerator as Verilog.")
    parser.add_argument("--config", default="default", help="preset, or a TOML or JSON file (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the Verilog")
    options = parser.parse_args(arguments)
    try:
        from crisp_hw.accelerator import Accelerator

        path = options.output / f"{MACHINE}.v"
        text = emit(Accelerator(Config.load(options.config)), MACHINE, path)
    except CrispError as error:
        print(f"crisp_hw.verilog: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {text.count(chr(10))} lines, {len(re.findall(r'^module ', text, re.MULTILINE))} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
