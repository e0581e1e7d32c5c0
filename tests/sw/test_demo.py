"""The demonstration, whole, on images and a network that the test makes; and its options."""

import dataclasses
import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from crisp.arch import CrispError
from crisp.cli import app, main
from crisp.data import Dataset, Split
from crisp.demo import DemoError, DemoOptions, choose_classes, run_demo
from crisp.models import resnet20, save_checkpoint
from crisp.prune import PruneOptions

NAMES = ("top", "trouser", "pullover", "dress")
QUICK = PruneOptions(iterations=1, saliency_images=64, iteration_images=0, final_images=64, batch=32)


@pytest.fixture
def dataset() -> Dataset:
    empty = Split(np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int64))
    return Dataset(name="clothes", source="test", classes=NAMES, train=empty, test=empty)


def bars(count: int) -> Split:
    """Draw images whose class is where the bright bar is."""
    labels = np.arange(count) % 10
    images = np.random.default_rng(count).integers(0, 60, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 3 : 2 * label + 6] += 150
    return Split(images, labels)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "resnet20.safetensors"
    save_checkpoint(path, resnet20(num_classes=10), {"architecture": "resnet20", "num_classes": "10"})
    return path


def test_whole_demonstration(checkpoint, tmp_path) -> None:
    dataset = Dataset(name="bars", source="test", classes=tuple("0123456789"), train=bars(600), test=bars(200))
    options = DemoOptions(classes="1, 4, 8", images=1, checkpoint=checkpoint, output=tmp_path)
    console = Console(file=io.StringIO(), width=160)
    result = run_demo(options, console, dataset=dataset, prune_options=QUICK)
    record = json.loads((tmp_path / "demo.json").read_text())
    assert result.comparison.bits_equal
    assert record["bits_equal"] is True
    assert len(record["layers"]) == 22  # 19 convolutions, two of them downsampling besides, and fc
    assert 0.85 < record["sparsity"] < 0.95
    assert record["speedup"] == result.comparison.cycles_dense / result.comparison.cycles_sparse > 3
    assert 0 < record["utilization"] < 1
    assert set(record["accuracy"]) == {"dense_float", "dense_int8", "pruned_float", "pruned_int8"}
    assert record["layers"][0]["density"] == 1  # the first layer stays dense
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    assert "Every output bit of the RTL equals the golden model's." in console.file.getvalue()


def test_wrong_bit_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        comparison = type("comparison", (), {"bits_equal": False})

    monkeypatch.setattr("crisp.demo.run_demo", lambda options, console: Broken)
    assert CliRunner().invoke(app, ["demo"]).exit_code == 1


def test_classes_by_number_and_name(dataset: Dataset) -> None:
    assert choose_classes("3,0", dataset, 1) == (3, 0)
    assert choose_classes("Dress, top", dataset, 1) == (3, 0)


def test_classes_are_drawn_by_seed(dataset: Dataset) -> None:
    draws = {choose_classes("", dataset, seed) for seed in range(20)}
    assert choose_classes("", dataset, 5) == choose_classes("", dataset, 5)
    assert len(draws) > 1
    assert all(len(draw) == 3 for draw in draws)


def test_unknown_class(dataset: Dataset) -> None:
    with pytest.raises(DemoError, match=r"^classes must be numbers or names, not 'hat'; clothes has top, trouser, pullover, dress$"):
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
    assert message == "crisp: configuration 'huge' is neither a preset (tiny, default, ecp5) nor a file"
