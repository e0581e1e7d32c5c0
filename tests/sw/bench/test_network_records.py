"""Records of whole networks, made and as they were measured."""

import json
from pathlib import Path

import pytest
from tests.sw.bench.made import record

from crisp.bench.network_cases import select_cases
from crisp.bench.network_records import read_records, record_key, with_speedups, write_records
from crisp.report import draw_networks


def test_speedups_need_the_same_machine() -> None:
    fast, slow = with_speedups([record(density=0.07, cycles=100), record()])
    assert fast["speedup_over_dense"] == 10
    assert slow["speedup_over_dense"] == 1
    assert fast["large_layer_speedups"] == {"layers": 1, "least": 10, "median": 10, "largest": 10}
    assert {layer["name"]: layer["speedup_over_dense"] for layer in fast["layers"]} == {"first": 10, "conv": 10, "small": 10, "fc": 10}
    assert slow["large_layer_speedups"] is None
    for other in (record(density=0.07, rtl="b"), record(density=0.07, config="edge"), record(density=0.07, batch=4)):
        alone = with_speedups([{**other, "layers": with_speedups([record(density=0.07), record()])[0]["layers"]}, record()])[0]
        assert alone["speedup_over_dense"] is None
        assert {layer["speedup_over_dense"] for layer in alone["layers"]} == {None}


def test_files_hold_everything(tmp_path: Path) -> None:
    records = [record(density=0.1, cycles=130), record("mobilenetv2-224"), record(batch=4), record()]
    write_records(tmp_path, records)
    assert [(entry["batch"], entry["asked_density"]) for entry in read_records(tmp_path)] == [(1, 1.0), (1, 0.1), (4, 1.0), (1, 1.0)]
    assert sorted(read_records(tmp_path), key=str) == sorted(with_speedups(records), key=str)
    assert len((tmp_path / "layers.json").read_text().splitlines()) == 2 + sum(len(entry["layers"]) for entry in records)
    assert (tmp_path / "networks.png").read_bytes().startswith(b"\x89PNG")
    assert all("layers" not in entry for entry in json.loads((tmp_path / "networks.json").read_text()))


def test_chart_without_a_dense_run(tmp_path: Path) -> None:
    draw_networks(with_speedups([record(density=0.1)]), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_measured() -> None:
    """Every record that is kept: bytes equal, predicted within 3%, all idle causes told."""
    records = read_records(Path(__file__).parents[3] / "results")
    assert {record_key(entry) for entry in records} >= {case.key for case in select_cases()}
    for entry in records:
        counters = entry["counters"]
        assert entry["bits_equal"], record_key(entry)
        assert entry["predicted_cycles"] == pytest.approx(entry["cycles"], rel=0.03), record_key(entry)
        assert entry["cycles"] == counters["active"] + sum(value for name, value in counters.items() if name.startswith("idle_"))
