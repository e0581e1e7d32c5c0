"""VGG-16: 3x3 convolutions in five stages, each ended by a maximum pooling, and three linear layers.

Source: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556, configuration D.
Parameters carry torchvision's names. The first linear layer takes all pixels that are left: 7 x 7 of an image of 224 x 224 pixels, one
of 32 x 32 or 28 x 28. Where a pooling meets an odd side, as 7 of 28 pixels, a border of one pixel makes it round up.
"""

import torch
from torch import nn

from .sizes import check_size, scale_channels

__all__ = ["VGG", "vgg16", "vgg16_bn"]

#: Channels of each convolution, stage by stage.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
#: Outputs of the first two linear layers.
HIDDEN = 4096


class VGG(nn.Module):
    """VGG network.

    Parameters
    ----------
    num_classes : int
        Outputs.
    input_size : int
        Pixels a side of the image.
    batch_norm : bool
        Whether a batch norm follows each convolution.
    in_channels : int
        Channels of the image.
    width : float
        Factor of all channels and of the outputs of the first two linear layers, which are rounded to multiples of 8.

    Raises
    ------
    ModelError
        When the image has no pixel.
    """

    def __init__(self, *, num_classes: int, input_size: int, batch_norm: bool, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        check_size(input_size)
        layers: list[nn.Module] = []
        channels, side, hidden = in_channels, input_size, scale_channels(HIDDEN, width)
        for stage in STAGES:
            for outputs in (scale_channels(number, width) for number in stage):
                layers.append(nn.Conv2d(channels, outputs, 3, padding=1))
                layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
                layers.append(nn.ReLU(inplace=False))
                channels = outputs
            layers.append(nn.MaxPool2d(2, padding=side % 2))
            side = (side + 1) // 2
        self.features = nn.Sequential(*layers)
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
        """Map images [N, in_channels, input_size, input_size] to logits [N, num_classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg16(num_classes: int = 1000, input_size: int = 224, in_channels: int = 3, width: float = 1.0) -> VGG:
    """Return an untrained VGG-16: at width 1 138 million parameters, most of them in its first linear layer."""
    return VGG(num_classes=num_classes, input_size=input_size, in_channels=in_channels, width=width, batch_norm=False)


def vgg16_bn(num_classes: int = 1000, input_size: int = 224, in_channels: int = 3, width: float = 1.0) -> VGG:
    """Return an untrained VGG-16 with batch norm."""
    return VGG(num_classes=num_classes, input_size=input_size, in_channels=in_channels, width=width, batch_norm=True)
