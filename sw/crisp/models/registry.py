"""Networks by name."""

from collections.abc import Callable

import torch
from torch import nn

from .efficientnet import efficientnet_lite0
from .head import ModelError
from .mobilenet import mobilenet_v2
from .resnet import resnet18, resnet20, resnet50
from .vgg import vgg16, vgg16_bn

__all__ = ["ARCHITECTURES", "build"]

#: Makes an untrained network of each name from the number of its outputs and the pixels a side of its images. ResNet-20 takes grey
#: images of any size, the others coloured ones.
ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet20": lambda num_classes, input_size: resnet20(num_classes),
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "vgg16-bn": vgg16_bn,
    "mobilenetv2": mobilenet_v2,
    "efficientnet-lite0": efficientnet_lite0,
}


def build(name: str, num_classes: int = 1000, input_size: int = 224, seed: int = 0) -> nn.Module:
    """Return an untrained network, in evaluation mode.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`.
    num_classes : int
        Outputs.
    input_size : int
        Height and width of the images. Below 64 the networks look at them without halving them at once.
    seed : int
        Source of the initial weights. The state of torch's random numbers stays as it is.

    Raises
    ------
    ModelError
        When there is no such network, or it cannot have such outputs or images.
    """
    if name not in ARCHITECTURES:
        raise ModelError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {name!r}")
    if num_classes < 1:
        raise ModelError(f"num_classes must be at least 1, not {num_classes}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[name](num_classes, input_size).eval()
