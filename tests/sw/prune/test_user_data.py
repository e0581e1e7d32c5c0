"""From a user's pictures to a pruned and quantized network, by the interface that all data sets share."""

import numpy as np
import pytest
import torch
from PIL import Image

from crisp.arch import Config
from crisp.data import load_dataset
from crisp.models import accuracy, build
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
