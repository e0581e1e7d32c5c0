import pytest
import torch
from typer.testing import CliRunner

from crisp.cli import app
from crisp.models import CheckpointError, ModelError, ModelSpec, build, open_model, save_checkpoint

SOURCE = """
from torch import nn

def make(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.Conv2d(width, width, 1), nn.Flatten(), nn.Linear(width * 64, 2))
"""


def equal(a, b):
    return all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())


def test_name_function_and_checkpoint(tmp_path):
    spec = ModelSpec("mobilenetv2", 5, 32, 1, 0.25)
    model = open_model("mobilenetv2", num_classes=5, input_size=32, in_channels=1, width=0.25, seed=3)
    assert equal(model, spec.build(3))
    save_checkpoint(tmp_path / "a:b.safetensors", model, spec.metadata())
    assert equal(open_model(tmp_path / "a:b.safetensors"), model)
    (tmp_path / "net.py").write_text(SOURCE)
    assert open_model(f"{tmp_path}/net.py:make", arguments={"width": 8})[0].out_channels == 8


def test_weights_of_others(tmp_path):
    (tmp_path / "net.py").write_text(SOURCE)
    for what, other in (("resnet20", build("resnet20", 7, seed=2)), (f"{tmp_path}/net.py:make", open_model(f"{tmp_path}/net.py:make"))):
        torch.save(other.state_dict(), tmp_path / "a.pth")
        assert equal(open_model(what, weights=tmp_path / "a.pth"), other)
    with pytest.raises(CheckpointError, match="name the function and arguments that make the network it was trained for"):
        open_model(f"{tmp_path}/net.py:make", arguments={"width": 8}, weights=tmp_path / "a.pth")


def test_what_there_is_not(tmp_path):
    with pytest.raises(ModelError, match=r"model must be a checkpoint, module:function, or one of resnet20, .*, not 'vgg'; there is no"):
        open_model("vgg")
    save_checkpoint(tmp_path / "a.safetensors", build("resnet20", 3), ModelSpec("resnet20", 3).metadata())
    with pytest.raises(ModelError, match="weights must be for an architecture or a function, not for the checkpoint"):
        open_model(tmp_path / "a.safetensors", weights=tmp_path / "a.safetensors")


def test_command_tells_which_layers_can_be_pruned(tmp_path):
    (tmp_path / "net.py").write_text(SOURCE)
    done = CliRunner().invoke(app, ["layers", f"{tmp_path}/net.py:make", "--size", "8", "--arguments", '{"width": 16}'])
    assert done.exit_code == 0
    assert "1 of 3 layers" in done.output
    assert "16 x 16 x 1 x 1" in done.output
    assert "stays dense: the last layer, whose rows are the classes" in done.output
    done = CliRunner().invoke(app, ["layers", "resnet20", "--size", "28", "--keep-dense", "layer1.0.conv1"])
    assert "19 of 22 layers" in done.output
    assert "stays dense: asked for" in done.output


@pytest.mark.parametrize("arguments", ["[1]", "{"])
def test_command_wants_arguments_by_name(arguments):
    done = CliRunner().invoke(app, ["layers", "a:b", "--arguments", arguments])
    assert isinstance(done.exception, ModelError)
    assert str(done.exception) == f'arguments must be JSON by name, such as {{"depth": 3}}, not {arguments!r}'
