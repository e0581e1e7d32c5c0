"""Class-aware saliency: how much the loss on the user's classes hangs on each weight.

To first order, removing weight w changes the loss by ``w * dL/dw``. Source: P. Molchanov et al., "Importance Estimation for Neural Network
Pruning", arXiv 1906.10771; class-aware use: arXiv 2311.14272, section III. See ``docs/pruning.md`` for how the kinds compare.
"""

import enum
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.data import Images

from .ste import dense_weight

__all__ = ["Saliency", "measure_saliency"]


class Saliency(enum.Enum):
    """Which saliency weights compete by. w is the weight, g = dL/dw on a batch, x what the weight is multiplied with."""

    MAGNITUDE = "magnitude"  #: |w|: knows nothing of classes
    TAYLOR = "taylor"  #: |w| x |mean of g|, the mean over batches: near a minimum the mean is mostly noise
    ABSOLUTE = "absolute"  #: |w| x mean of |g|: gradients of different batches do not cancel
    FISHER = "fisher"  #: w^2 x mean of g^2: the loss to second order, with Fisher's information for the curvature
    ACTIVATION = "activation"  #: w^2 x mean of x^2: the energy that the layer's output loses, on the user's classes


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
        By layer: float32 of the weight's shape, not negative. Layers are not normalised: they compete as they are.

    Notes
    -----
    Sources: magnitude, S. Han et al., arXiv 1506.02626; Taylor, P. Molchanov et al., arXiv 1906.10771; Fisher, L. Theis et al., arXiv
    1801.05787; activation, M. Sun et al. (Wanda), arXiv 2306.11695, squared so that what a layer's weights lose adds up.
    """
    weights = {name: dense_weight(layer) for name, layer in layers.items()}
    if kind is Saliency.MAGNITUDE:
        return {name: weight.detach().abs().numpy() for name, weight in weights.items()}
    model.eval()
    if kind is Saliency.ACTIVATION:
        energies = input_energies(model, layers, batches)
        return {name: (weight.detach().square() * energies[name]).numpy() for name, weight in weights.items()}
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    count = 0
    for batch in batches:
        loss = functional.cross_entropy(model(torch.from_numpy(batch.inputs())), torch.from_numpy(batch.labels))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for name, gradient in zip(weights, gradients, strict=True):
            match kind:
                case Saliency.TAYLOR:
                    totals[name] += gradient
                case Saliency.ABSOLUTE:
                    totals[name] += gradient.abs()
                case _:
                    totals[name] += gradient.square()
        count += 1
    result = {}
    for name, weight in weights.items():
        gradient = totals[name].abs() / max(count, 1)
        if kind is Saliency.FISHER:
            result[name] = (weight.detach().square() * gradient.clamp(min=floor**2 * float(gradient.mean()))).numpy()
        else:
            result[name] = (weight.detach().abs() * gradient.clamp(min=floor * float(gradient.mean()))).numpy()
    return result


@torch.no_grad()
def input_energies(model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Images]) -> dict[str, torch.Tensor]:
    """Return by layer the mean square of each of its input channels, in the shape of its weight but for ones: [1, C, 1, 1] or [1, C]."""
    sums: dict[str, torch.Tensor] = {}

    def observe(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            square = inputs[0].square()
            axis = 1 if isinstance(module, nn.Conv2d) else -1
            mean = square.mean(dim=[other for other in range(square.ndim) if other != axis % square.ndim])
            sums[name] = sums.get(name, torch.zeros(())) + mean

        return hook

    handles = [layer.register_forward_pre_hook(observe(name)) for name, layer in layers.items()]
    count = 0
    try:
        for batch in batches:
            model(torch.from_numpy(batch.inputs()))
            count += 1
    finally:
        for handle in handles:
            handle.remove()
    shapes = {name: (1, -1, 1, 1) if isinstance(layer, nn.Conv2d) else (1, -1) for name, layer in layers.items()}
    return {name: (total / max(count, 1)).reshape(shapes[name]) for name, total in sums.items()}
