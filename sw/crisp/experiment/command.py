"""``crisp experiment``: do the runs of a file, tell what is done and left, and collect what came out."""

import dataclasses
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from crisp.data import Dataset
from crisp.progress import draw_progress

from .base import load_data
from .errors import ExperimentError
from .file import load_experiment
from .grid import Run, expand, filter_runs
from .locks import lock
from .plots import draw_all
from .pool import Outcome, run_all
from .records import collect, read_records, write_records
from .state import FOLDER, State

__all__ = ["ExperimentOptions", "run_experiment"]

#: Lines of a list of runs.
LISTED = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """What to do.

    Parameters
    ----------
    file : Path
        Experiment file.
    jobs : int
        Processes, of one thread each.
    only : sequence of str
        Filters, see `filter_runs`.
    listed : bool
        Only tell what is done and left.
    limit_seconds : float
        After so long no new run is begun; 0 for no limit.
    output : Path, optional
        Folder for records and pictures; by default the experiment's.
    folder : Path
        Folder of all experiments.
    known : Path, optional
        Records that came from elsewhere, such as ``results/pruning.json``; their runs count as done.
    """

    file: Path
    jobs: int = 1
    only: Sequence[str] = ()
    listed: bool = False
    limit_seconds: float = 0.0
    output: Path | None = None
    folder: Path = FOLDER
    known: Path | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ExperimentError(f"jobs must be at least 1, not {self.jobs}")
        if self.limit_seconds < 0:
            raise ExperimentError(f"limit_seconds must be 0 for no limit, or seconds, not {self.limit_seconds}")


def run_experiment(options: ExperimentOptions, console: Console, *, dataset: Dataset | None = None) -> list[dict[str, Any]]:
    """Do the runs of an experiment that are left, and write all of its records and pictures.

    Parameters
    ----------
    options : ExperimentOptions
        What to do.
    console : Console
        Where progress and tables go.
    dataset : Dataset, optional
        Images; by default what the file says.

    Returns
    -------
    list of dict
        Records of the experiment that there are now.

    Raises
    ------
    ExperimentError
        When the file or a filter is wrong, or runs failed; all others have been done.
    CrispError
        When data is absent or damaged.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that this one starts
    experiment = load_experiment(options.file)
    loaded = dataset or load_data(experiment.data, console.print)
    runs = expand(experiment, loaded)
    chosen = filter_runs(runs, options.only)
    state = State(options.folder / experiment.name, [] if options.known is None else read_records(options.known))
    if options.listed:
        list_runs(chosen, state, console, options.jobs)
        return collect(state.records(runs))
    if options.known is not None:
        console.print(f"{options.known}: {state.adopt(runs)} runs taken over")
    failures: list[str] = []
    busy: list[Run] = []
    left = [run for run in chosen if state.read(run) is None]

    def tell(outcome: Outcome) -> None:
        if outcome.failure:
            failures.append(outcome.failure)
            console.print(outcome.failure, style="red", markup=False)
        elif outcome.record is None:
            busy.append(outcome.run)
        else:
            console.print(summary(outcome.run, outcome.record), markup=False, highlight=False)

    console.print(f"{experiment.name}: {len(chosen)} runs, {len(chosen) - len(left)} of them done")
    with draw_progress(console) as progress:
        run_all(
            left,
            experiment,
            options.folder,
            jobs=options.jobs,
            seconds=options.limit_seconds,
            dataset=dataset,
            progress=progress,
            tell=tell,
        )
    output = options.output or state.folder
    with lock(state.folder / "records.lock"):
        records = collect(state.records(runs))
        write_records(records, output)
        draw_all(records, output)
    missing = len(chosen) - len(state.records(chosen))
    console.print(f"{experiment.name}: {len(records)} records in {output}; {missing or 'none'} of the chosen runs left")
    if busy:
        console.print(f"{len(busy)} runs were being done by other processes")
    if failures:
        raise ExperimentError(f"{len(failures)} runs failed: {'; '.join(failures)}")
    return records


def summary(run: Run, record: dict[str, Any]) -> str:
    """Return a line on what came out of a run."""
    if record["note"]:
        return f"{run}: out of reach: {record['note']}"
    return (
        f"{run}: {record['sparsity']:.1%} sparse, {record['cycles_dense'] / record['cycles']:.2f} times as fast, "
        f"float {record['top1_float']:.2%}, int8 {record['top1_int8']:.2%}, {record['seconds']:.0f} s"
    )


def list_runs(runs: Sequence[Run], state: State, console: Console, jobs: int) -> None:
    """Print what is done, who does what, and how long the rest will take."""
    done = {run.key: record for run in runs if (record := state.read(run)) is not None}
    table = Table("network", "classes", "method", "level", "N:M", "B", "seed", "state", title=f"{len(done)} of {len(runs)} runs done")
    left = [run for run in runs if run.key not in done]
    for run in left[:LISTED]:
        worker = state.worker(run)
        table.add_row(*run.words.values(), f"process {worker}" if worker else "to do")
    if len(left) > LISTED:
        table.add_row("...", *[""] * 6, f"{len(left) - LISTED} more")
    console.print(table)
    known, unknown = estimate(left, list(done.values()))
    hours = f"{known / jobs / 3600:.1f} hours with {jobs} job{'s' if jobs > 1 else ''}"
    console.print(f"{len(left)} left: about {hours}" + (f", besides {unknown} runs of networks that none is known of" if unknown else ""))


def estimate(left: Sequence[Run], done: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """Return the seconds that runs will take, by the median of those that are done of their network, and how many have none."""
    seconds: dict[str, list[float]] = {}
    for record in done:
        if record["seconds"]:
            seconds.setdefault(record["network"], []).append(record["seconds"])
    medians = {network: statistics.median(values) for network, values in seconds.items()}
    return sum(medians.get(run.network, 0.0) for run in left), sum(run.network not in medians for run in left)
