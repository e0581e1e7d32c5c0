"""Class-aware saliency: how much the loss on the user's classes hangs on each weight.

To first order, removing weight w changes the loss by ``w * dL/dw``. Source: P. Molchanov et al., "Importance Estimation for Neural Network
Pruning", arXiv 1906.10771; class-aware use: arXiv 2311.14272, section III. See ``docs/pruning.md`` for how the kinds compare.
"""

import enum
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.data import Images

from .processes import PairwiseSum, Processes
from .ste import dense_weight, without_decay

__all__ = ["Saliency", "measure_saliency"]


class Saliency(enum.Enum):
    """Which saliency weights compete by. w is the weight, g = dL/dw on a batch, x what the weight is multiplied with."""

    MAGNITUDE = "magnitude"  #: |w|: knows nothing of classes
    TAYLOR = "taylor"  #: |w| x |mean of g|, the mean over batches: near a minimum the mean is mostly noise
    ABSOLUTE = "absolute"  #: |w| x mean of |g|: gradients of different batches do not cancel
    FISHER = "fisher"  #: w^2 x mean of g^2: the loss to second order, with Fisher's information for the curvature
    ACTIVATION = "activation"  #: w^2 x mean of x^2: the energy that the layer's output loses, on the user's classes


def measure_saliency(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: Sequence[Images],
    kind: Saliency,
    floor: float = 0.0,
    processes: Processes | None = None,
) -> dict[str, np.ndarray]:
    """Measure the saliency of every weight of ``layers``.

    Parameters
    ----------
    model : Module
        Network; it is left in evaluation mode. Batch norm works with its statistics, which stay as they are, and so do the gradients of
        parameters.
    layers : mapping
        Layers with a weight, by name. Where a mask hides weights, the saliency is that of the weights behind it.
    batches : sequence of Images
        Images and labels of the user's classes.
    kind : Saliency
        Formula.
    floor : float
        The gradient's magnitude counts as at least ``floor`` times its mean in the layer, its square in Fisher's formula as ``floor``^2
        times the mean square, so that weights whose gradient vanishes on the images at hand still compete by their size.
    processes : Processes, optional
        Who shares the batches; all get the same bits.

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
        return {name: weight.detach().abs().cpu().numpy() for name, weight in weights.items()}
    model.eval()
    processes = processes or Processes()
    if kind is Saliency.ACTIVATION:
        energies = input_energies(model, layers, batches, processes)
        return {name: (weight.detach().square() * energies[name]).cpu().numpy() for name, weight in weights.items()}
    device = next(iter(weights.values())).device

    def find(batch: Images) -> list[torch.Tensor]:
        loss = functional.cross_entropy(model(torch.from_numpy(batch.inputs()).to(device)), torch.from_numpy(batch.labels).to(device))
        gradients = torch.autograd.grad(loss, list(weights.values()))
        match kind:
            case Saliency.TAYLOR:
                return list(gradients)
            case Saliency.ABSOLUTE:
                return [gradient.abs() for gradient in gradients]
            case _:
                return [gradient.square() for gradient in gradients]

    with without_decay(layers.values()):
        means = mean_over(batches, find, [weight.shape for weight in weights.values()], processes)
    result = {}
    for (name, weight), mean in zip(weights.items(), means, strict=True):
        gradient = mean.abs()
        if kind is Saliency.FISHER:
            result[name] = (weight.detach().square() * gradient.clamp(min=floor**2 * float(gradient.mean()))).cpu().numpy()
        else:
            result[name] = (weight.detach().abs() * gradient.clamp(min=floor * float(gradient.mean()))).cpu().numpy()
    return result


def mean_over(
    batches: Sequence[Images], find: Callable[[Images], list[torch.Tensor]], shapes: Sequence[torch.Size], processes: Processes
) -> list[torch.Tensor]:
    """Return the means over all ``batches``, which the processes share, of the tensors of ``shapes`` that ``find`` finds for a batch."""
    sums = PairwiseSum()
    mine = processes.share(batches)
    for batch in mine or batches[:1]:  # a process without a batch adds nothing, but as many numbers
        found = torch.cat([tensor.reshape(-1) for tensor in find(batch)])
        sums.add(found if mine else torch.zeros_like(found))
    mean = processes.total(sums.total()).div_(len(batches))
    sizes = [shape.numel() for shape in shapes]
    return [part.view(shape) for part, shape in zip(mean.split(sizes), shapes, strict=True)]


@torch.no_grad()
def input_energies(
    model: nn.Module, layers: Mapping[str, nn.Module], batches: Sequence[Images], processes: Processes
) -> dict[str, torch.Tensor]:
    """Return by layer the mean square of each of its input channels, in the shape of its weight but for ones: [1, C, 1, 1] or [1, C]."""
    sums: dict[str, torch.Tensor] = {}
    weights = {name: dense_weight(layer) for name, layer in layers.items()}
    shapes = {name: torch.Size((1, weight.shape[1], *(1 for _ in weight.shape[2:]))) for name, weight in weights.items()}

    def observe(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            square = inputs[0].square()
            axis = 1 if isinstance(module, nn.Conv2d) else -1
            mean = square.mean(dim=[other for other in range(square.ndim) if other != axis % square.ndim])
            sums[name] = sums[name] + mean if name in sums else mean

        return hook

    def find(batch: Images) -> list[torch.Tensor]:
        sums.clear()
        model(torch.from_numpy(batch.inputs()).to(next(iter(weights.values())).device))
        return [sums[name] for name in layers]

    handles = [layer.register_forward_pre_hook(observe(name)) for name, layer in layers.items()]
    try:
        means = mean_over(batches, find, list(shapes.values()), processes)
    finally:
        for handle in handles:
            handle.remove()
    return dict(zip(layers, means, strict=True))
