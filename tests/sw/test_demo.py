"""The demonstration, whole, on images and a network that the test makes; and its options."""

import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from crisp.arch import Config, CrispError, Pattern, ProductLayer, Program, pack
from crisp.cli import app, main
from crisp.comparison import check_layers, run_images, up_to
from crisp.data import DataError, Dataset, Split
from crisp.demo import DemoError, DemoOptions, choose_classes, run_demo
from crisp.golden import Convolution
from crisp.golden.network import Network, Product
from crisp.models import resnet20, save_checkpoint
from crisp.prune import PruneOptions
from crisp.runtime import Accelerator, RunResult

NAMES = ("top", "trouser", "pullover", "dress")
QUICK = PruneOptions(iterations=1, saliency_images=64, iteration_images=0, final_images=64, batch=32)


@pytest.fixture
def dataset() -> Dataset:
    empty = Split(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    return Dataset(name="clothes", source="test", classes=NAMES, train=empty, test=empty)


def bars(count: int) -> Split:
    """Draw images whose class is where the bright bar is; small ones, for there is a whole machine to simulate."""
    labels = np.arange(count) % 10
    images = np.random.default_rng(count).integers(0, 60, (count, 14, 14), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label + 2 : label + 4] += 150
    return Split(images, labels)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "resnet20.safetensors"
    save_checkpoint(path, resnet20(num_classes=10), {"architecture": "resnet20", "num_classes": "10"})
    return path


def test_whole_demonstration(checkpoint, tmp_path) -> None:
    dataset = Dataset(name="bars", source="test", classes=tuple("0123456789"), train=bars(600), test=bars(200))
    options = DemoOptions(classes="1, 4, 8", config="tiny", images=2, checkpoint=checkpoint, output=tmp_path)
    console = Console(file=io.StringIO(), width=160)
    result = run_demo(options, console, dataset=dataset, prune_options=QUICK)
    record = json.loads((tmp_path / "demo.json").read_text())
    assert result.comparison.bits_equal
    assert record["bits_equal"] is True
    assert [layer["name"] for layer in record["layers"]][:3] == ["conv1", "layer1.0.conv1", "layer1.0.add"]
    assert len(record["layers"]) == 23  # 19 convolutions, two that halve the image besides, pooling, and fc
    assert all(layer["bits_equal"] for layer in record["layers"])
    for kind in ("dense", "sparse"):
        counters = record[f"counters_{kind}"]
        idle = sum(value for name, value in counters.items() if name.startswith("idle_"))
        assert counters["active"] + idle == counters["cycles"] == record[f"cycles_{kind}"]
        # Nothing runs before the first layer or after the last but what fetches commands and stores the output.
        assert 0 <= record[f"cycles_{kind}"] - sum(layer[f"cycles_{kind}"] for layer in record["layers"]) < 2 * 200
        assert counters["bytes_written"] == 2 * 4  # a word of M bytes an image, which holds the three outputs
    assert record["counters_dense"]["bytes_read"] > 2 * 270_000  # weights of ResNet-20, for each image
    assert 0.85 < record["sparsity"] < 0.95
    assert record["speedup"] == result.comparison.cycles_dense / result.comparison.cycles_sparse > 3
    assert 0 < record["utilization"] < 1
    assert set(record["accuracy"]) == {"dense_float", "dense_int8", "pruned_float", "pruned_int8"}
    assert record["layers"][0]["density"] == 1  # the first layer stays dense
    assert record["layers"][1]["kept_macs"] == record["layers"][1]["macs"] * record["layers"][1]["density"]
    assert record["config"]["on_chip_bytes"] > 0
    assert record["memory"]["latency"] == 40
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    assert "Every output byte of the RTL equals the golden model's, of the networks and of each layer." in console.file.getvalue()


def test_a_wrong_byte_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output of a run, or of one layer, that differs from the golden models' is found."""
    network = small_network()
    image = np.random.default_rng(1).integers(-128, 128, (1, 6, 6, 8), dtype=np.int8)
    accelerator = Accelerator(Config.preset("tiny"), backend="golden")
    (run,) = run_images(network, image, accelerator)
    operators = run.compilation.plan.operators
    assert run.bits_equal
    assert check_layers(network, operators, image, accelerator) == {"first": True, "second": True, "third": True}

    class Wrong(Accelerator):
        def run(self, program: Program, *arguments: object, **more: object) -> RunResult:
            result = super().run(program, *arguments, **more)
            if program.outputs[0].name == "second":
                result.outputs["second"][0, 5, 5, 7] ^= 1
            return result

    wrong = Wrong(accelerator.config, backend="golden")
    assert check_layers(network, operators, image, wrong) == {"first": True, "second": False, "third": True}
    assert not run_images(up_to(network, "second"), image, wrong)[0].bits_equal


def small_network() -> Network:
    """Return three layers one behind the other."""
    random = np.random.default_rng(5)
    nodes, source = [], "image"
    for name in ("first", "second", "third"):
        matrix = random.integers(-9, 10, (8, 72)).astype(np.int8)
        layer = ProductLayer(
            name=name,
            packed=pack(matrix, Pattern.dense(matrix.shape, 16, 4), rows=4),
            bias=np.zeros(8, np.int32),
            multiplier=np.full(8, 40000, np.uint16),
            shift=np.full(8, 22, np.uint8),
        )
        convolution = Convolution(channels=8, kernel=(3, 3), padding=(1, 1))
        nodes.append(Product(name=name, inputs=(source,), layer=layer, convolution=convolution, input_zero_point=0))
        source = name
    return Network(
        name="small", nodes=nodes, input_scale=1.0, input_zero_point=0, output_scale=1.0, output_zero_point=0, input_name="image"
    )


def test_wrong_bit_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        comparison = type("comparison", (), {"bits_equal": False})

    monkeypatch.setattr("crisp.demo.run_demo", lambda options, console: Broken)
    assert CliRunner().invoke(app, ["demo"]).exit_code == 1


@pytest.mark.parametrize(("asked", "shape"), [({}, (224, 1)), ({"size": 14, "channels": 3}, (14, 3))])
def test_folder_of_pictures(monkeypatch: pytest.MonkeyPatch, checkpoint, asked, shape) -> None:
    def stop(name, *, size, channels, tell):
        assert (name, size, channels) == ("pets", *shape)
        raise DataError(name, rule="must be", value="absent", remedy="stop")

    monkeypatch.setattr("crisp.demo.load_dataset", stop)
    arguments = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    result = CliRunner().invoke(app, ["demo", "--data", "pets", "--checkpoint", str(checkpoint), *arguments])
    assert str(result.exception) == "pets: must be, not absent; stop"


def test_classes_by_number_and_name(dataset: Dataset) -> None:
    assert choose_classes("3,0", dataset, 1) == (3, 0)
    assert choose_classes("Dress, top", dataset, 1) == (3, 0)


def test_classes_are_drawn_by_seed(dataset: Dataset) -> None:
    draws = {choose_classes("", dataset, seed) for seed in range(20)}
    assert choose_classes("", dataset, 5) == choose_classes("", dataset, 5)
    assert len(draws) > 1
    assert all(len(draw) == 3 for draw in draws)


def test_unknown_class(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"^clothes: classes must be numbers or names, not 'hat'; it has top, trouser, pullover, dress$"):
        choose_classes("top,hat", dataset, 1)


@pytest.mark.parametrize("text", ["0", "0,0", "0,9"])
def test_classes_that_cannot_be(text: str, dataset: Dataset) -> None:
    with pytest.raises(CrispError, match="clothes"):
        choose_classes(text, dataset, 1)


def test_no_images() -> None:
    with pytest.raises(DemoError, match=r"^images must be at least 1, not 0$"):
        DemoOptions(images=0)


def test_command_repeats_the_options() -> None:
    assert DemoOptions().command == "crisp demo"
    assert dataclasses.replace(DemoOptions(), classes="1,2", seed=4).command == "crisp demo --classes '1,2' --seed '4'"


def test_errors_are_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("sys.argv", ["crisp", "demo", "--config", "huge"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert message == "crisp: configuration 'huge' is neither a preset (tiny, default, duo, quad, edge, ecp5) nor a file"
