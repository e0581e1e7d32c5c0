"""A linear layer behind a flattened image: its channels are neighbours in the machine, its pixels in torch."""

import numpy as np
import pytest
import torch
from tests.sw.small import striped_dataset
from torch import nn

from crisp.arch import Config, PatternError, check
from crisp.golden.convolution import to_matrix
from crisp.prune import PruneOptions, prune
from crisp.prune.cycles import CycleModel
from crisp.prune.layers import machine_shapes
from crisp.quantize import quantize, to_network
from crisp.quantize.aware import AwareOptions, finetune_quantized

OPTIONS = PruneOptions(
    sparsity=0.8,
    cycles=0.9,
    config="tiny",
    iterations=2,
    iteration_images=32,
    final_images=64,
    saliency_images=16,
    batch=16,
    distillation=0,
)


class Flattening(nn.Module):
    """Two convolutions, of whose output every pixel has its own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 2, 1)
        self.conv2 = nn.Conv2d(16, 16, 3, 2, 1)
        self.hidden = nn.Linear(144, 32)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(torch.relu(self.hidden(torch.flatten(x, 1))))


@pytest.fixture(scope="module")
def pruned():
    torch.manual_seed(0)
    return prune(Flattening(), striped_dataset(), (0, 2, 3), OPTIONS)


def test_shape_is_that_of_the_image(pruned):
    image = torch.zeros(1, 1, 12, 12)
    layers = {name: pruned.model.get_submodule(name) for name in ("conv2", "hidden", "fc")}
    assert machine_shapes(pruned.model, layers, image) == {"conv2": (16, 16, 3, 3), "hidden": (32, 16, 3, 3), "fc": (3, 32)}
    assert pruned.shapes == {"hidden": (32, 16, 3, 3)}


def test_pattern_is_of_the_matrix_in_the_machine(pruned):
    weight = pruned.model.hidden.weight.detach().numpy()
    check(to_matrix(weight.reshape(32, 16, 3, 3), 4), pruned.patterns["hidden"])
    with pytest.raises(PatternError):
        check(to_matrix(weight, 4), pruned.patterns["hidden"])


def test_the_network_gets_to_the_machine(pruned):
    images = striped_dataset().test.select(pruned.classes).inputs()
    config = Config.preset("tiny")
    network = to_network(quantize(pruned.model, images), config, pruned.patterns)
    packed = next(node.layer.packed for node in network.nodes if node.name == "hidden")
    assert packed.pattern.density <= pruned.patterns["hidden"].density
    cycles = CycleModel(pruned.model, images[:1], config)
    assert cycles.predict(pruned.patterns) <= 0.9 * cycles.dense


def test_training_as_int8_keeps_it(pruned):
    data = striped_dataset().train.select(pruned.classes)
    aware = finetune_quantized(pruned.model, data, AwareOptions(steps=4, batch=16, calibration_images=32), patterns=pruned.patterns)
    assert np.array_equal(aware.model.hidden.weight.detach().numpy() != 0, pruned.model.hidden.weight.detach().numpy() != 0)
