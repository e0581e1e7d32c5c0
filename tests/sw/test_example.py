import importlib.util
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tests.sw.small import ROOT, SmallNet, striped_dataset, striped_split
from torch.nn import functional
from typer.testing import CliRunner

from crisp.arch import Config, check, unpack
from crisp.cli import app
from crisp.compile.command import CompileOptions, compile_file
from crisp.data import Dataset
from crisp.models import resnet20, save_checkpoint
from crisp.prune import PruneOptions
from crisp.quantize import quantize
from crisp.quantize.command import QuantizeFileOptions, quantize_file


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_example_goes_all_the_way(tmp_path, capsys):
    example = load_example("prune_quantize_compile")
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "net.safetensors", resnet20(num_classes=4), {"architecture": "resnet20", "num_classes": "4"})
    data = Dataset("stripes", "made", ("a", "b", "c", "d"), striped_split(120, 4, 28, 0), striped_split(24, 4, 28, 1))
    options = PruneOptions(iterations=2, iteration_images=16, final_images=32, saliency_images=16, batch=16)
    network = example.run(data, tmp_path / "net.safetensors", [0, 2, 3], options, Config())
    printed = capsys.readouterr().out
    assert "stripes: a, c, d; resnet20" in printed
    assert "dense   float" in printed
    assert "pruned  float" in printed
    for product in network.products:
        packed = product.layer.packed
        check(unpack(packed), packed.pattern, layer=product.name)


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """Return a folder with a network of one's own that knows stripes, compiled, and the data set."""
    folder, data = tmp_path_factory.mktemp("journey"), striped_dataset()
    torch.manual_seed(0)
    model = SmallNet()
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for epoch in range(6):
        for batch in data.train.batches(40, np.random.default_rng(epoch)):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.from_numpy(batch.inputs())), torch.from_numpy(batch.labels)).backward()
            optimizer.step()
    torch.save(model.state_dict(), folder / "net.pth")
    options = QuantizeFileOptions(checkpoint=folder / "net.pth", output=folder / "net.onnx", images=40, model="tests.sw.small:SmallNet")
    quantize_file(options, Console(quiet=True), dataset=data)
    compile_file(CompileOptions(model=folder / "net.onnx", output=folder / "net.crisp", config="tiny"), Console(quiet=True))
    return folder, data


@pytest.mark.parametrize("label", range(4))
def test_picture_gets_the_name_of_its_class(journey, label, capsys, monkeypatch):
    folder, data = journey
    picture, saved = folder / "picture.png", folder / "image.npy"
    pixels = data.test.images[data.test.labels == label][0]
    Image.fromarray(np.pad(pixels, (0, 1))).save(picture)  # 13 pixels a side, of which the central square of 12 are the image
    monkeypatch.setattr(sys, "argv", ["name_a_picture.py", str(folder / "net.crisp"), str(picture), "--save", str(saved)])
    load_example("name_a_picture").main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    logit, name = lines[0].split(maxsplit=1)
    assert name == f"stripe {label}"
    result = CliRunner().invoke(app, ["run", str(folder / "net.crisp"), "--backend", "golden", "--input", str(saved)])
    assert f"class: stripe {label} ({float(logit):.3g}), then stripe" in result.output


@pytest.mark.parametrize("form", ["pixels", "pixels of one image", "inputs"])
def test_images_of_a_data_set_get_the_names_of_their_classes(journey, form):
    folder, data = journey
    for image in data.test.take(slice(4)).batches(1):
        arrays = {
            "pixels": image.pixels(),
            "pixels of one image": image.pixels()[0, ..., None],
            "inputs": image.inputs().transpose(0, 2, 3, 1),
        }
        np.save(folder / "image.npy", arrays[form])
        result = CliRunner().invoke(app, ["run", str(folder / "net.crisp"), "--backend", "golden", "--input", str(folder / "image.npy")])
        assert f"class: stripe {image.labels[0]} (" in result.output
    random = CliRunner().invoke(app, ["run", str(folder / "net.crisp"), "--backend", "golden"])
    assert "stripe" not in random.output


def test_example_calibrates_on_all_classes(tmp_path, monkeypatch):
    example = load_example("prune_quantize_compile")
    save_checkpoint(tmp_path / "net.safetensors", resnet20(num_classes=4), {"architecture": "resnet20", "num_classes": "4"})
    images = striped_split(120, 4, 28, 0)
    by_class = images.take(np.argsort(images.labels, kind="stable"))  # as folders of pictures are
    data = Dataset("stripes", "made", ("a", "b", "c", "d"), by_class, striped_split(24, 4, 28, 1))
    seen = []
    monkeypatch.setattr(example, "CALIBRATION_IMAGES", 24, raising=False)
    monkeypatch.setattr(
        example, "quantize", lambda model, calibration, name: seen.append(calibration) or quantize(model, calibration, name=name)
    )
    options = PruneOptions(iterations=1, iteration_images=0, final_images=16, saliency_images=16, batch=16)
    example.run(data, tmp_path / "net.safetensors", [0, 2, 3], options, Config())
    assert np.array_equal(*seen)
    places = {image.tobytes(): int(label) for image, label in zip(by_class.inputs(), by_class.labels, strict=True)}
    calibrated = [places[image.tobytes()] for image in seen[0]]
    assert len(calibrated) == 24
    assert {calibrated.count(label) > 3 for label in (0, 2, 3)} == {True}
