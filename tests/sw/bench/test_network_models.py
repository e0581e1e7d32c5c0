"""Networks that are built once and kept."""

from pathlib import Path

import numpy as np
import pytest

from crisp.bench import network_models
from crisp.bench.network_cases import Case
from crisp.data import Split


def test_built_networks_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a network, density and seed; each is built once."""
    built = []

    class Built:
        quantized = None

        def __init__(self, density: float) -> None:
            self.density = density

    def build(name, sparsity, *, seed, images):
        assert len(images) == network_models.CALIBRATION_IMAGES
        built.append((name, 1.0 if sparsity is None else sparsity.density, seed))
        return Built(built[-1][1] + 0.001)

    pictures = Split(np.random.default_rng(5).integers(0, 256, (20, 32, 32, 3), np.uint8), np.zeros(20, np.int64))
    monkeypatch.setattr(network_models, "MODELS", tmp_path)
    monkeypatch.setattr(network_models, "build_network", build)
    monkeypatch.setattr(network_models, "load_pictures", lambda size: pictures)
    monkeypatch.setattr(network_models, "export_onnx", lambda quantized, **_: repr(built[-1]).encode())
    cases = [Case(network=name, density=density) for name in ("resnet50-32", "vgg16-32") for density in (1.0, 0.1, 0.08, 0.07)]
    first, second = ([network_models.load_model(case, seed) for case in cases for seed in (1, 2)] for _ in range(2))
    assert len(built) == len(set(built)) == 16
    for before, after in zip(first, second, strict=True):
        assert before[:2] == after[:2]
        assert before[2].shape == (1, 3, 32, 32)
    many = network_models.load_model(Case(network="vgg16-32", batch=14), 1)[2]
    assert many.shape == (14, 3, 32, 32)
    assert (many[0] == second[8][2]).all()
    assert (many[12] == many[0]).all()  # 12 pictures are left
    assert (many[1:12] != many[0]).any(axis=(1, 2, 3)).all()
    assert first[2][:2] == (b"('resnet50-32', 0.1, 1)", 0.101)
