"""`crisp bench`: runs benchmarks by name, and writes each result with where it came from."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from crisp.arch import Config
from crisp.report import provenance, write_json

from .errors import BenchError

__all__ = ["BENCHMARKS", "BenchOptions", "parse_batch", "parse_density", "run_benchmarks"]

SEED = 1

#: Presets that fit the device.
FPGA_CONFIGS = ("tiny", "ecp5")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What to measure.

    Parameters
    ----------
    output : Path
        Folder for the results.
    only : sequence of str
        Names of benchmarks; empty runs all.
    networks, configs : sequence of str
        Networks and presets that the benchmark ``networks`` runs; empty takes those that the README shows. Presets that ``fpga`` builds.
    densities : sequence of float
        Shares of the weights that stay there; 1 prunes none.
    batches : sequence of int
        Images that each program computes; empty takes one.
    jobs : int
        Networks that run at a time.
    minutes : float
        What place and route may take; where they do not suffice, area is all that ``fpga`` keeps. 0 is forever.
    """

    output: Path = Path("results")
    only: Sequence[str] = ()
    networks: Sequence[str] = ()
    configs: Sequence[str] = ()
    densities: Sequence[float] = ()
    batches: Sequence[int] = ()
    jobs: int = 1
    minutes: float = 0

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in BENCHMARKS:
                raise BenchError(f"benchmark must be one of {', '.join(BENCHMARKS)}, not {name!r}")
        if self.jobs < 1:
            raise BenchError(f"jobs must be at least 1, not {self.jobs}")


def parse_density(text: str) -> float:
    """Read a density: ``dense``, a share such as ``0.08``, or a percentage such as ``8%``.

    Raises
    ------
    BenchError
        When it is neither.
    """
    if text == "dense":
        return 1.0
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise BenchError(f"density must be dense, a share such as 0.08, or a percentage such as 8%, not {text!r}") from error


def parse_batch(text: str) -> int:
    """Read how many images a program computes.

    Raises
    ------
    BenchError
        When it is no number of images.
    """
    if not text.isdecimal() or int(text) < 1:
        raise BenchError(f"batch must be a number of images of at least 1, not {text!r}")
    return int(text)


def bench_demo(bench: BenchOptions, console: Console) -> None:
    """Run the demonstration and keep its record and chart."""
    from crisp.demo import DemoOptions, run_demo

    options = DemoOptions(seed=SEED)
    result = run_demo(options, console)
    write_json(bench.output / "demo.json", result.record)
    shutil.copyfile(options.output / "demo.png", bench.output / "demo.png")


def bench_networks(bench: BenchOptions, console: Console) -> None:
    """Run whole networks, dense and sparse, on the RTL; about an hour on two cores, all of them. What was measured before is left out."""
    from crisp.bench.network_bench import bench_cases
    from crisp.bench.network_cases import select_cases

    cases = select_cases(bench.networks, bench.configs, bench.densities, bench.batches)
    bench_cases(cases, bench.output, console, seed=SEED, jobs=bench.jobs)


def bench_steady_state(bench: BenchOptions, console: Console) -> None:
    """Measure cycles against steps for every N:M and share of absent blocks, with one and with two rows drained a cycle."""
    from crisp.bench.steady_state import measure_steady_state
    from crisp.runtime import Accelerator

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
    write_json(bench.output / "steady_state.json", {**provenance("crisp bench --only steady_state", SEED), "records": records})


def bench_simulation(bench: BenchOptions, console: Console) -> None:
    """Measure how many cycles of the 16x16 machine a second simulates."""
    from crisp.bench.simulation_speed import measure_speed

    record = measure_speed(Config.preset("default"), seed=SEED)
    console.print(record)
    write_json(bench.output / "simulation.json", {**record, **provenance("crisp bench --only simulation", SEED)})


def bench_pruning(bench: BenchOptions, console: Console) -> None:
    """Measure how long the masks of ResNet-50 take to choose, and how many images a second pruning trains on, on one core."""
    import torch

    from crisp.bench.pruning_speed import measure_pruning

    torch.set_num_threads(1)
    record = measure_pruning(seed=SEED)
    console.print(record)
    write_json(bench.output / "pruning_speed.json", {**record, **provenance("crisp bench --only pruning", SEED)})


def bench_fpga(bench: BenchOptions, console: Console) -> None:
    """Place and route the configurations that fit an ECP5, and keep area and clock rate."""
    from crisp_hw.accelerator import Accelerator
    from crisp_hw.fpga import UNUSED, build

    for name in bench.configs or FPGA_CONFIGS:
        config = Config.preset(name)
        console.print(f"{name} for ECP5")
        command = f"crisp bench --only fpga --configs {name}" + f" --minutes {bench.minutes:g}" * (bench.minutes > 0)
        describe = {"name": name, "config": dataclasses.asdict(config)}
        output = Path("build/fpga") / name
        result = build(Accelerator(config), output, seed=SEED, unused=UNUSED, minutes=bench.minutes, describe=describe)
        console.print({key: result[key] for key in ("lut4", "ff", "dsp", "bram", "fmax_mhz")})
        write_json(bench.output / f"fpga-{name}.json", {**result, **provenance(command, SEED)})


#: Benchmarks by name, in the order in which they run.
BENCHMARKS: dict[str, Callable[[BenchOptions, Console], None]] = {
    "steady_state": bench_steady_state,
    "simulation": bench_simulation,
    "pruning": bench_pruning,
    "demo": bench_demo,
    "networks": bench_networks,
    "fpga": bench_fpga,
}


def run_benchmarks(bench: BenchOptions, console: Console) -> None:
    """Run benchmarks; each writes its result as soon as it has it.

    Parameters
    ----------
    bench : BenchOptions
        Which, and how.
    console : Console
        Where progress goes.

    Raises
    ------
    CrispError
        When one could not be run.
    """
    for name in bench.only or BENCHMARKS:
        console.rule(name)
        BENCHMARKS[name](bench, console)
