"""Random convolutional networks with every operation that is supported."""

import numpy as np
import torch
from tests.sw.small import with_statistics
from torch import nn
from torch.nn import functional

ACTIVATIONS = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.GELU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    lambda: nn.Hardtanh(-0.7, 1.3),
)


class RandomNet(nn.Module):
    """A chain of random blocks, some with a shortcut, and a head: pooled, flattened, or convolutional.

    Parameters
    ----------
    seed : int
        Chooses everything.
    blocks : int
        Length of the chain.
    """

    def __init__(self, seed: int, blocks: int = 5) -> None:
        super().__init__()
        torch.manual_seed(seed)
        random = np.random.default_rng(seed)
        self.channels, self.side = int(random.integers(1, 5)), int(random.integers(9, 15))
        channels, x = self.channels, torch.zeros(1, self.channels, self.side, self.side)
        self.blocks, self.shortcuts = nn.ModuleList(), []
        for _ in range(blocks):
            block = random_block(random, channels, x.shape[2]).eval()
            y = block(x)
            self.shortcuts.append(y.shape == x.shape and bool(random.integers(2)))
            self.blocks.append(block)
            channels, x = y.shape[1], y
        self.head = random_head(random, x)
        with_statistics(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            x = functional.relu(block(x) + x) if shortcut else block(x)
        return self.head(x)

    def images(self, count: int, seed: int) -> np.ndarray:
        """Return random images, float32 [N, C, H, W]."""
        return np.random.default_rng(seed).normal(size=(count, self.channels, self.side, self.side)).astype(np.float32)


def random_block(random: np.random.Generator, channels: int, side: int) -> nn.Sequential:
    """Return a convolution with batch norm or bias, an activation, and perhaps a pooling."""
    kernel = int(random.choice([1, 2, 3, 5] if side >= 5 else [1, 2, 3]))
    dilation = int(random.choice([1, 2])) if side > 2 * kernel else 1
    stride = int(random.choice([1, 1, 2])) if side > 4 else 1
    kind = random.choice(["dense", "dense", "depthwise", "grouped"])
    groups = {"dense": 1, "depthwise": channels, "grouped": 2 if channels % 2 == 0 else 1}[kind]
    outputs = groups * int(random.integers(1, 3)) if kind == "depthwise" else int(random.choice([channels, 6, 8, 10]))
    outputs += -outputs % groups
    bias = bool(random.integers(2))
    padding = int(random.integers(0, dilation * (kernel - 1) // 2 + 1)) if side > dilation * (kernel - 1) else dilation * (kernel - 1)
    parts: list[nn.Module] = [nn.Conv2d(channels, outputs, kernel, stride, padding, dilation, groups, bias=bias)]
    if not bias:
        parts.append(nn.BatchNorm2d(outputs))
    parts.append(random.choice(np.array(ACTIVATIONS, dtype=object))())
    with torch.no_grad():
        left = nn.Sequential(parts[0])(torch.zeros(1, channels, side, side)).shape[2]
    if left >= 4 and random.integers(3) == 0:
        parts.append(nn.MaxPool2d(3, 2, 1) if random.integers(2) else nn.AvgPool2d(2, int(random.integers(1, 3))))
    return nn.Sequential(*parts)


def random_head(random: np.random.Generator, x: torch.Tensor) -> nn.Sequential:
    """Return what makes classes of an image."""
    _, channels, height, width = x.shape
    kind = random.choice(["pooled", "flattened", "convolution"])
    if kind == "convolution":
        return nn.Sequential(nn.Conv2d(channels, 5, 1))
    if kind == "pooled":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 7))
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 4), nn.Sigmoid())
