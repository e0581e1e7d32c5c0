"""Networks by name."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import nn

from .efficientnet import efficientnet_lite0
from .head import ModelError
from .mobilenet import mobilenet_v2
from .resnet import resnet18, resnet20, resnet50, resnet56
from .vgg import vgg16, vgg16_bn

__all__ = ["ARCHITECTURES", "CHANNELS", "WIDTHS", "Architecture", "build"]

#: Channels that images may have: grey ones and coloured ones.
CHANNELS = (1, 3)
#: Least and largest factor of a network's channels.
WIDTHS = (1 / 16, 4.0)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A kind of network. Called, it makes an untrained one.

    Parameters
    ----------
    name : str
        Name.
    make : callable
        Makes the network from the number of outputs, the pixels a side of the image, its channels, and the factor of all channels.
    in_channels : int
        Channels of the image where they are not said.
    has_width : bool
        Whether the factor may be another than 1.
    """

    name: str
    make: Callable[[int, int, int, float], nn.Module]
    in_channels: int = 3
    has_width: bool = True

    def __call__(self, num_classes: int = 1000, input_size: int = 224, in_channels: int | None = None, width: float = 1.0) -> nn.Module:
        """Return an untrained network, its weights drawn from torch's random numbers.

        Raises
        ------
        ModelError
            When it cannot have such outputs, images or widths.
        """
        channels = self.in_channels if in_channels is None else in_channels
        if num_classes < 1:
            raise ModelError(f"num_classes must be at least 1, not {num_classes}")
        if input_size < 1:
            raise ModelError(f"input_size must be at least 1, not {input_size}")
        if channels not in CHANNELS:
            raise ModelError(f"in_channels must be 1, grey, or 3, coloured, not {channels}")
        if not (math.isfinite(width) and WIDTHS[0] <= width <= WIDTHS[1]):
            raise ModelError(f"width must be from {WIDTHS[0]} to {WIDTHS[1]}, not {width}")
        if width != 1 and not self.has_width:
            raise ModelError(f"width of {self.name} must be 1, not {width}")
        return self.make(num_classes, input_size, channels, width)


#: The networks. ResNet-20 and -56 take images of any size.
ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("resnet20", lambda classes, size, channels, width: resnet20(classes, channels, width), in_channels=1),
        Architecture("resnet56", lambda classes, size, channels, width: resnet56(classes, channels, width)),
        Architecture("resnet18", resnet18),
        Architecture("resnet50", resnet50),
        Architecture("vgg16", vgg16),
        Architecture("vgg16-bn", vgg16_bn),
        Architecture("mobilenetv2", mobilenet_v2),
        Architecture(
            "efficientnet-lite0", lambda classes, size, channels, width: efficientnet_lite0(classes, size, channels), has_width=False
        ),
    )
}


def build(
    name: str, num_classes: int = 1000, input_size: int = 224, seed: int = 0, *, in_channels: int | None = None, width: float = 1.0
) -> nn.Module:
    """Return an untrained network, in evaluation mode.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`.
    num_classes : int
        Outputs.
    input_size : int
        Height and width of the images. Below 64 the networks, but for EfficientNet-Lite0, look at them without halving
        them at once.
    seed : int
        Source of the initial weights. The state of torch's random numbers stays as it is.
    in_channels : int, optional
        Channels of the images: 1 or 3. By default 1 for ResNet-20 and 3 for all others.
    width : float
        Factor of all channels, which are rounded to multiples of 8.

    Raises
    ------
    ModelError
        When there is no such network, or it cannot have such outputs, images or widths.
    """
    if name not in ARCHITECTURES:
        raise ModelError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[name](num_classes, input_size, in_channels, width).eval()
