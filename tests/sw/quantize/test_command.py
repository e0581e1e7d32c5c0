"""`crisp quantize` with its options, on a checkpoint of random weights, dense and pruned."""

import contextlib
import dataclasses
import io
import json
import re
import shutil

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console
from tests.sw.small import CHECKPOINT, RESNET20, striped_dataset
from typer.testing import CliRunner

from crisp.arch import Config, CrispError
from crisp.cli import app
from crisp.compile import import_onnx
from crisp.data.normalization import IMAGENET
from crisp.data.sources import VARIABLE
from crisp.models import resnet20, save_checkpoint
from crisp.prune import PruneOptions, prune
from crisp.prune.storage import load_pruned, save_pruned
from crisp.quantize import AwareOptions, QuantizeError, QuantizeOptions, RangeMethod, RangeTraining, WeightRange
from crisp.quantize.command import QuantizeFileOptions, aware_options, quantize_file

DATA = striped_dataset(side=28)
ALL = QuantizeOptions(method=RangeMethod.MSE, weight_range=WeightRange.MSE, bias_correction=True)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    known = {"architecture": "resnet20", "num_classes": "4"}
    save_checkpoint(folder / "dense.safetensors", resnet20(num_classes=4), known)
    trained = {
        "data": "stripes, 220 training images",
        "classes": json.dumps(DATA.classes),
        "command": "crisp train --data 'my stripes.npz'",
    }
    save_checkpoint(folder / "trained.safetensors", resnet20(num_classes=4), {**known, **trained})
    options = PruneOptions(iterations=1, iteration_images=0, final_images=32, saliency_images=16, batch=16)
    save_pruned(folder / "pruned.safetensors", prune(resnet20(num_classes=4), DATA, [0, 2, 3], options), RESNET20)
    return folder


