"""Small networks and data for the tests of the torch side."""

import contextlib
import functools
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from crisp.data import Dataset, Split, load_fashion_mnist
from crisp.data.fashion_mnist import missing_files
from crisp.data.sources import FETCH_FOLDER, INSTALLED, VARIABLE
from crisp.models import ModelSpec

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints/resnet20-fashion-mnist.safetensors"
#: The network in it, but for the number of its outputs.
RESNET20 = ModelSpec("resnet20", input_size=28)


@contextlib.contextmanager
def little_room(size: int = 1000) -> Iterator[None]:
    """Have the system refuse to write files of more than ``size`` bytes, as a full disk does, whoever asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def striped_split(count: int, classes: int, side: int, seed: int) -> Split:
    """Return noisy images whose class is the place of a bright stripe: easy to learn."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = random.integers(0, 80, size=(count, side, side))
    for image, label in zip(images, labels, strict=True):
        image[label * side // classes : (label + 1) * side // classes] += 150
    return Split(images.astype(np.uint8), labels.astype(np.int64))


def striped_dataset(count: int = 240, classes: int = 4, side: int = 12) -> Dataset:
    """Return a data set of striped images."""
    names = tuple(f"stripe {label}" for label in range(classes))
    return Dataset("stripes", "made by a test", names, striped_split(count, classes, side, 1), striped_split(count // 4, classes, side, 2))


class SmallNet(nn.Module):
    """A residual block with a 1x1 shortcut, pooling and a linear layer: every kind of node, in 20 thousand weights."""

    def __init__(self, num_classes: int = 4, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width // 2, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(width // 2, width, 1, 2)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(x)))
        y = self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))
        return self.fc(torch.flatten(self.pool(y), 1))


def small_net(seed: int = 0, num_classes: int = 4) -> SmallNet:
    """Return a network whose batch norms have seen data, in evaluation mode."""
    torch.manual_seed(seed)
    return with_statistics(SmallNet(num_classes))


class SmallMobile(nn.Module):
    """Depthwise, grouped and dilated convolutions, borders, poolings, limits and curves, and a linear layer behind an image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardtanh(-0.5, 1.5))
        self.grouped = nn.Sequential(nn.Conv2d(8, 12, (1, 3), 1, "same", (1, 2), 4), nn.SiLU(), nn.MaxPool2d(3, 1, 1))
        self.dilated = nn.Sequential(nn.Conv2d(12, 8, 3, 1, 2, 2), nn.Hardswish(), nn.AvgPool2d(3, 1, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(nn.Linear(8 * 16, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.depthwise(x)
        return self.classifier(torch.flatten(self.pool(self.dilated(self.grouped(x))), 1))


def small_mobile(seed: int = 0) -> SmallMobile:
    """Return a network for images of 3 x 16 x 16 whose batch norms have seen data, in evaluation mode."""
    torch.manual_seed(seed)
    return with_statistics(SmallMobile())


Model = TypeVar("Model", bound=nn.Module)


def with_statistics(model: Model) -> Model:
    """Give every batch norm of ``model`` parameters and statistics as if it had seen data; set evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@functools.lru_cache(maxsize=1)
def fashion_mnist() -> Dataset:
    """Return Fashion-MNIST where it is on this machine; skip the test where it is not."""
    for folder in (os.environ.get(VARIABLE), INSTALLED, ROOT / FETCH_FOLDER / "fashion-mnist"):
        if folder and not missing_files(Path(folder)):
            return load_fashion_mnist(Path(folder))
    pytest.skip("Fashion-MNIST is not on this machine; `crisp demo` fetches it")
