import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.sw.small import ROOT, SmallNet, striped_dataset
from typer.testing import CliRunner

from crisp.arch import Config
from crisp.cli import app
from crisp.compile import import_onnx
from crisp.data import DataError
from crisp.models import Head, ModelSpec, save_checkpoint
from crisp.models.checkpoint import CheckpointError, read_tensors
from crisp.prune import Order, PruneError, PruneOptions, Schedule, load_pruned
from crisp.prune.command import PruneFileOptions, next_commands, prune_file, read_settings
from crisp.quantize.command import QuantizeFileOptions, quantize_file

QUICK = {"sparsity": 0.8, "iterations": 2, "iteration_images": 16, "final_images": 32, "saliency_images": 16, "batch": 16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    spec = ModelSpec("resnet20", 4, 12, 1, 0.5)
    path = tmp_path_factory.mktemp("trained") / "trained.safetensors"
    save_checkpoint(path, spec.build(1), spec.metadata())
    return path


def options(model, folder, **changes):
    settings = PruneOptions.from_dict({**QUICK, **changes.pop("settings", {})})
    return PruneFileOptions(model=str(model), output=folder / "pruned.safetensors", settings=settings, **changes)


def test_file_says_what_it_is_and_where_it_came_from(checkpoint, tmp_path):
    console = Console(record=True, width=140)
    asked = options(checkpoint, tmp_path, classes=("stripe 2", "0"), command="crisp prune trained.safetensors")
    pruned = prune_file(asked, console, dataset=striped_dataset())
    assert [path.name for path in tmp_path.iterdir()] == ["pruned.safetensors"]  # the state is gone, nothing is half-written
    loaded = load_pruned(asked.output)
    assert (loaded.classes, loaded.class_names) == ((2, 0), ("stripe 2", "stripe 0"))
    assert loaded.patterns == pruned.patterns
    assert loaded.options == pruned.options
    assert all(torch.equal(tensor, loaded.model.state_dict()[name]) for name, tensor in pruned.model.state_dict().items())
    said = read_tensors(asked.output)[1]
    assert said["command"] == "crisp prune trained.safetensors"
    assert said["data"] == "stripes"
    assert len(said["source"]) == 64
    assert {"seed", "commit", "crisp", "torch", "history", "options"} <= said.keys()
    assert json.loads(said["options"])["sparsity"] == 0.8
    text = console.export_text()
    assert "stripe 2 (2), stripe 0 (0); reduced head" in text
    assert "crisp quantize" in text
    for name in pruned.patterns:
        assert name in text


@pytest.mark.parametrize("head", Head)
def test_what_it_writes_can_be_quantized(checkpoint, tmp_path, head):
    asked = options(checkpoint, tmp_path, classes=("1", "3"), settings={"head": head.value})
    prune_file(asked, Console(quiet=True), dataset=striped_dataset())
    onnx = tmp_path / "model.onnx"
    quantize_file(QuantizeFileOptions(checkpoint=asked.output, output=onnx, images=16), Console(quiet=True), dataset=striped_dataset())
    assert onnx.stat().st_size > 10_000


def test_classes_are_drawn_by_the_seed_where_none_are_named(checkpoint, tmp_path):
    drawn = {}
    for seed in range(4):
        asked = options(checkpoint, tmp_path, draw=2, settings={"seed": seed})
        drawn[seed] = prune_file(asked, Console(quiet=True), dataset=striped_dataset()).classes
    assert all(len(set(classes)) == 2 for classes in drawn.values())
    assert len(set(drawn.values())) > 1


def test_network_of_the_user(tmp_path):
    asked = options("tests.sw.small:SmallNet", tmp_path, classes=("0", "1"), arguments={"width": 16})
    pruned = prune_file(asked, Console(quiet=True), dataset=striped_dataset())
    loaded = load_pruned(asked.output, SmallNet(width=16))
    assert loaded.patterns == pruned.patterns
    assert loaded.model.fc.out_features == 2
    with pytest.raises(CheckpointError, match=r"architecture must be one of .* name the function that makes it"):
        load_pruned(asked.output)
    plain = tmp_path / "net.pth"
    torch.save(SmallNet(width=16).state_dict(), plain)
    for checkpoint, outputs in ((asked.output, 2), (plain, 4)):
        onnx = tmp_path / f"{outputs}.onnx"
        quantizing = QuantizeFileOptions(
            checkpoint=checkpoint, output=onnx, images=16, model="tests.sw.small:SmallNet", arguments={"width": 16}
        )
        quantize_file(quantizing, Console(quiet=True), dataset=striped_dataset())
        products = {product.name: product.layer.packed.pattern for product in import_onnx(onnx, Config()).products}
        assert products["fc"].shape[0] == outputs
        assert (products["conv2"].density < 0.5) == (checkpoint == asked.output)


NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8, soft=False):
        super().__init__()
        self.head = nn.Linear(2 * width, 4)
        self.first, self.second = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, stride=2)
        self.act = nn.Softplus() if soft else nn.ReLU()

    def forward(self, x):
        return self.head(self.act(self.second(self.act(self.first(x)))).mean((2, 3)))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a network and images of the user's, in which the test is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my net.py").write_text(NET)
    data = striped_dataset()
    parts = {"x_train": data.train.images, "y_train": data.train.labels, "x_test": data.test.images, "y_test": data.test.labels}
    np.savez(tmp_path / "my stripes.npz", class_names=np.array(["dog", "cat [old]", "fox", "owl"]), **parts)
    return tmp_path