def run(checkpoints, name, output, **options):
    """Quantize; return the ONNX file and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    settings = QuantizeFileOptions(checkpoint=checkpoints / f"{name}.safetensors", output=output, images=20, **options)
    quantize_file(settings, console, dataset=DATA)
    return output.read_bytes(), console.file.getvalue()


@pytest.mark.parametrize("name", ["dense", "pruned"])
def test_options_make_other_files_and_keep_the_zeros(checkpoints, name, tmp_path):
    aware = AwareOptions(steps=2, batch=16, calibration_images=16)
    files = {
        key: run(checkpoints, name, tmp_path / f"{key}.onnx", **options)[0]
        for key, options in {
            "plain": {},
            "again": {},
            "best": {"quantization": ALL},
            "aware": {"aware": aware, "quantization": ALL},
        }.items()
    }
    assert files["plain"] == files["again"]
    assert len(set(files.values())) == 3
    for key, data in files.items():
        products = import_onnx(data, Config()).products
        assert len(products) == 22, key
        density = np.mean([product.layer.packed.pattern.density for product in products])
        assert density == 1 if name == "dense" else density < 0.35
    if name == "pruned":
        weights = load_pruned(checkpoints / "pruned.safetensors").model.state_dict()
        for product in import_onnx(files["aware"], Config()).products:
            kept = int((weights[f"{product.name}.weight"] != 0).sum())
            assert np.count_nonzero(product.layer.packed.values) <= kept


def test_accuracies_are_told(checkpoints, tmp_path):
    _, printed = run(checkpoints, "dense", tmp_path / "a.onnx", judge=10)
    found = re.search(r"of 10 test images the float model names (\S+)% rightly, int8 (\S+)%; (\S+)% have the same answer", printed)
    assert found is not None
    assert all(0 <= float(share) <= 100 for share in found.groups())
    assert float(found[3]) > 50
    _, printed = run(checkpoints, "pruned", tmp_path / "b.onnx", judge=1000)
    assert "of 45 test images" in printed  # those of three classes of four


def refusal(checkpoints, name, output, data=DATA, **options):
    """Return the error of quantizing, which must leave nothing behind."""
    before = sorted(output.parent.iterdir()) if output.parent.is_dir() else []
    settings = QuantizeFileOptions(checkpoint=checkpoints / name, output=output, images=20, **options)
    with pytest.raises(CrispError) as caught:
        quantize_file(settings, Console(quiet=True), dataset=data)
    assert before == (sorted(output.parent.iterdir()) if output.parent.is_dir() else [])
    return str(caught.value)


def renamed(name=DATA.name, classes=DATA.classes, side=28):
    return dataclasses.replace(striped_dataset(side=side), name=name, classes=classes)


CLASSES = "classes are stripe 0, stripe 1, stripe 2, stripe 3"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "pruned",
            renamed(name="Fashion-MNIST"),
            "data must be what the network was trained on, stripes (stripe 0, stripe 2, stripe 3), not Fashion-MNIST, "
            f"whose {CLASSES}; name it with --data",
        ),
        (
            "pruned",
            renamed(classes=tuple("abcdef")),
            "data must be what the network was trained on, stripes (stripe 0, stripe 2, stripe 3), not stripes, "
            "whose classes are a, b, c, d, e, ...; name it with --data",
        ),
        ("pruned", renamed(classes=("stripe 0", "stripe 1", "stripe 2")), "data must be what the network was trained on, stripes"),
        (
            "trained",
            renamed(name="other"),
            f"data must be what the network was trained on, stripes, not other, whose {CLASSES}; name it with --data 'my stripes.npz'",
        ),
        (
            "trained",
            renamed(classes=tuple("abcd")),
            "data must be what the network was trained on, stripes, not stripes, whose classes are a",
        ),
        (
            "dense",
            renamed(classes=tuple("abcde")),
            "the network must have an output for each of the 5 classes of stripes, not 4; name the data that it was trained on, --data",
        ),
    ],
)
def test_data_of_another_network(checkpoints, tmp_path, name, data, message):
    path = f"{name}.safetensors"
    assert refusal(checkpoints, path, tmp_path / "a.onnx", data).startswith(f"{checkpoints / path}: {message}")


def test_images_of_another_size(checkpoints, tmp_path):
    coloured = dataclasses.replace(
        DATA, train=dataclasses.replace(DATA.train, images=np.repeat(DATA.train.images[..., None], 3, axis=3), normalization=IMAGENET)
    )
    message = refusal(checkpoints, "dense.safetensors", tmp_path / "a.onnx", coloured)
    assert message.startswith("model must run on images of 3 x 28 x 28 (channels, height, width), but does not: Given groups=1, weight of")
    assert message.endswith("; give images of the size and channels that it is for")
    assert "\n" not in message


def test_data_of_a_trained_network(checkpoints, tmp_path):
    assert run(checkpoints, "trained", tmp_path / "a.onnx")[0]


@pytest.mark.parametrize(
    ("name", "classes"),
    [("dense", ["stripe 0", "stripe?1", "stripe 2", "stripe 3"]), ("pruned", ["stripe 0", "stripe 2", "stripe 3"])],
)
def test_model_knows_classes_and_normalization(checkpoints, tmp_path, name, classes):
    data = renamed(classes=("stripe 0", "stripe\udc80" + "1", "stripe 2", "stripe 3"))  # as Python reads a folder that is no UTF-8
    options = QuantizeFileOptions(checkpoint=checkpoints / f"{name}.safetensors", output=tmp_path / "a.onnx", images=20)
    quantize_file(options, Console(quiet=True), dataset=data)
    known = {entry.key: entry.value for entry in onnx.load(options.output).metadata_props}
    assert json.loads(known["crisp.classes"]) == classes
    assert json.loads(known["crisp.normalization"]) == {"mean": [73], "deviation": [90]}


def test_data_that_is_named_need_not_have_all_classes(checkpoints, tmp_path):
    few = renamed(classes=("stripe 0", "stripe 1", "stripe 2"))
    console = Console(quiet=True)
    options = QuantizeFileOptions(checkpoint=checkpoints / "dense.safetensors", output=tmp_path / "a.onnx", images=20, data="few")
    quantize_file(options, console, dataset=few)
    with pytest.raises(QuantizeError, match="an output for each of the 3 classes"):
        quantize_file(dataclasses.replace(options, judge=10), console, dataset=few)


def test_checkpoint_and_output_come_before_data(checkpoints, tmp_path, monkeypatch):
    def fetch(*arguments, **options):
        pytest.fail("data was loaded")

    monkeypatch.setattr("crisp.quantize.command.load_dataset", fetch)
    monkeypatch.delenv(VARIABLE, raising=False)
    torch.save({"a": torch.zeros(2)}, checkpoints / "net.pth")
    (checkpoints / "file").write_text("")
    for name, output, message in (
        ("absent.safetensors", "a.onnx", "absent.safetensors: must be a file, but there is none; train a network with `crisp train`"),
        ("pruned.safetensors", "a.onnx", "stripes (stripe 0, stripe 2, stripe 3), not what is found without a name; name it with --data"),
        ("net.pth", "a.onnx", "net.pth: must say what network it is of, but is no safetensors file; name its function with --model"),
        ("dense.safetensors", "", ": the output must be a file, not a folder; name a file"),
        ("dense.safetensors", "file/a.onnx", "file/a.onnx: the output must be a file that can be written, but it cannot ("),
    ):
        assert message in refusal(checkpoints, name, checkpoints / output, data=None)


def test_checkpoint_for_what_is_found_without_a_name(tmp_path, monkeypatch):
    class Loaded(Exception):
        """Data were asked for."""

    def fetch(*arguments, **options):
        raise Loaded

    monkeypatch.setattr("crisp.quantize.command.load_dataset", fetch)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(Loaded):
        quantize_file(QuantizeFileOptions(checkpoint=CHECKPOINT, output=tmp_path / "a.onnx"), Console(quiet=True))


def test_file_of_any_name(checkpoints, tmp_path):
    onnx, _ = run(checkpoints, "pruned", tmp_path / "a.onnx")
    shutil.copy(checkpoints / "pruned.safetensors", tmp_path / "pruned.bin")
    for model in ("", "crisp.models:resnet20"):
        options = QuantizeFileOptions(
            checkpoint=tmp_path / "pruned.bin", output=tmp_path / "a.onnx", images=20, model=model, arguments={"num_classes": 4}
        )
        quantize_file(options, Console(quiet=True), dataset=DATA)
        assert (tmp_path / "a.onnx").read_bytes() == onnx


def test_command_line(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("crisp.quantize.command.load_dataset", lambda *arguments, **options: DATA)
    monkeypatch.setenv(VARIABLE, "stripes")
    target = tmp_path / "net.onnx"
    arguments = ["quantize", str(checkpoints / "pruned.safetensors"), "-o", str(target), "--images", "20", "--judge", "10"]
    options = ["--method", "mse", "--weight-range", "mse", "--bias-correction", "--aware", "70", "--aware-ranges", "average"]
    result = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert "pruned in blocks of 16, M = 4; calibrated with 20 images of stripes\n" in result.output
    assert len(import_onnx(target, Config()).products) == 22
    for option, value, message in (
        ("--method", "max", "method must be one of min-max, percentile, mse, not 'max'"),
        ("--weight-range", "all", "weight-range must be one of largest, mse, not 'all'"),
        ("--aware-ranges", "any", "aware-ranges must be one of fixed, average, learnt, not 'any'"),
        ("--aware", "-1", "aware must not be negative, not -1"),
        ("--judge", "-1", "judge must not be negative, not -1"),
        ("--percentile", "30", "percentile must be above 50 and at most 100, not 30.0"),
        ("--aware-rate", "0", "learning_rate must be above 0 and finite, not 0.0"),
    ):
        with pytest.raises(QuantizeError) as caught:
            CliRunner().invoke(app, [*arguments, option, value], catch_exceptions=False)
        assert str(caught.value) == message


@pytest.mark.parametrize(("images", "steps"), [(30, 2), (1000, 26)])
def test_training_for_int8_on_fewer_images_than_a_batch(checkpoints, tmp_path, images, steps):
    few = dataclasses.replace(DATA, train=DATA.train.take(slice(40)), validation=DATA.test)
    aware, seen = aware_options(images, "learnt", 0.001, 1), []
    settings = QuantizeFileOptions(checkpoint=checkpoints / "dense.safetensors", output=tmp_path / "a.onnx", images=20, aware=aware)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crisp.quantize.command.draw_progress", lambda console: contextlib.nullcontext(lambda *step: seen.append(step)))
        quantize_file(settings, Console(quiet=True), dataset=few)
    assert [step[1:3] for step in seen if step[0] == "train for int8"] == [(step, steps) for step in range(1, steps + 1)]


def test_settings_of_training_fit_the_images():
    options = AwareOptions(steps=10, batch=64)
    assert options.fit(64) is options.fit(0) is options
    assert options.fit(63) == AwareOptions(steps=11, batch=63)
    assert options.fit(1) == AwareOptions(steps=640, batch=1)


def test_images_of_training_are_steps():
    assert aware_options(0, "learnt", 0.1, 1) is None
    assert aware_options(1000, "fixed", 0.1, 7) == AwareOptions(steps=16, ranges=RangeTraining.FIXED, learning_rate=0.1, seed=7)
