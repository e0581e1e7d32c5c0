import io
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from crisp.models import CheckpointError, ModelSpec, build, load_model, load_weights
from crisp.models.weights import read_torch_file

WIDTH = 0.125
SPEC = ModelSpec("resnet18", input_size=224, width=WIDTH)


def torchvision_resnet18(channels, outputs):
    """Return tensors under the names of torchvision's ResNet-18, spelled out independently of our networks."""
    random, tensors = torch.Generator().manual_seed(0), OrderedDict()

    def put(name, *shape):
        tensors[name] = torch.randn(shape, generator=random)

    def norm(name, width):
        for part in ("weight", "bias", "running_mean"):
            put(f"{name}.{part}", width)
        tensors[f"{name}.running_var"] = torch.rand(width, generator=random) + 0.5
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    put("conv1.weight", channels, 3, 7, 7)
    norm("bn1", channels)
    before = channels
    for layer in (1, 2, 3, 4):
        width = channels << (layer - 1)
        for block in (0, 1):
            put(f"layer{layer}.{block}.conv1.weight", width, before, 3, 3)
            norm(f"layer{layer}.{block}.bn1", width)
            put(f"layer{layer}.{block}.conv2.weight", width, width, 3, 3)
            norm(f"layer{layer}.{block}.bn2", width)
            if before != width:
                put(f"layer{layer}.{block}.downsample.0.weight", width, before, 1, 1)
                norm(f"layer{layer}.{block}.downsample.1", width)
            before = width
    put("fc.weight", outputs, before)
    put("fc.bias", outputs)
    return tensors


@pytest.mark.parametrize("form", ["pth", "legacy", "safetensors", "wrapped", "parallel"])
def test_torchvision_names_load(tmp_path, form):
    tensors = torchvision_resnet18(8, 12)
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    if form == "safetensors":
        save_file(tensors, path)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": tensors}, path)
    elif form == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "pth")
    model = load_model(path, SPEC)
    assert not model.training
    assert model.fc.out_features == 12
    assert model.state_dict().keys() == tensors.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


def test_older_files_without_counters_load(tmp_path):
    tensors = {name: tensor for name, tensor in torchvision_resnet18(8, 5).items() if "num_batches" not in name}
    torch.save(tensors, tmp_path / "a.pth")
    assert torch.equal(load_model(tmp_path / "a.pth", SPEC).bn1.weight, tensors["bn1.weight"])


REMEDY = (
    "it does not hold architecture resnet18, input_size {size}, in_channels 3, width 0.125: "
    "name the architecture, size, channels and width it does"
)


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        ("lack", 224, "lacks tensor layer2.0.bn1.bias"),
        ("add", 224, "has the unknown tensor layer5.weight"),
        ("shape", 224, "tensor layer1.0.conv1.weight must have shape [8, 8, 3, 3], not [8, 8, 1, 1]"),
        ("", 32, "tensor conv1.weight must have shape [8, 3, 3, 3], not [8, 3, 7, 7]"),
    ],
)
def test_another_network(tmp_path, change, size, message):
    tensors = torchvision_resnet18(8, 5)
    if change == "lack":
        del tensors["layer2.0.bn1.bias"]
    elif change == "add":
        tensors["layer5.weight"] = torch.zeros(1)
    elif change == "shape":
        tensors["layer1.0.conv1.weight"] = torch.zeros(8, 8, 1, 1)
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "a.pth", ModelSpec("resnet18", input_size=size, width=WIDTH))
    assert str(caught.value) == f"{tmp_path / 'a.pth'}: {message}; {REMEDY.format(size=size)}"


def test_no_head_no_file_no_finite_value(tmp_path):
    path = tmp_path / "a.pth"
    with pytest.raises(CheckpointError, match=r"must be a file, but there is none; name a \.pth or \.safetensors file with weights"):
        load_model(path, SPEC)
    tensors = torchvision_resnet18(8, 5)
    torch.save({"conv1.weight": tensors["conv1.weight"]}, path)
    with pytest.raises(CheckpointError, match=r"lacks tensor fc\.bias; it does not hold a resnet18, name the architecture it was"):
        load_model(path, SPEC)
    tensors["fc.weight"][0, 0] = float("nan")
    torch.save(tensors, path)
    with pytest.raises(CheckpointError, match=r"tensor fc\.weight must hold finite values, but does not; get the file anew"):
        load_model(path, SPEC)


def test_nothing_is_filled_when_one_tensor_does_not_fit(tmp_path):
    model, other = build("resnet20", 3), build("resnet20", 4, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(other.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"tensor fc.weight must have shape \[3, 64\], not \[4, 64\]"):
        load_weights(tmp_path / "a.pth", model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def saved(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no such format", "file: must hold weights, not something damaged"),
        (saved({"weight": torch.zeros(99)})[:-300], "file: must hold weights, not something damaged"),
        (saved({"weight": Trap()}), "file: must hold weights, not something damaged"),
        (saved([torch.zeros(1)]), "file: must hold weights by name, not a list; delete it"),
        (saved({"weight": 1}), "file: must hold weights by name, not a dict; delete it"),
    ],
)
def test_file_that_holds_something_else(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(Path("file"), io.BytesIO(content))
    assert list(tmp_path.iterdir()) == []
