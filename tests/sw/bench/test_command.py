"""Benchmarks by name, and what they may be told."""

import pytest
from rich.console import Console

from crisp.bench.command import BENCHMARKS, BenchOptions, parse_batch, parse_density, run_benchmarks
from crisp.bench.errors import BenchError


def test_options_that_are_wrong() -> None:
    with pytest.raises(BenchError, match=r"^density must be dense, a share such as 0\.08, or a percentage such as 8%, not 'thin'$"):
        parse_density("thin")
    with pytest.raises(BenchError, match=r"^batch must be a number of images of at least 1, not '0'$"):
        parse_batch("0")
    with pytest.raises(BenchError, match=rf"^benchmark must be one of {', '.join(BENCHMARKS)}, not 'speed'$"):
        BenchOptions(only=["speed"])
    with pytest.raises(BenchError, match=r"^jobs must be at least 1, not 0$"):
        BenchOptions(jobs=0)
    assert [parse_density(text) for text in ("dense", "10%", "0.08")] == [1.0, 0.1, 0.08]
    assert [parse_batch(text) for text in ("1", "16")] == [1, 16]


def test_benchmarks_run_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    for name in BENCHMARKS:
        monkeypatch.setitem(BENCHMARKS, name, lambda bench, console, name=name: ran.append(name))
    run_benchmarks(BenchOptions(only=["networks", "demo"]), Console(quiet=True))
    assert ran == ["networks", "demo"]
    run_benchmarks(BenchOptions(), Console(quiet=True))
    assert ran[2:] == list(BENCHMARKS)
