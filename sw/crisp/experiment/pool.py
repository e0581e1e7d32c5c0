"""All runs of an experiment: one after the other, or several processes at a time, each run by exactly one of them."""

import dataclasses
import multiprocessing
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from crisp.arch.errors import error_text
from crisp.data import Dataset
from crisp.progress import Report, silent

from .base import load_data
from .grid import Run
from .locks import try_lock
from .runner import execute
from .spec import Experiment
from .state import State

__all__ = ["Outcome", "run_all"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Parameters
    ----------
    run : Run
        Which.
    record : dict, optional
        Its record; none where another process works on it, or it failed.
    failure : str
        Why it failed; empty where it did not.
    """

    run: Run
    record: dict[str, Any] | None = None
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class Teller:
    """Reports of a run under the name of the worker that does it, so that there is one bar for each worker and not for each run.

    Parameters
    ----------
    report : callable
        Where reports go.
    worker : int
        Number of the worker.
    run : str
        The run.
    """

    report: Report
    worker: int
    run: str

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """Report."""
        self.report(f"worker {self.worker}", done, total, f"{self.run}: {stage}, {note}")


@dataclasses.dataclass(frozen=True)
class Messages:
    """Passes reports on to the process that draws them; what does not fit is lost, since the next one comes soon.

    Parameters
    ----------
    queue : Queue
        Where they go.
    """

    queue: Any

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        """Report."""
        try:
            self.queue.put_nowait((stage, done, total, note))
        except queue.Full:
            pass


def run_all(
    runs: Sequence[Run],
    experiment: Experiment,
    folder: Path,
    *,
    jobs: int = 1,
    seconds: float = 0.0,
    dataset: Dataset | None = None,
    progress: Report = silent,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Do runs that are not done, until none is left.

    Parameters
    ----------
    runs : sequence of Run
        Runs, in the order in which they are begun.
    experiment : Experiment
        What they belong to.
    folder : Path
        Folder of all experiments.
    jobs : int
        Processes; with 1 this one works itself.
    seconds : float
        After so long no new run is begun; 0 for no limit.
    dataset : Dataset, optional
        Images; by default each process loads what the experiment says.
    progress : callable
        Called after every step.
    tell : callable
        Called with the outcome of every run that was begun.

    Returns
    -------
    list of Outcome
        Of the runs that were begun. One that fails does not keep others from being done.
    """
    started = time.monotonic()
    state = State(folder / experiment.name)
    waiting = deque(run for run in runs if state.read(run) is None)
    outcomes: list[Outcome] = []

    def next_run() -> Run | None:
        if not waiting or (seconds and time.monotonic() - started > seconds):
            return None
        return waiting.popleft()

    def finished(outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(outcome)

    if jobs == 1:
        while (run := next_run()) is not None:
            finished(attempt(run, experiment, folder, dataset, Teller(progress, 1, str(run))))
        return outcomes
    context = multiprocessing.get_context("spawn")  # fork would copy PyTorch's threads in whatever state they are
    pool = ProcessPoolExecutor(jobs, mp_context=context)
    with context.Manager() as manager:
        messages = manager.Queue(1000)
        running: dict[Future[Outcome], tuple[int, Run]] = {}  # with the worker's number
        try:
            while True:
                while len(running) < jobs and (run := next_run()) is not None:
                    worker = min(set(range(1, jobs + 1)) - {number for number, _ in running.values()})
                    teller = Teller(Messages(messages), worker, str(run))
                    try:
                        future = pool.submit(attempt, run, experiment, folder, dataset, teller)
                    except BrokenProcessPool:  # told here before it is told of what runs in it
                        waiting.appendleft(run)
                        if running:
                            break
                        pool = ProcessPoolExecutor(jobs, mp_context=context)
                        continue
                    running[future] = worker, run
                if not running:
                    return outcomes
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                while not messages.empty():
                    progress(*messages.get())
                if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                    wait(running)  # one process has taken all with it
                    done, pool = set(running), ProcessPoolExecutor(jobs, mp_context=context)
                for future in done:
                    _, run = running.pop(future)
                    error = future.exception()
                    is_killed = isinstance(error, BrokenProcessPool)
                    finished(future.result() if error is None else Outcome(run, failure=f"{run}: {KILLED if is_killed else error}"))
        except BaseException:
            for process in list((pool._processes or {}).values()):  # a run takes minutes, and nothing of it would be kept
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


#: What is said of a run whose process is no more.
KILLED = "its process, or another beside it, was ended from outside, as where memory is short; start again with fewer jobs, and it goes on"


def attempt(run: Run, experiment: Experiment, folder: Path, dataset: Dataset | None, progress: Report) -> Outcome:
    """Do a run unless another process does, or has done it meanwhile."""
    torch.set_num_threads(1)
    state = State(folder / experiment.name)
    try:
        with try_lock(state.lock_path(run)) as is_ours:
            record = state.read(run) if is_ours else None
            if is_ours and record is None:
                record = execute(run, experiment, dataset or cached_data(experiment), folder, progress)
                state.write(run, record)
    except Exception as error:  # also what nobody foresaw must not keep other runs from being done
        return Outcome(run, failure=f"{run}: {error_text(error)}")
    return Outcome(run, record)


#: Images that a process has loaded, by what was asked for.
LOADED: dict[Any, Dataset] = {}


def cached_data(experiment: Experiment) -> Dataset:
    """Return the images of an experiment, loaded once in a process."""
    if experiment.data not in LOADED:
        LOADED.clear()
        LOADED[experiment.data] = load_data(experiment.data)
    return LOADED[experiment.data]
