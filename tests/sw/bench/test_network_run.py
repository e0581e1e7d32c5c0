"""A network from the beginning to the record, on the golden machine in place of the simulated one, with counters that it does not have."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.sw.bench.made import convolution_network

import crisp_sim.machine  # noqa: F401  imported while `describe_machine` is patched, it would keep what is patched
from crisp.bench import network_run
from crisp.bench.network_cases import Case
from crisp.bench.network_records import write_records
from crisp.bench.network_run import measure
from crisp.runtime import Accelerator


class CountingAccelerator(Accelerator):
    """A golden machine that tells counters."""

    def run(self, program, inputs, *, progress=None):
        result = super().run(program, inputs, progress=progress)
        layers = tuple(dataclasses.replace(layer, cycles=10, counters={"active": 5}) for layer in result.layers)
        return dataclasses.replace(result, counters={"cycles": 100, "bytes_read": 60, "bytes_written": 4}, layers=layers)


def use_golden(monkeypatch: pytest.MonkeyPatch, size: int, num_images: int) -> None:
    """Measure two convolutions, on golden machines."""
    images = np.random.default_rng(2).integers(-128, 128, (num_images, 32, size, size)).astype(np.float32)
    monkeypatch.setattr(network_run, "load_model", lambda case, seed: (b"model", 0.25, images))
    monkeypatch.setattr(network_run, "import_onnx", lambda model, config: convolution_network(32, size, 2))
    monkeypatch.setattr(network_run, "Accelerator", lambda config, **_: CountingAccelerator(config, backend="golden"))
    monkeypatch.setattr("crisp_sim.machine_build.describe_machine", lambda config: ("module machine;", None))


def test_a_network_from_the_beginning_to_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_golden(monkeypatch, 8, 1)
    case = Case(network="resnet20-fashion", density=0.1)
    entry = measure(case, 1)
    assert entry is not None
    assert entry["bits_equal"]
    assert entry["dram_bytes"] == 64
    assert entry["kept_macs"] == entry["dense_macs"] == 2 * 64 * 32 * 32
    assert entry["utilization"] == entry["kept_macs"] / 256 / 100
    assert (entry["axi_bits"], entry["memory"]["latency"], entry["weights"]) == (128, 40, "trained")
    assert [layer["shape"] for layer in entry["layers"]] == [[32, 32, 64]] * 2
    assert entry["command"].endswith("--networks resnet20-fashion --configs default --densities 0.1")
    write_records(tmp_path, [entry])
    # The same RTL and program are known; another program is not.
    assert measure(case, 1, entry["digests"]) is None
    assert measure(case, 1, {**entry["digests"], "program": "other"}) is not None


def test_a_batch_from_the_beginning_to_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are of all images, shapes of one, and weights are compulsory once."""
    use_golden(monkeypatch, 7, 3)
    entry = measure(Case(network="resnet20-fashion", density=0.1, batch=3), 1)
    assert entry is not None
    assert entry["bits_equal"]
    assert entry["batch"] == 3
    assert entry["kept_macs"] == entry["dense_macs"] == sum(layer["macs"] for layer in entry["layers"]) == 3 * 2 * 49 * 32 * 32
    assert [layer["shape"] for layer in entry["layers"]] == [[32, 32, 49]] * 2
    assert entry["least_bytes"] == 2 * 32 * 32 + 3 * 2 * 49 * 32
    assert entry["command"].endswith("--densities 0.1 --batches 3")
