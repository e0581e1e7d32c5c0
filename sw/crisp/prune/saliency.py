"""Class-aware saliency: how much the loss on the user's classes hangs on each weight.

To first order, removing weight w changes the loss by ``w * dL/dw``. Source: P. Molchanov et al., "Importance Estimation for Neural Network
Pruning", arXiv 1906.10771; class-aware use: arXiv 2311.14272, section III. See ``docs/pruning.md`` for how the kinds compare.
"""

import enum
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.data import Images

from .ste import dense_weight

__all__ = ["Saliency", "measure_saliency"]


class Saliency(enum.Enum):
    """Which saliency weights compete by."""

    MAGNITUDE = "magnitude"  #: |w|: knows nothing of classes
    TAYLOR = "taylor"  #: |w| x |mean of dL/dw|, the mean over batches: near a minimum the mean is mostly noise
    ABSOLUTE = "absolute"  #: |w| x mean of |dL/dw|: gradients of different batches do not cancel


def measure_saliency(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Images], kind: Saliency, floor: float = 0.0
) -> dict[str, np.ndarray]:
    """Measure the saliency of every weight of ``layers``.

    Parameters
    ----------
    model : Module
        Network. Batch norm works with its statistics, which stay as they are; gradients are cleared before and after.
    layers : mapping
        Layers with a weight, by name. Where a mask hides weights, the saliency is that of the weights behind it.
    batches : iterable of Images
        Images and labels of the user's classes.
    kind : Saliency
        Formula.
    floor : float
        The gradient's magnitude counts as at least ``floor`` times its mean in the layer, so that weights whose gradient vanishes on the
        images at hand still compete by their size.

    Returns
    -------
    dict
        By layer: float64 of the weight's shape, not negative. Layers are not normalised: they compete as they are.
    """
    weights = {name: dense_weight(layer) for name, layer in layers.items()}
    if kind is Saliency.MAGNITUDE:
        return {name: weight.detach().abs().double().numpy() for name, weight in weights.items()}
    model.eval()
    totals = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    count = 0
    for batch in batches:
        loss = functional.cross_entropy(model(torch.from_numpy(batch.inputs())), torch.from_numpy(batch.labels))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            totals[name] += gradient.abs() if kind is Saliency.ABSOLUTE else gradient
        count += 1
    result = {}
    for name, weight in weights.items():
        gradient = totals[name].abs() / max(count, 1)
        gradient = gradient.clamp(min=floor * float(gradient.mean()))
        result[name] = (weight.detach().abs().double() * gradient).numpy()
    return result
