"""Whole networks, several at a time in processes of their own; each record is written as soon as there is one."""

import multiprocessing
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from rich.console import Console

from crisp.arch.errors import error_text
from crisp.progress import Report, draw_progress

from .errors import BenchError
from .network_cases import Case
from .network_records import read_records, record_key, write_records
from .network_run import measure

__all__ = ["bench_cases"]


class Teller:
    """Reports another process how far work has come.

    Parameters
    ----------
    messages : queue
        Of the other process.
    """

    def __init__(self, messages: "queue.Queue[tuple[str, int, int, str]]") -> None:
        self.messages = messages

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        self.messages.put((stage, done, total, note))


def measure_safely(case: Case, seed: int, known: Mapping[str, str] | None, tell: Report) -> tuple[dict[str, Any] | None, str | None]:
    """Return what `measure` returns, or what went wrong: errors with more than a text do not come through between processes."""
    try:
        return measure(case, seed, known, tell), None
    except Exception as error:  # also what nobody foresaw must not keep other cases from being measured
        return None, f"{case}: {error_text(error)}"


def bench_cases(cases: Sequence[Case], output: Path, console: Console, *, seed: int = 1, jobs: int = 1) -> None:
    """Measure cases, and write each record as soon as there is one.

    ``networks.json`` has the records, ``layers.json`` their layers, one a line, ``networks.png`` a chart.

    Parameters
    ----------
    cases : sequence of Case
        What to measure; what was measured with this RTL and this program is left out.
    output : Path
        Folder for the results.
    console : Console
        Where progress goes.
    seed : int
        Of the weights, where they are not trained.
    jobs : int
        Processes that run at a time.

    Raises
    ------
    BenchError
        When a case could not be run, or a byte differs; all others have been run.
    """
    records = {record_key(record): record for record in read_records(output)}
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")  # fork would copy PyTorch's threads in whatever state they are
    with (
        context.Manager() as manager,
        draw_progress(console) as progress,
        ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        messages = manager.Queue()
        running = {}
        for case in cases:
            known = records[case.key]["digests"] if case.key in records and records[case.key]["bits_equal"] else None
            running[pool.submit(measure_safely, case, seed, known, Teller(messages))] = case
        try:
            while running:
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                while not messages.empty():
                    progress(*messages.get())
                for future in done:
                    case = running.pop(future)
                    record, failure = future.result()
                    failures += [failure] if failure else []
                    if record is None:
                        continue
                    records[case.key] = record
                    write_records(output, records.values())
                    console.print(summary(case, record))
                    failures += [] if record["bits_equal"] else [f"{case}: bytes differ from the golden machine's"]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise BenchError("; ".join(failures))


def summary(case: Case, record: dict[str, Any]) -> str:
    """Return a line on a record."""
    each = "" if case.batch == 1 else f" ({record['cycles'] // case.batch:,} an image)"
    return (
        f"{case}: {record['cycles']:,} cycles{each}, utilization {record['utilization']:.1%}, "
        f"{record['dram_bytes'] / record['compulsory_bytes']:.2f} of the compulsory bytes, {record['simulation_seconds']:.0f} s, "
        f"{'every byte equal' if record['bits_equal'] else 'BYTES DIFFER'}"
    )
