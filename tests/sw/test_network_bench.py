"""Records of whole networks: what is measured, what counts as compulsory, what is measured anew."""

import dataclasses
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from crisp import network_bench
from crisp.arch import Config, ConfigError, CrispError, Pattern, ProductLayer, pack
from crisp.bench import BENCHMARKS, BenchError, BenchOptions, parse_batch, parse_density, run_benchmarks
from crisp.compile.compile import schedule_network
from crisp.compile.selection import kept_weights
from crisp.data import Split
from crisp.golden import Convolution
from crisp.golden.network import Network, Product
from crisp.network_bench import (
    Case,
    bench_cases,
    compulsory_bytes,
    least_bytes,
    measure,
    read_records,
    record_key,
    select_cases,
    with_speedups,
    write_records,
)
from crisp.networks import NetworkError
from crisp.report import draw_networks
from crisp.runtime import Accelerator


def convolution_network(channels: int, size: int, layers: int, *, density: float = 1.0) -> Network:
    """Return 1x1 convolutions one behind the other."""
    nodes, source = [], "image"
    for number in range(layers):
        blocks = np.full((channels // 16, channels // 16), 4 if density == 1 else 0, np.uint8)
        if density < 1:
            blocks[:, 0] = 2
        pattern = Pattern((channels, channels), 16, 4, blocks)
        weights = np.ones((channels, channels // 4, 4), np.int8)
        limit = np.repeat(np.repeat(blocks, 16, axis=0), 4, axis=1)
        weights[np.arange(4) >= limit[:, :, None]] = 0
        layer = ProductLayer(
            name=f"layer{number}",
            packed=pack(weights.reshape(channels, channels), pattern, rows=16),
            bias=np.zeros(channels, np.int32),
            multiplier=np.full(channels, 40000, np.uint16),
            shift=np.full(channels, 22, np.uint8),
        )
        nodes.append(
            Product(name=layer.name, inputs=(source,), layer=layer, convolution=Convolution(channels=channels), input_zero_point=0)
        )
        source = layer.name
    return Network(
        name="net", nodes=nodes, input_scale=1.0, input_zero_point=0, output_scale=1.0, output_zero_point=0, input_name="image",
        image=(size, size, channels),
    )  # fmt: skip


def record(
    network: str = "resnet20-fashion", config: str = "default", density: float = 1.0, cycles: int = 1000, rtl: str = "a", batch: int = 1
) -> dict:
    shapes = {"first": [64, 64, 49], "conv": [64, 64, 49], "small": [64, 32, 49], "fc": [64, 64, 1]}
    layers = [{"name": name, "kind": "product", "shape": shape, "macs": 100, "cycles": cycles // 10} for name, shape in shapes.items()]
    layers = [{**layer, "kept_macs": 100 if layer["name"] == "first" else round(100 * density)} for layer in layers]
    return {
        "network": network,
        "config": config,
        "batch": batch,
        "pattern": "dense" if density == 1 else "2:4",
        "asked_density": density,
        "density": density,
        "cycles": cycles,
        "dense_macs": 1000,
        "kept_macs": round(1000 * density),
        "utilization": 0.5,
        "bits_equal": True,
        "digests": {"rtl": rtl, "program": "p"},
        "layers": layers,
    }


def test_everything_that_the_readme_shows_is_measured() -> None:
    cases = select_cases()
    assert len({case.key for case in cases}) == len(cases)
    counts = Counter((case.network, case.config) for case in cases if case.batch == 1)
    assert counts["resnet50-224", "default"] == counts["resnet50-224", "edge"] == 4
    assert counts["vgg16-224", "default"] == 3
    assert counts["vgg16-224", "edge"] == counts["resnet50-224", "quad"] == 2
    assert cases[0] == Case(network="vgg16-224")  # the longest run first
    assert {case.density for case in cases} == {1.0, 0.1, 0.08, 0.07}


def test_what_is_named_is_measured() -> None:
    assert select_cases(["vgg16-224"], ["edge"], [0.07]) == [Case(network="vgg16-224", config="edge", density=0.07)]
    assert {case.config for case in select_cases(["vgg16-224"])} == {"default", "edge"}
    assert {case.network for case in select_cases(configs=["duo"])} == {"resnet50-224"}
    assert {case.batch for case in select_cases(["vgg16-224"])} == {1, 4}
    assert {case.config for case in select_cases(batches=[4])} == {"default"}
    assert str(select_cases(["resnet50-32"], ["default"], [0.1])[0]) == "resnet50-32, default, 2:4 10%"
    cases = select_cases(["resnet50-32"], ["default"], [0.1], [1, 4])
    assert [str(case) for case in cases] == ["resnet50-32, default, 2:4 10%", "resnet50-32, default, 2:4 10%, 4 images"]
    assert [parse_batch(text) for text in ("1", "16")] == [1, 16]


def test_what_cannot_be_measured() -> None:
    with pytest.raises(NetworkError, match=r"^network must be one of resnet20-fashion, .*, not 'alexnet'$"):
        select_cases(["alexnet"])
    with pytest.raises(ConfigError, match="preset must be one of"):
        select_cases(configs=["huge"])
    with pytest.raises(NetworkError, match="density must be more than 0"):
        select_cases(densities=[0.7])
    with pytest.raises(BenchError, match=r"^density must be dense, a share such as 0\.08, or a percentage such as 8%, not 'thin'$"):
        parse_density("thin")
    with pytest.raises(BenchError, match=r"^batch must be a number of images of at least 1, not '0'$"):
        parse_batch("0")
    with pytest.raises(BenchError, match=r"^batch must be at least 1 image, not 0$"):
        select_cases(batches=[0])
    with pytest.raises(BenchError, match=rf"^benchmark must be one of {', '.join(BENCHMARKS)}, not 'speed'$"):
        BenchOptions(only=["speed"])
    with pytest.raises(BenchError, match=r"^jobs must be at least 1, not 0$"):
        BenchOptions(jobs=0)
    assert [parse_density(text) for text in ("dense", "10%", "0.08")] == [1.0, 0.1, 0.08]


def test_compulsory_bytes_are_weights_ends_and_what_is_too_large() -> None:
    config = Config.preset("default")
    network = convolution_network(32, 8, 3)
    compilation = schedule_network(network, config, (8, 8, 32))
    assert compulsory_bytes(compilation) == 3 * 32 * 32 + 2 * 8 * 8 * 32
    sparse = schedule_network(convolution_network(32, 8, 3, density=0.25), config, (8, 8, 32))
    # Half of the values of half of the blocks, and for every four values a byte of offsets.
    assert compulsory_bytes(sparse) == 3 * (256 + 64) + 2 * 8 * 8 * 32
    tight = dataclasses.replace(config, activation_buffer_depth=16)  # 1 KiB, a tensor has two
    large = schedule_network(network, tight, (8, 8, 32))
    assert least_bytes(large) == 3 * 32 * 32 + 2 * 8 * 8 * 32
    assert compulsory_bytes(large) == 3 * 32 * 32 + 2 * 8 * 8 * 32 + 2 * 2 * 8 * 8 * 32


def test_what_fills_k_up_is_no_weight() -> None:
    """Nine taps of one channel lie in three words of four: three of four places are all that there are."""
    convolution = Convolution(channels=1, kernel=(3, 3))
    for n, kept in ((4, 9), (3, 9), (2, 6)):
        assert kept_weights(Pattern((5, 12), 16, 4, np.full((1, 1), n, np.uint8)), convolution) == 5 * kept


def test_speedups_need_the_same_machine() -> None:
    fast, slow = with_speedups([record(density=0.07, cycles=100), record()])
    assert fast["speedup_over_dense"] == 10
    assert slow["speedup_over_dense"] == 1
    assert fast["large_layer_speedups"] == {"layers": 1, "least": 10, "median": 10, "largest": 10}
    assert {layer["name"]: layer["speedup_over_dense"] for layer in fast["layers"]} == {"first": 10, "conv": 10, "small": 10, "fc": 10}
    assert slow["large_layer_speedups"] is None
    for other in (record(density=0.07, rtl="b"), record(density=0.07, config="edge"), record(density=0.07, batch=4)):
        assert with_speedups([other, record()])[0]["speedup_over_dense"] is None


def test_files_hold_everything(tmp_path: Path) -> None:
    records = [record(density=0.1, cycles=130), record("mobilenetv2-224"), record(batch=4), record()]
    write_records(tmp_path, records)
    assert [(entry["batch"], entry["asked_density"]) for entry in read_records(tmp_path)] == [(1, 1.0), (1, 0.1), (4, 1.0), (1, 1.0)]
    assert sorted(read_records(tmp_path), key=str) == sorted(with_speedups(records), key=str)
    assert len((tmp_path / "layers.json").read_text().splitlines()) == 2 + sum(len(entry["layers"]) for entry in records)
    assert (tmp_path / "networks.png").read_bytes().startswith(b"\x89PNG")
    assert all("layers" not in entry for entry in json.loads((tmp_path / "networks.json").read_text()))


def test_a_network_from_the_beginning_to_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the golden machine in place of the simulated one, with counters that it does not have."""

    class Counting(Accelerator):
        def run(self, program, inputs, *, progress=None):
            result = super().run(program, inputs, progress=progress)
            counters = {"cycles": 100, "bytes_read": 60, "bytes_written": 4}
            layers = tuple(dataclasses.replace(layer, cycles=10, counters={"active": 5}) for layer in result.layers)
            return dataclasses.replace(result, counters=counters, layers=layers)

    image = np.random.default_rng(2).integers(-128, 128, (1, 32, 8, 8)).astype(np.float32)
    network = convolution_network(32, 8, 2)
    monkeypatch.setattr(network_bench, "load_model", lambda case, seed: (b"model", 0.25, image))
    monkeypatch.setattr(network_bench, "import_onnx", lambda model, config: network)
    monkeypatch.setattr(network_bench, "Accelerator", lambda config, **_: Counting(config, backend="golden"))
    monkeypatch.setattr("crisp_sim.machine_build.describe_machine", lambda config: ("module machine;", None))
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

    class Counting(Accelerator):
        def run(self, program, inputs, *, progress=None):
            result = super().run(program, inputs, progress=progress)
            layers = tuple(dataclasses.replace(layer, cycles=10) for layer in result.layers)
            return dataclasses.replace(result, counters={"cycles": 100, "bytes_read": 60, "bytes_written": 4}, layers=layers)

    images = np.random.default_rng(2).integers(-128, 128, (3, 32, 7, 7)).astype(np.float32)
    network = convolution_network(32, 7, 2)
    monkeypatch.setattr(network_bench, "load_model", lambda case, seed: (b"model", 0.25, images))
    monkeypatch.setattr(network_bench, "import_onnx", lambda model, config: network)
    monkeypatch.setattr(network_bench, "Accelerator", lambda config, **_: Counting(config, backend="golden"))
    monkeypatch.setattr("crisp_sim.machine_build.describe_machine", lambda config: ("module machine;", None))
    entry = measure(Case(network="resnet20-fashion", density=0.1, batch=3), 1)
    assert entry is not None
    assert entry["bits_equal"]
    assert entry["batch"] == 3
    assert entry["kept_macs"] == entry["dense_macs"] == sum(layer["macs"] for layer in entry["layers"]) == 3 * 2 * 49 * 32 * 32
    assert [layer["shape"] for layer in entry["layers"]] == [[32, 32, 49]] * 2
    assert entry["least_bytes"] == 2 * 32 * 32 + 3 * 2 * 49 * 32
    assert entry["command"].endswith("--densities 0.1 --batches 3")


def test_built_networks_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a network, density and seed; each is built once."""
    built = []

    class Built:
        quantized = None

        def __init__(self, density: float) -> None:
            self.density = density

    def build(name, sparsity, *, seed, images):
        assert len(images) == network_bench.CALIBRATION_IMAGES
        built.append((name, 1.0 if sparsity is None else sparsity.density, seed))
        return Built(built[-1][1] + 0.001)

    pictures = Split(np.random.default_rng(5).integers(0, 256, (20, 32, 32, 3), np.uint8), np.zeros(20, np.int64))
    monkeypatch.setattr(network_bench, "MODELS", tmp_path)
    monkeypatch.setattr(network_bench, "build_network", build)
    monkeypatch.setattr(network_bench, "load_pictures", lambda size: pictures)
    monkeypatch.setattr(network_bench, "export_onnx", lambda quantized, **_: repr(built[-1]).encode())
    cases = [Case(network=name, density=density) for name in ("resnet50-32", "vgg16-32") for density in (1.0, 0.1, 0.08, 0.07)]
    first, second = ([network_bench.load_model(case, seed) for case in cases for seed in (1, 2)] for _ in range(2))
    assert len(built) == len(set(built)) == 16
    for before, after in zip(first, second, strict=True):
        assert before[:2] == after[:2]
        assert before[2].shape == (1, 3, 32, 32)
    many = network_bench.load_model(Case(network="vgg16-32", batch=14), 1)[2]
    assert many.shape == (14, 3, 32, 32)
    assert (many[0] == second[8][2]).all()
    assert (many[12] == many[0]).all()  # 12 pictures are left
    assert (many[1:12] != many[0]).any(axis=(1, 2, 3)).all()
    assert first[2][:2] == (b"('resnet50-32', 0.1, 1)", 0.101)


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


def test_benchmarks_run_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    for name in BENCHMARKS:
        monkeypatch.setitem(BENCHMARKS, name, lambda bench, console, name=name: ran.append(name))
    run_benchmarks(BenchOptions(only=["networks", "demo"]), Console(quiet=True))
    assert ran == ["networks", "demo"]
    run_benchmarks(BenchOptions(), Console(quiet=True))
    assert ran[2:] == list(BENCHMARKS)


def test_chart_without_a_dense_run(tmp_path: Path) -> None:
    draw_networks(with_speedups([record(density=0.1)]), tmp_path / "chart.png")
    assert re.match(rb"\x89PNG", (tmp_path / "chart.png").read_bytes())


def test_what_was_measured() -> None:
    """Every record that is kept: bytes equal, predicted within 3%, all idle causes told."""
    records = read_records(Path(__file__).parents[2] / "results")
    assert {record_key(record) for record in records} >= {case.key for case in select_cases()}
    for record in records:
        counters = record["counters"]
        assert record["bits_equal"], record_key(record)
        assert record["predicted_cycles"] == pytest.approx(record["cycles"], rel=0.03), record_key(record)
        assert record["cycles"] == counters["active"] + sum(value for name, value in counters.items() if name.startswith("idle_"))
