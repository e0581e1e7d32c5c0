"""Residual networks.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385. ResNet-18 and -50 are those of
section 3.3, with the stride of a bottleneck in its 3x3 convolution ("v1.5"), as torchvision has them. ResNet-20 and -56 are the small
networks of section 4.2: three stages of three or nine basic blocks, for images of any size, which they do not halve at once. Where a
stage halves the image or changes its channels, the shortcut is a 1x1 convolution (option B), so that every weight of the network is in a
matrix product. Parameters carry torchvision's names.
"""

from collections.abc import Sequence

import torch
from torch import nn

from .sizes import is_small, scale_channels

__all__ = ["BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet20", "resnet50", "resnet56"]


class BasicBlock(nn.Module):
    """``relu(x' + bn2(conv2(relu(bn1(conv1(x))))))`` with x' = x, or a 1x1 convolution of x where the shape changes."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=False)
        self.downsample = make_shortcut(in_channels, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """Three convolutions, 1x1, 3x3 and 1x1, the last with four times as many channels as the others; else as a `BasicBlock`."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, self.expansion * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.expansion * width)
        self.relu = nn.ReLU(inplace=False)
        self.downsample = make_shortcut(in_channels, self.expansion * width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


def make_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Return the convolution that takes the shortcut of a block to another shape, if it must."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class ResNet(nn.Module):
    """Residual network; every stage but the first halves the image.

    Parameters
    ----------
    block : type
        `BasicBlock` or `Bottleneck`.
    depths : sequence of int
        Blocks of each stage.
    width : int
        Channels of the first convolution and, before expansion, of the first stage; each further stage has twice as many.
    num_classes : int
        Outputs.
    in_channels : int
        Channels of the image.
    small : bool
        Whether images are small: then the first convolution is 3x3 and keeps their size. Else it is 7x7, and with the maximum pooling
        behind it leaves a quarter of height and width.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        width: int,
        *,
        num_classes: int,
        in_channels: int = 3,
        small: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=False)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        self.stages = []
        channels = width
        for stage, depth in enumerate(depths):
            first = block(channels, width, 1 if stage == 0 else 2)
            channels = block.expansion * width
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(first, *(block(channels, width, 1) for _ in range(depth - 1))))
            width *= 2
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet20(num_classes: int = 10, in_channels: int = 1, width: float = 1.0) -> ResNet:
    """Return an untrained ResNet-20: 272 thousand parameters."""
    return ResNet(BasicBlock, (3, 3, 3), scale_channels(16, width), num_classes=num_classes, in_channels=in_channels, small=True)


def resnet56(num_classes: int = 10, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """Return an untrained ResNet-56: 856 thousand parameters."""
    return ResNet(BasicBlock, (9, 9, 9), scale_channels(16, width), num_classes=num_classes, in_channels=in_channels, small=True)


def resnet18(num_classes: int = 1000, input_size: int = 224, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """Return an untrained ResNet-18: 11.7 million parameters at width 1."""
    channels, small = scale_channels(64, width), is_small(input_size)
    return ResNet(BasicBlock, (2, 2, 2, 2), channels, num_classes=num_classes, in_channels=in_channels, small=small)


def resnet50(num_classes: int = 1000, input_size: int = 224, in_channels: int = 3, width: float = 1.0) -> ResNet:
    """Return an untrained ResNet-50: 25.6 million parameters at width 1."""
    channels, small = scale_channels(64, width), is_small(input_size)
    return ResNet(Bottleneck, (3, 4, 6, 3), channels, num_classes=num_classes, in_channels=in_channels, small=small)
