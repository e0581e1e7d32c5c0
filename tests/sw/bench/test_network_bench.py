"""Whole networks in processes."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.sw.bench.made import record

from crisp.arch import CrispError
from crisp.bench import network_bench
from crisp.bench.errors import BenchError
from crisp.bench.network_bench import bench_cases
from crisp.bench.network_cases import select_cases
from crisp.bench.network_records import read_records


def test_processes_write_as_they_go_and_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of this process's threads stands in for processes, since what is patched here is not in others."""
    from concurrent.futures import ThreadPoolExecutor

    answers = {1.0: record(), 0.1: CrispError("does not fit"), 0.08: {**record(density=0.08, cycles=90), "bits_equal": False}}
    seen = {}

    def answer(case, seed, known, tell):
        seen[case.density] = known
        tell(str(case), 1, 1, "done")
        if isinstance(answers[case.density], CrispError):
            raise answers[case.density]
        return answers[case.density]

    monkeypatch.setattr(network_bench, "measure", answer)
    monkeypatch.setattr(network_bench, "ProcessPoolExecutor", lambda jobs, **_: ThreadPoolExecutor(jobs))
    monkeypatch.setattr(network_bench, "summary", lambda case, entry: f"{case} {entry['cycles']}")
    cases = select_cases(["resnet20-fashion"], ["default"])
    console = Console(file=io.StringIO(), width=140)
    message = "resnet20-fashion, default, 2:4 10%: does not fit; resnet20-fashion, default, 2:4 8%: bytes differ from the golden machine's"
    for expected in ({1.0: None, 0.1: None, 0.08: None}, {1.0: {"rtl": "a", "program": "p"}, 0.1: None, 0.08: None}):
        with pytest.raises(BenchError) as failure:
            bench_cases(cases, tmp_path, console, jobs=2)
        assert set(str(failure.value).split("; ")) == set(message.split("; "))
        assert seen == expected
    assert [entry["asked_density"] for entry in read_records(tmp_path)] == [1.0, 0.08]
    assert "resnet20-fashion, default, dense 1000" in console.file.getvalue()
