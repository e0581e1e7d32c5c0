"""Multiplications of a network that its zeros leave."""

import numpy as np
import torch
from torch import nn

from crisp.models.prunable import count_pixels

__all__ = ["count_macs"]


@torch.no_grad()
def count_macs(model: nn.Module, image: np.ndarray) -> int:
    """Return the multiplications of one image: of all convolutions and linear layers, the weights that are not zero times output pixels.

    Parameters
    ----------
    model : Module
        Network; it is left as it is.
    image : ndarray
        float32 [1, C, H, W].
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    pixels = count_pixels(model, layers, torch.from_numpy(image))
    return sum(int(layers[name].get_parameter("weight").count_nonzero()) * count for name, count in pixels.items())
