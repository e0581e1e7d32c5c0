"""MobileNetV2: inverted residuals, whose depthwise 3x3 convolution stands between two 1x1 convolutions.

Source: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381. Parameters carry torchvision's
names. For small images the first convolution and the second stage keep the size, as is usual for CIFAR.
"""

import torch
from torch import nn

from .sizes import is_small, round_channels

__all__ = ["InvertedResidual", "MobileNetV2", "mobilenet_v2"]

#: Expansion, channels, blocks and stride of each stage.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280


class ConvNormActivation(nn.Sequential):
    """Convolution that keeps the size divided by ``stride``, batch norm and ReLU6."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(inplace=False),
        )


class InvertedResidual(nn.Module):
    """1x1 convolution to ``expansion`` times as many channels, depthwise 3x3, 1x1 to ``out_channels``; plus x where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.adds = stride == 1 and in_channels == out_channels
        expand = [] if expansion == 1 else [ConvNormActivation(in_channels, hidden, kernel=1)]
        self.conv = nn.Sequential(
            *expand,
            ConvNormActivation(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2.

    Parameters
    ----------
    num_classes : int
        Outputs.
    in_channels : int
        Channels of the image.
    width : float
        Factor of all channels, which are rounded to multiples of 8.
    small : bool
        Whether images are small.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0, small: bool = False) -> None:
        super().__init__()
        channels, last = round_channels(FIRST * width), round_channels(LAST * max(1.0, width))
        layers: list[nn.Module] = [ConvNormActivation(in_channels, channels, stride=1 if small else 2)]
        for stage, (expansion, outputs, depth, stride) in enumerate(STAGES):
            for number in range(depth):
                step = stride if number == 0 and not (small and stage == 1) else 1
                layers.append(InvertedResidual(channels, round_channels(outputs * width), step, expansion))
                channels = round_channels(outputs * width)
        self.features = nn.Sequential(*layers, ConvNormActivation(channels, last, kernel=1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def mobilenet_v2(num_classes: int = 1000, input_size: int = 224, in_channels: int = 3, width: float = 1.0) -> MobileNetV2:
    """Return an untrained MobileNetV2: 3.5 million parameters at width 1."""
    return MobileNetV2(num_classes=num_classes, in_channels=in_channels, width=width, small=is_small(input_size))
