import numpy as np
import torch

from crisp.arch import Config
from crisp.experiment.macs import count_macs
from crisp.experiment.pruned import layer_matrices
from crisp.experiment.runner import uniform_patterns
from crisp.golden.convolution import to_matrix
from crisp.models import build
from crisp.prune import PruneOptions
from crisp.prune.cycles import CycleModel

IMAGE = np.zeros((1, 1, 64, 64), np.float32)


def test_matrices_are_those_of_the_machine():
    """Also of the linear layer behind an image of two by two pixels."""
    model = build("vgg16-bn", 4, 64, in_channels=1, width=1 / 16)
    machine = CycleModel(model, IMAGE, Config())
    matrices = layer_matrices(model, IMAGE, PruneOptions())
    assert "classifier.0" in matrices
    for name, (score, layer) in matrices.items():
        weight = model.get_submodule(name).weight.detach().numpy()
        assert np.array_equal(score, np.abs(to_matrix(weight.reshape(machine.shapes[name]), 4)))
        assert layer.exists.shape == score.shape
    patterns = uniform_patterns(model, IMAGE, 0.75, 4)
    assert all(pattern.density <= 0.5 for pattern in patterns.values())
    assert {int(n) for pattern in patterns.values() for n in np.unique(pattern.n)} <= {0, 2}
    assert 0.2 < machine.predict(patterns) / machine.dense < 0.75


def test_multiplications_are_counted_by_hand():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Conv2d(2, 2, 3, stride=2, groups=2), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    image = np.zeros((1, 1, 5, 5), np.float32)
    assert count_macs(model, image) == 18 * 25 + 18 * 4 + 24
    with torch.no_grad():
        model[0].weight[0] = 0
        model[3].weight[1:] = 0
    assert count_macs(model, image) == 9 * 25 + 18 * 4 + 8
