"""ResNet-20, the small residual network for small images.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2: a 3x3
convolution, three stages of three basic blocks with 16, 32 and 64 channels, global average pooling and a linear layer. Where a
stage halves the image, the shortcut is a 1x1 convolution (option B), so that every weight of the network is in a matrix product.
Parameters carry torchvision's names.
"""

import torch
from torch import nn

__all__ = ["BasicBlock", "ResNet", "resnet20"]


class BasicBlock(nn.Module):
    """``relu(x' + bn2(conv2(relu(bn1(conv1(x))))))`` with x' = x, or a 1x1 convolution of x where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=False)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, C', H', W']."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNet(nn.Module):
    """Residual network of three stages.

    Parameters
    ----------
    depths : tuple of int
        Basic blocks of each stage.
    widths : tuple of int
        Channels of each stage; the first also of the first convolution.
    num_classes : int
        Outputs.
    in_channels : int
        Channels of the image.
    """

    def __init__(
        self, depths: tuple[int, int, int], widths: tuple[int, int, int] = (16, 32, 64), num_classes: int = 10, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=False)
        self.layer1 = make_stage(widths[0], widths[0], depths[0], stride=1)
        self.layer2 = make_stage(widths[0], widths[1], depths[1], stride=2)
        self.layer3 = make_stage(widths[1], widths[2], depths[2], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, in_channels, H, W] to logits [N, num_classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def make_stage(in_channels: int, out_channels: int, depth: int, stride: int) -> nn.Sequential:
    """Return ``depth`` basic blocks, of which the first changes channels and size."""
    blocks = [BasicBlock(in_channels, out_channels, stride)]
    blocks += [BasicBlock(out_channels, out_channels, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def resnet20(num_classes: int = 10, in_channels: int = 1) -> ResNet:
    """Return an untrained ResNet-20: 272 thousand parameters."""
    return ResNet((3, 3, 3), num_classes=num_classes, in_channels=in_channels)
