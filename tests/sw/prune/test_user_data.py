"""From a user's pictures to a pruned and quantized network, by the interface that all data sets share."""

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from crisp.arch import Config
from crisp.cli import app
from crisp.data import load_dataset
from crisp.models import accuracy, build
from crisp.models.checkpoint import read_tensors
from crisp.prune import PruneOptions, prune
from crisp.quantize import QuantizeOptions, quantize, to_network

SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures whose class is the colour that prevails."""
    root, random = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for part, count in (("train", 24), ("val", 6)):
        for label, name in enumerate(("red", "green", "blue")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 120, (40, 44, 3), dtype=np.uint8)
                pixels[..., label] += 120
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def run(folder):
    data = load_dataset(folder, size=SIDE)
    model = build("resnet18", 3, SIDE, width=0.25, seed=1)
    options = PruneOptions(
        sparsity=0.8, iterations=2, iteration_images=32, final_images=256, saliency_images=16, batch=16, distillation=0.0
    )
    return data, prune(model, data, data.check_classes((2, 0)), options)


def test_pictures_in_files_prune_a_network(folder):
    data, pruned = run(folder)
    test = data.test.select(pruned.classes)
    assert pruned.sparsity >= 0.8 - 1e-6
    assert accuracy(pruned.model, test) > 0.9
    calibration = data.train.select(pruned.classes).take(slice(0, 32, 2)).inputs()
    network = to_network(quantize(pruned.model, calibration, QuantizeOptions(batch=8)), Config(), pruned.patterns)
    answers = np.concatenate([network.classify(network.quantize_input(batch.inputs())) for batch in test.batches(5)])
    assert np.mean(answers == test.labels) > 0.9


def test_the_same_seed_gives_the_same_network(folder):
    first, second = (run(folder)[1].model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("options", "side"), [([], 16), (["--size", "20"], 20)], ids=["of the network", "another size"])
def test_command_line_has_size_and_channels(folder, tmp_path, monkeypatch, options, side):
    monkeypatch.chdir(tmp_path)
    commands = [
        ["train", "--output", "a.safetensors", "--epochs", "1", "--width", "0.25", "--size", "16", "--channels", "1"],
        ["prune", "a.safetensors", "-o", "b.safetensors", "--classes", "red,blue", *options],
        ["quantize", "b.safetensors", "-o", "c.onnx", "--images", "8", "--judge", "4", *options],
    ]
    for name in ("iterations=1", "iteration_images=0", "final_images=16", "saliency_images=16", "batch=16"):
        commands[1] += ["--set", name]
    for command in commands:
        assert CliRunner().invoke(app, [*command, "--data", str(folder)], catch_exceptions=False).exit_code == 0
    (image,) = onnx.load(tmp_path / "c.onnx").graph.input
    assert [size.dim_value for size in image.type.tensor_type.shape.dim][1:] == [1, side, side]
    said = read_tensors(tmp_path / "a.safetensors")[1]
    assert said["command"] == f"crisp train --epochs 1 --seed 1 --width 0.25 --size 16 --channels 1 --data {folder}"
