"""From the accelerator to a bitstream for Lattice ECP5, with area and clock rate.

::

    Accelerator -> FpgaTop -> RTLIL -> synth_ecp5 (Yosys) -> place and route (nextpnr) -> bitstream (ecppack)

As a command: ``python -m crisp_hw.fpga --config tiny --output build/fpga/tiny``. It writes there

- ``result.json``: look-up tables, flip-flops, multipliers, block RAMs, clock rate, and how to get them again;
- ``machine.bit``, ``machine.config``: the bitstream, binary and as text;
- ``machine.json``, ``report.json``: the netlist, and nextpnr's report with the critical paths;
- ``yosys.log``, ``nextpnr.log``.
"""

import argparse
import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import Config, CrispError

from .verilog import ToolError, merge_equal_modules, run_yosys, to_rtlil

__all__ = ["DEVICES", "UNUSED", "FpgaTop", "build", "main"]

DEVICES = ("12k", "25k", "45k", "85k")

#: Clock rate that nextpnr works towards, in MHz. It reports what it reached either way.
TARGET_MHZ = 100

#: nextpnr's router that negotiates: some times as fast as the other where nets are many.
ROUTER = "router2"

#: What nextpnr counts, under the names that people use.
RESOURCES = {"TRELLIS_COMB": "lut4", "TRELLIS_FF": "ff", "MULT18X18D": "dsp", "DP16KD": "bram"}

#: Ports of the accelerator that a board leaves open: for simulation.
UNUSED = ("o_trace",)

#: Lines of nextpnr's log that show how far it is.
MILESTONE = re.compile(r"Info: (Packing LUTs|Running main analytical placer|Routing globals|Running router\d|Running simulated)")

#: Lines that show how far a stage is: iterations of placement, and wires that two nets still want.
ITERATION = re.compile(r"Info:\s+(at iteration #\d+|iter=\d+ .*(?=overuse=))")

#: Seconds between two lines of an iteration that are shown.
INTERVAL = 10.0

#: `synth_ecp5` straight from Amaranth's RTLIL crashes Yosys 0.70 at 8x8; to flatten first avoids it.
#: Without the slices' wide multiplexers, whose few inputs the router fights for: the same area in a fraction of the routing time.
SCRIPT = """\
read_rtlil machine.il
proc
flatten
opt_clean -purge
tee -q -o yosys.log synth_ecp5 -nowidelut -top machine -json machine.json
"""


class ToolTimeout(ToolError):
    """A tool takes longer than it may."""


