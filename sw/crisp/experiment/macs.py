"""Multiplications of a network that its zeros leave."""

import numpy as np
import torch
from torch import nn

__all__ = ["count_macs"]


@torch.no_grad()
def count_macs(model: nn.Module, image: np.ndarray) -> int:
    """Return the multiplications of one image: of all convolutions and linear layers, the weights that are not zero times output pixels.

    Parameters
    ----------
    model : Module
        Network; it is left in evaluation mode.
    image : ndarray
        float32 [1, C, H, W].
    """
    model.eval()
    total = 0

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        pixels = output[0, 0].numel() if isinstance(module, nn.Conv2d) else output[0, ..., 0].numel()
        total += int(module.get_parameter("weight").count_nonzero()) * pixels

    handles = [module.register_forward_hook(hook) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    try:
        model(torch.from_numpy(image))
    finally:
        for handle in handles:
            handle.remove()
    return total