def crisp(*words):
    """Run a command line; return what it prints."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


QUICKLY = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]


def next_lines(printed):
    lines = printed[printed.index(": next,") :].splitlines()[1:]
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.mark.parametrize(("output", "config"), [("pruned.safetensors", "tiny"), ("my [net].onnx", "default")])
def test_commands_that_it_prints_work(own, output, config):
    words = ["--arguments", '{"width": 16}', "--data", "my stripes.npz", "--classes", "fox,dog", "-o", output, "--config", config]
    lines = next_lines(crisp("prune", "my net.py:Net", *words, *QUICKLY))
    assert [line[:2] for line in lines] == [["crisp", "quantize"], ["crisp", "compile"], ["crisp", "run"]]
    before = (own / output).read_bytes()
    for line in lines:
        printed = crisp(*line[1:], *(["--backend", "golden"] if line[1] == "run" else []))
    assert "on golden" in printed
    assert (own / output).read_bytes() == before


def test_commands_for_pictures_name_their_shape():
    asked = PruneFileOptions(model="net.py:make", output=Path("out.safetensors"), data="my pets", size=32, channels=1)
    assert (
        next_commands(asked)[0] == "crisp quantize out.safetensors -o out.onnx --model net.py:make --data 'my pets' --size 32 --channels 1"
    )


def test_commands_for_networks_of_ours_are_short(checkpoint, tmp_path):
    console = Console(record=True, width=40)
    prune_file(options(checkpoint, tmp_path, classes=("1", "3")), console, dataset=striped_dataset())
    path = tmp_path / "pruned"
    assert next_lines(console.export_text()) == [
        ["crisp", "quantize", f"{path}.safetensors", "-o", f"{path}.onnx"],
        ["crisp", "compile", f"{path}.onnx", "-o", f"{path}.crisp"],
        ["crisp", "run", f"{path}.crisp"],
    ]


WARNING = "warning: `crisp quantize` will refuse this network: model must have only operations that run on the array; these do not:"


def test_what_the_machine_cannot_do_is_told_before_training(own):
    words = ["my net.py:Net", "--data", "my stripes.npz", *QUICKLY]
    printed = crisp("prune", *words, "--arguments", '{"soft": true}')
    told = printed.index(f"{WARNING}\n  act: act = Softplus(beta=1.0, threshold=20.0) is not supported\n")
    assert printed.index("stays dense: the first layer") < told < printed.index("reduced head")
    assert "warning" not in crisp("prune", *words)
    assert WARNING in crisp("layers", "my net.py:Net", "--size", "12", "--arguments", '{"soft": true}')
    assert "warning" not in crisp("layers", "my net.py:Net", "--size", "12")


@pytest.mark.parametrize(
    ("output", "state", "message"),
    [
        ("folder", None, "folder: the output must be a file, not a folder; name a file"),
        ("", None, ": the output must be a file, not a folder; name a file"),
        ("file/a", None, "file/a: the output must be a file that can be written, but it cannot (File exists); name another place"),
        ("a", "folder", "folder: the state must be a file, not a folder; name a file"),
        ("a", "file/x/a", "file/x/a: the state must be a file that can be written, but it cannot (Not a directory); name another place"),
        ("a", "folder/../a", "folder/../a: the state must be another file than the output; name another, or none"),
    ],
)
def test_places_that_cannot_be_written_to_are_told_before_training(checkpoint, tmp_path, monkeypatch, output, state, message):
    def fail(*arguments, **keywords):
        raise AssertionError("it trains")

    monkeypatch.setattr("crisp.prune.command.prune", fail)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    asked = options(checkpoint, tmp_path, classes=("0", "1"), state=None if state is None else tmp_path / state)
    with pytest.raises(PruneError) as caught:
        prune_file(dataclasses.replace(asked, output=tmp_path / output), Console(quiet=True), dataset=striped_dataset())
    assert str(caught.value) == f"{tmp_path / message}" if output else f"{tmp_path}{message}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_network_that_is_pruned_already(checkpoint, tmp_path):
    asked = options(checkpoint, tmp_path, classes=("0", "1"))
    prune_file(asked, Console(quiet=True), dataset=striped_dataset())
    again = options(asked.output, tmp_path, classes=("0", "1"))
    with pytest.raises(CheckpointError, match="must be a network before pruning, but this one is pruned already; give the one that it was"):
        prune_file(again, Console(quiet=True), dataset=striped_dataset())


def test_one_class_needs_a_full_head(checkpoint, tmp_path):
    with pytest.raises(DataError, match="needs at least two user classes"):
        prune_file(options(checkpoint, tmp_path, classes=("1",)), Console(quiet=True), dataset=striped_dataset())
    asked = options(checkpoint, tmp_path, classes=("1",), settings={"head": "full"})
    assert prune_file(asked, Console(quiet=True), dataset=striped_dataset()).model.fc.out_features == 4


def test_network_for_other_data(checkpoint, tmp_path):
    data = dataclasses.replace(striped_dataset(), classes=("a", "b", "c"))
    with pytest.raises(PruneError) as caught:
        prune_file(options(checkpoint, tmp_path), Console(quiet=True), dataset=data)
    assert str(caught.value).endswith(
        "the network must have an output for each of the 3 classes of stripes, not 4; choose the data that it was trained on"
    )


def test_settings_come_from_a_file_and_later_ones_count(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('[prune]\nsparsity = 0.7\nblock = 32\nschedule = "linear"\nkeep_dense = ["conv2"]\n')
    settings = read_settings(path, {"sparsity": 0.85, "cycles": None}, ["block=64", "order=nm-first", "per_block = false", "n=2"])
    assert settings == PruneOptions(
        sparsity=0.85, block=64, schedule=Schedule.LINEAR, order=Order.NM_FIRST, n=2, per_block=False, keep_dense=("conv2",)
    )
    assert read_settings(None, {}) == PruneOptions()


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[prune]\nsparcity = 1", (), "sparcity must be a setting of pruning, but is none; did you mean sparsity?"),
        ("[prune", (), "settings must be TOML, but are not: "),
        ("sparsity = 1", (), "settings must stand in the table [prune], not in 'sparsity'; see examples/prune.toml"),
        ("", ("sparsity",), "a setting must be name=value, such as learning_rate=0.02, not 'sparsity'"),
        ("", ("sparsity=much",), "sparsity must be a number, not 'much'"),
        ("", ("saliency=guess",), "saliency must be one of magnitude, taylor, absolute, fisher, activation, not 'guess'"),
        ("", ("saliency=[1]",), "saliency must be one of magnitude, taylor, absolute, fisher, activation, not [1]"),
        ("[prune.head]\na = 1", (), "head must be one of full, reduced, not {'a': 1}"),
        ("", ("temperature=inf",), "temperature must be finite, not inf"),
        ("", (f"weight_decay=1{'0' * 400}",), f"weight_decay must be finite, not 1{'0' * 400}"),
    ],
)
def test_wrong_settings(tmp_path, text, words, message):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(PruneError) as caught:
        read_settings(path, {}, words)
    assert message in str(caught.value)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(PruneError, match="settings must be a file, but it cannot be read"):
        read_settings(tmp_path / "none.toml", {})


def test_example_has_settings_that_are():
    assert read_settings(ROOT / "examples/prune.toml", {}).cycles == 0.2


def test_command_line_tells_what_is_wrong_in_a_line():
    result = subprocess.run(
        [sys.executable, "-c", "from crisp.cli import main; main()", "prune", "nothing", "--set", "sparcity=1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2
    assert "crisp: sparcity must be a setting of pruning" in result.stderr