class FpgaTop(wiring.Component):
    """Put a component with thousands of ports between two pins, to measure it out of its context.

    All inputs come from one shift register behind a pin, and all outputs are folded by XOR into another. Every input bit can take
    every value and every output bit can change the result, so that synthesis removes nothing that a real surrounding would use.

    What is added is small: a flip-flop for each bit of the widest input and for each input of one bit (such as valid and
    ready), since the wide inputs share the register's first bits; and for the outputs one look-up table and one flip-flop for each
    four bits, again for each four of these, and so on. Paths into the component start at a flip-flop, those out of it
    end behind one look-up table, so that the clock rate is the component's own.

    Latency: meaningless. Throughput: one bit a cycle. Flow control: none.

    Parameters
    ----------
    component : Component
        What to measure.
    unused : collection of str
        Its outputs that are left open, so that synthesis removes what only they need.

    Members
    -------
    i_data : In(1)
        Next bit of the inputs.
    o_data : Out(1)
        Parity of the outputs, some cycles late.
    """

    #: Bits that one look-up table folds.
    FOLD = 4

    def __init__(self, component: wiring.Component, unused: Collection[str] = ()):
        self.component = component
        self.unused = unused
        super().__init__({"i_data": In(1), "o_data": Out(1)})

    def ports(self, flow: wiring.Flow) -> list[Value]:
        """Give the component's inputs or outputs, nested ones too."""
        members = self.component.signature.flatten(self.component)
        return [Value.cast(value) for path, member, value in members if member.flow == flow and path[0] not in self.unused]

    @property
    def added_flip_flops(self) -> int:
        """Flip-flops of this wrapper before synthesis, which removes those behind constant outputs."""
        widths = [len(port) for port in self.ports(In)]
        count = max(widths, default=0) + widths.count(1)
        rest = sum(len(port) for port in self.ports(Out))
        while rest > 1:
            rest = -(-rest // self.FOLD)
            count += rest
        return count

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self.component

        inputs = self.ports(In)
        flags = [port for port in inputs if len(port) == 1]
        wide = [port for port in inputs if len(port) > 1]
        shared = max((len(port) for port in inputs), default=0)
        shift = Signal(shared + len(flags))
        m.d.sync += shift.eq(Cat(self.i_data, shift))
        m.d.comb += [port.eq(shift) for port in wide]
        m.d.comb += [port.eq(shift[shared + index]) for index, port in enumerate(flags)]

        folded = Cat(self.ports(Out))
        level = 0
        while len(folded) > 1:
            parts = [folded[first : first + self.FOLD] for first in range(0, len(folded), self.FOLD)]
            folded = Signal(len(parts), name=f"folded_{level}")
            m.d.sync += folded.eq(Cat(part.xor() for part in parts))
            level += 1
        m.d.comb += self.o_data.eq(folded)
        return m


def build(
    component: wiring.Component,
    output: Path,
    *,
    device: str = "85k",
    package: str = "CABGA756",
    speed: int = 6,
    seed: int = 1,
    unused: Collection[str] = (),
    minutes: float = 0,
    describe: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Synthesise, place, route and pack a component, and write all files to a folder.

    Each file is written elsewhere first, so that it is whole and belongs to the others, or is not there.

    Parameters
    ----------
    component : Component
        What to build, between the two pins of an `FpgaTop`.
    output : Path
        Folder for the files.
    device, package, speed
        The part: ``85k``, ``CABGA756``, 6 is LFE5U-85F-6BG756.
    seed : int
        nextpnr's; the clock rate varies by some per cent with it.
    unused : collection of str
        Outputs that are left open.
    minutes : float
        What place and route may take; 0 is forever. Where it is not enough the result has the area, and no clock rate or bitstream.
    describe : dict, optional
        More entries for ``result.json``.

    Returns
    -------
    dict
        The content of ``result.json``.

    Raises
    ------
    ToolError
        When the part is unknown, a tool is missing or fails, or the component does not fit.
    """
    if device not in DEVICES:
        raise ToolError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    nextpnr, ecppack = find_tool("nextpnr-ecp5"), find_tool("ecppack")
    output.mkdir(parents=True, exist_ok=True)
    top = FpgaTop(component, unused)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix=".part-", dir=output) as name:
        folder = Path(name)

        start = tell("elaborate")
        (folder / "machine.il").write_text(merge_equal_modules(to_rtlil(top, "machine")))
        seconds["elaborate"] = since(start)

        start = tell("synthesise (Yosys)")
        run_yosys(SCRIPT, cwd=folder)
        (folder / "yosys.log").replace(output / "yosys.log")
        seconds["synthesise"] = since(start)

        start = tell(f"place and route (nextpnr, LFE5U-{device} {package} speed {speed}, seed {seed})")
        place = [nextpnr, f"--{device}", "--package", package, "--speed", str(speed), "--seed", str(seed)]
        place += ["--freq", str(TARGET_MHZ), "--timing-allow-fail", "--lpf-allow-unconstrained", "--router", ROUTER]
        place += ["--json", "machine.json", "--textcfg", "machine.config", "--report", "report.json"]
        is_routed = True
        try:
            run_tool(place, folder, folder / "nextpnr.log", seconds=60 * minutes)
        except ToolTimeout:
            is_routed = False
        except ToolError as error:
            raise ToolError(too_large(folder / "nextpnr.log", device) or str(error)) from None
        finally:
            (folder / "nextpnr.log").replace(output / "nextpnr.log")
        seconds["place_and_route"] = since(start)
        used = utilisation(output / "nextpnr.log")

        files = ["machine.json", "result.json"]
        fmax_mhz = None
        if is_routed:
            start = tell("write the bitstream (ecppack)")
            run_tool([ecppack, "machine.config", "machine.bit"], folder, folder / "ecppack.log")
            seconds["bitstream"] = since(start)
            report = json.loads((folder / "report.json").read_text())
            fmax_mhz = round(min(clock["achieved"] for clock in report["fmax"].values()), 2)
            files += ["machine.config", "machine.bit", "report.json"]

        result = {
            **(describe or {}),
            **{key: used.get(resource, (0, 0))[0] for resource, key in RESOURCES.items()},
            "available": {key: used.get(resource, (0, 0))[1] for resource, key in RESOURCES.items()},
            "fmax_mhz": fmax_mhz,
            "target_mhz": TARGET_MHZ,
            "wrapper_ff": top.added_flip_flops,
            "device": f"LFE5U-{device}",
            "package": package,
            "speed": speed,
            "seed": seed,
            "seconds": {stage: round(time, 1) for stage, time in seconds.items()},
            "place_command": shlex.join([Path(nextpnr).name, *place[1:]]),
        }
        (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        for file in files:
            (folder / file).replace(output / file)
    return result


def tell(stage: str) -> float:
    """Print what begins now, and give the time."""
    print(f"{stage} ...", flush=True)
    return time.monotonic()


def since(start: float) -> float:
    """Give the seconds since a time."""
    return time.monotonic() - start


def find_tool(name: str) -> str:
    """Find a tool as YoWASP's package beside this Python, or else on PATH.

    Raises
    ------
    ToolError
        When it is in neither place.
    """
    own = Path(sys.executable).parent / f"yowasp-{name}"
    found = str(own) if own.exists() else shutil.which(f"yowasp-{name}") or shutil.which(name)
    if found is None:
        raise ToolError(f"{name} must be beside {sys.executable} or on PATH: run `make setup`")
    return found


def run_tool(command: Sequence[str], folder: Path, log_path: Path, *, seconds: float = 0) -> None:
    """Run a tool in a folder with its output in a log, and print the lines that show how far it is; what ends this ends the tool too.

    Raises
    ------
    ToolError
        When it fails, with its own message.
    ToolTimeout
        When it takes longer than ``seconds``, which are forever where they are 0.
    """
    last, shown = "", 0.0
    with (
        open(log_path, "w", buffering=1) as log,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process,
    ):
        assert process.stdout is not None  # for the type checker: it is a pipe
        is_late = threading.Event()

        def stop() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        if seconds:
            timer.start()
        try:
            for line in process.stdout:
                log.write(line)
                if line.startswith("ERROR") or (process.poll() and line.strip()):
                    last = line.strip()
                if MILESTONE.match(line):
                    print(f"  {line.removeprefix('Info: ').rstrip(' .' + chr(10))}", flush=True)
                elif (found := ITERATION.match(line)) and time.monotonic() - shown > INTERVAL:
                    shown = time.monotonic()
                    print(f"    {found[1].strip()}", flush=True)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    if is_late.is_set():
        raise ToolTimeout(f"{Path(command[0]).name} must be ready within {seconds / 60:g} minutes, but was not")
    if process.returncode:
        tail = log_path.read_text().strip().splitlines()[-1:]
        raise ToolError(f"{Path(command[0]).name} failed: {last or ''.join(tail) or 'it said nothing'}")


def utilisation(log_path: Path) -> dict[str, tuple[int, int]]:
    """Return how many of each resource are used, and how many there are, from nextpnr's log."""
    found = re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)", log_path.read_text(), re.MULTILINE)
    return {name: (int(used), int(available)) for name, used, available in found}


def too_large(log_path: Path, device: str) -> str | None:
    """Say which resources of the device do not suffice, if that is why nextpnr failed."""
    lacking = [f"{count} {RESOURCES.get(name, name)} of {limit}" for name, (count, limit) in utilisation(log_path).items() if count > limit]
    if not lacking:
        return None
    return f"the machine must fit LFE5U-{device}, but takes {', '.join(lacking)}: choose a larger device or a smaller configuration"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the accelerator for an FPGA; give an exit status."""
    parser = argparse.ArgumentParser(prog="python -m crisp_hw.fpga", description="Build the accelerator for Lattice ECP5.")
    parser.add_argument("--config", default="tiny", help="preset, or a TOML or JSON file (%(default)s)")
    parser.add_argument("--device", choices=DEVICES, default="85k", help="size of the LFE5U part (%(default)s)")
    parser.add_argument("--package", default="CABGA756", help="its package (%(default)s)")
    parser.add_argument("--speed", type=int, choices=(6, 7, 8), default=6, help="its speed grade (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of place and route (%(default)s)")
    parser.add_argument("--minutes", type=float, default=0, help="what place and route may take; 0 is forever (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    options = parser.parse_args(arguments)
    try:
        from crisp_hw.accelerator import Accelerator

        config = Config.load(options.config)
        part = {"device": options.device, "package": options.package, "speed": options.speed, "seed": options.seed}
        command = ["python", "-m", "crisp_hw.fpga", "--config", options.config]
        command += [word for key, value in part.items() for word in (f"--{key}", str(value))]
        command += ["--output", str(options.output)]
        describe = {"name": options.config, "config": dataclasses.asdict(config), "command": shlex.join(command)}
        result = build(Accelerator(config), options.output, **part, unused=UNUSED, minutes=options.minutes, describe=describe)
    except CrispError as error:
        print(f"crisp_hw.fpga: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("crisp_hw.fpga: interrupted; what was there before is as it was", file=sys.stderr)
        return 130
    for key, limit in result["available"].items():
        print(f"{key:>5} {result[key]:7} of {limit}")
    print(" fmax unknown: not routed in time" if result["fmax_mhz"] is None else f" fmax {result['fmax_mhz']:7} MHz")
    print(f"{options.output / 'result.json'}: {sum(result['seconds'].values()):.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
