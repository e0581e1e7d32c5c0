"""VGG-16: 3x3 convolutions in five stages, each ended by a maximum pooling, and three linear layers.

Source: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556, configuration D.
Parameters carry torchvision's names. The first linear layer takes all pixels that are left: 7 x 7 of an image of 224 x 224 pixels, one
of 32 x 32.
"""

import torch
from torch import nn

from .sizes import check_size

__all__ = ["VGG", "vgg16", "vgg16_bn"]

#: Channels of each convolution, stage by stage.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """VGG network.

    Parameters
    ----------
    num_classes : int
        Outputs.
    input_size : int
        Pixels a side of the image, a multiple of 32.
    batch_norm : bool
        Whether a batch norm follows each convolution.
    hidden : int
        Outputs of the first two linear layers.

    Raises
    ------
    ModelError
        When the image cannot be halved five times.
    """

    def __init__(self, *, num_classes: int, input_size: int, batch_norm: bool, hidden: int = 4096) -> None:
        super().__init__()
        check_size(input_size, 2 ** len(STAGES))
        layers: list[nn.Module] = []
        channels = 3
        for stage in STAGES:
            for width in stage:
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                layers.append(nn.ReLU(inplace=False))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = input_size // 2 ** len(STAGES)
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(inplace=False),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=False),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, 3, input_size, input_size] to logits [N, num_classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg16(num_classes: int = 1000, input_size: int = 224) -> VGG:
    """Return an untrained VGG-16: 138 million parameters, most of them in its first linear layer."""
    return VGG(num_classes=num_classes, input_size=input_size, batch_norm=False)


def vgg16_bn(num_classes: int = 1000, input_size: int = 224) -> VGG:
    """Return an untrained VGG-16 with batch norm."""
    return VGG(num_classes=num_classes, input_size=input_size, batch_norm=True)
