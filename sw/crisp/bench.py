"""Benchmarks: everything that the README's tables show, measured and written with where it came from."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from crisp.arch import Config, CrispError
from crisp.report import provenance, write_json

__all__ = ["BENCHMARKS", "BenchError", "run_benchmarks"]

SEED = 1

#: Presets that fit the device.
FPGA_CONFIGS = ("tiny", "ecp5")


class BenchError(CrispError):
    """No benchmark has the name that was asked for."""


def bench_demo(output: Path, console: Console) -> None:
    """Run the demonstration and keep its record and chart."""
    from crisp.demo import DemoOptions, run_demo

    options = DemoOptions(seed=SEED)
    result = run_demo(options, console)
    write_json(output / "demo.json", result.record)
    shutil.copyfile(options.output / "demo.png", output / "demo.png")


def bench_steady_state(output: Path, console: Console) -> None:
    """Measure cycles against steps for every N:M and share of absent blocks, with one and with two rows drained a cycle."""
    from crisp.runtime import Accelerator
    from crisp.steady_state import measure_steady_state

    records: list[dict[str, Any]] = []
    for drain_rows in (1, 2):
        config = dataclasses.replace(Config.preset("default"), drain_rows=drain_rows)
        choices = [*range(1, config.group_size + 1), "mixed"]
        for record in measure_steady_state(Accelerator(config, log=console.print), choices, seed=SEED):
            records.append({"config": dataclasses.asdict(config), **record.to_dict()})
            console.print(
                f"{drain_rows} rows a cycle, {record.n:>5}:{record.group}, {record.absent:4.0%} absent: {record.steps:6} steps, "
                f"{record.bubbles:5} bubbles, utilization {record.utilization:.1%}"
            )
    write_json(output / "steady_state.json", {**provenance("crisp bench --only steady_state", SEED), "records": records})


def bench_simulation(output: Path, console: Console) -> None:
    """Measure how many cycles of the 16x16 machine a second simulates."""
    from crisp.simulation_speed import measure_speed

    record = measure_speed(Config.preset("default"), seed=SEED)
    console.print(record)
    write_json(output / "simulation.json", {**record, **provenance("crisp bench --only simulation", SEED)})


def bench_fpga(output: Path, console: Console) -> None:
    """Place and route the configurations that fit an ECP5, and keep area and clock rate."""
    from crisp_hw.accelerator import Accelerator
    from crisp_hw.fpga import UNUSED, build

    for name in FPGA_CONFIGS:
        config = Config.preset(name)
        console.print(f"{name} for ECP5")
        describe = {"name": name, "config": dataclasses.asdict(config)}
        result = build(Accelerator(config), Path("build/fpga") / name, seed=SEED, unused=UNUSED, describe=describe)
        console.print({key: result[key] for key in ("lut4", "ff", "dsp", "bram", "fmax_mhz")})
        write_json(output / f"fpga-{name}.json", {**result, **provenance("crisp bench --only fpga", SEED)})


#: Benchmarks by name, in the order in which they run.
BENCHMARKS: dict[str, Callable[[Path, Console], None]] = {
    "steady_state": bench_steady_state,
    "simulation": bench_simulation,
    "demo": bench_demo,
    "fpga": bench_fpga,
}


def run_benchmarks(output: Path, names: Sequence[str], console: Console) -> None:
    """Run benchmarks; each writes its result as soon as it has it.

    Parameters
    ----------
    output : Path
        Folder for the results.
    names : sequence of str
        Which; empty runs all.
    console : Console
        Where progress goes.

    Raises
    ------
    BenchError
        When a name is unknown.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise BenchError(f"benchmark must be one of {', '.join(BENCHMARKS)}, not {name!r}")
    for name in names or BENCHMARKS:
        console.rule(name)
        BENCHMARKS[name](output, console)
