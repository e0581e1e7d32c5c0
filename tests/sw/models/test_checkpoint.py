import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.sw.small import CHECKPOINT, fashion_mnist, little_room
from torch import nn

from crisp.models import ARCHITECTURES, CheckpointError, ModelSpec, accuracy, image_shape, load_checkpoint, resnet20, save_checkpoint
from crisp.models.checkpoint import read_tensors


def test_what_is_saved_is_loaded(tmp_path):
    torch.manual_seed(0)
    model = resnet20(num_classes=3)
    save_checkpoint(tmp_path / "new" / "a.safetensors", model, {"architecture": "resnet20", "num_classes": "3", "seed": "0"})
    loaded, metadata = load_checkpoint(tmp_path / "new" / "a.safetensors")
    assert metadata["seed"] == "0"
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_layers_that_share_their_weights_are_saved(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    save_checkpoint(tmp_path / "a.safetensors", model, {})
    found = read_tensors(tmp_path / "a.safetensors")[0]
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


def test_nothing_is_left_of_a_file_that_has_no_room(tmp_path):
    path, metadata = tmp_path / "a.safetensors", {"architecture": "resnet20", "num_classes": "3"}
    save_checkpoint(path, resnet20(num_classes=3), metadata)
    before = path.read_bytes()
    with pytest.raises(CheckpointError) as caught, little_room(100_000):
        save_checkpoint(path, resnet20(num_classes=3), metadata)
    assert str(caught.value).startswith(f"{path}: must be written, but cannot be (")
    assert str(caught.value).endswith("); make room, or name another place")
    assert "File too large" in str(caught.value)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.safetensors", []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, path.exists())))
    save_checkpoint(path, resnet20(num_classes=3), {"architecture": "resnet20", "num_classes": "3"})
    assert synced == [(path.stat().st_ino, False)]


def test_absent_and_damaged_files(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"{path}: must be a file, but there is none; train a network with `crisp train`"
    path.write_bytes(b"no such format")
    with pytest.raises(CheckpointError, match="must be a safetensors file, not something damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("metadata", "rule"),
    [
        (
            {},
            f"architecture must be one of {', '.join(ARCHITECTURES)}, not None; "
            f"where the network is your own, name the function that makes it",
        ),
        ({"architecture": "vgg"}, f"architecture must be one of {', '.join(ARCHITECTURES)}, not 'vgg'"),
        ({"architecture": "resnet20"}, "num_classes must be a number from 2 to 100000, not ''"),
        ({"architecture": "resnet20", "num_classes": "1"}, "num_classes must be a number from 2 to 100000, not '1'"),
        (
            {"architecture": "resnet20", "num_classes": "10", "input_size": "0"},
            "input_size must be a number from 1 to 10000, not '0'",
        ),
        (
            {"architecture": "efficientnet-lite0", "num_classes": "10", "input_size": "40"},
            "input_size must be a multiple of 32, not 40",
        ),
        ({"architecture": "resnet20", "num_classes": "10", "width": "wide"}, "width must be a number, not 'wide'"),
        ({"architecture": "resnet20", "num_classes": "10", "width": "9"}, "width must be from 0.0625 to 4.0, not 9.0"),
        ({"architecture": "resnet20", "num_classes": "10", "in_channels": "2"}, "in_channels must be 1, grey, or 3, coloured, not 2"),
        (
            {"architecture": "vgg16", "num_classes": "100000", "input_size": "10000", "width": "4"},
            "the network must not be larger than the file, not 3289436480416 weights; it says something false of itself",
        ),
        (
            {"architecture": "resnet20", "num_classes": "11"},
            "tensor fc.weight must have shape [11, 64], not [10, 64]; it is another network's",
        ),
    ],
)
def test_metadata_that_do_not_fit(tmp_path, metadata, rule):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, resnet20(), metadata)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"{path}: {rule}"


@pytest.mark.parametrize(("change", "rule"), [("lack", "lacks tensor bn1.bias"), ("add", "has the unknown tensor extra")])
def test_tensors_that_do_not_fit(tmp_path, change, rule):
    tensors = dict(resnet20().state_dict())
    if change == "lack":
        del tensors["bn1.bias"]
    else:
        tensors["extra"] = torch.zeros(1)
    save_file(tensors, tmp_path / "a.safetensors", {"architecture": "resnet20", "num_classes": "10"})
    with pytest.raises(CheckpointError, match=f"{rule}; it belongs to another network"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="the trained checkpoint is not in this tree")
@pytest.mark.parametrize(
    ("metadata", "asked", "shape"),
    [
        ({}, {}, (224, 3)),
        ({}, {"size": 28, "channels": 1}, (28, 1)),
        (ModelSpec("resnet20", 4, 28).metadata(), {}, (28, 1)),
        (ModelSpec("resnet50", 4, 32).metadata(), {"size": 64}, (64, 3)),
        (ModelSpec("resnet50", 4, 32, 1).metadata(), {"size": 0}, (0, 1)),
        ({"architecture": "mine", "input_size": "8"}, {"channels": 1}, (224, 1)),
    ],
)
def test_pictures_are_made_to_what_the_network_is_for(metadata, asked, shape):
    assert image_shape(metadata, **asked) == shape


def test_shipped_checkpoint_is_as_good_as_it_says():
    model, metadata = load_checkpoint(CHECKPOINT)
    data = fashion_mnist()
    assert json.loads(metadata["classes"]) == list(data.classes)
    few = data.test.take(np.arange(500))
    assert accuracy(model, few) == pytest.approx(float(metadata["test_accuracy"]), abs=0.03)


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("resnet56", 5, 32, 1),
        ModelSpec("vgg16-bn", 3, 28, 1, 0.125),
        ModelSpec("mobilenetv2", 7, 32, None, 0.5),
        ModelSpec("resnet20", 4, 28),
    ],
)
def test_network_is_built_again_as_it_was(tmp_path, spec):
    model = spec.build(seed=2)
    save_checkpoint(tmp_path / "a.safetensors", model, spec.metadata())
    loaded, metadata = load_checkpoint(tmp_path / "a.safetensors")
    assert ModelSpec.from_metadata(metadata).metadata() == spec.metadata()
    assert [(name, module.__class__) for name, module in loaded.named_modules()] == [
        (name, module.__class__) for name, module in model.named_modules()
    ]
    x = torch.randn(2, int(metadata["in_channels"]), spec.input_size, spec.input_size)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
