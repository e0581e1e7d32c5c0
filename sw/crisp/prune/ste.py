"""Training behind a mask that may still change: the straight-through estimator with sparse-refined decay (SR-STE).

The network computes with ``mask * w``. The gradient goes to w as if there were no mask, so that hidden weights keep learning and may come
back when masks are chosen anew; in addition hidden weights decay: ``dw = dL/d(mask * w) + decay * (1 - mask) * w``, which keeps masks from
wavering. Source: A. Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch", arXiv 2102.04010, equation 9.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["StraightThrough", "dense_weight", "hide", "reveal", "seen_weight", "without_decay"]


class MaskedWeight(torch.autograd.Function):
    """``mask * weight`` with the gradient of SR-STE."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, mask: torch.Tensor, decay: float) -> torch.Tensor:
        """Apply the mask."""
        ctx.save_for_backward(weight, mask)
        ctx.decay = decay
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Pass the gradient on to all weights, and let hidden ones decay."""
        if not ctx.decay:
            return gradients[0], None, None
        weight, mask = ctx.saved_tensors
        return gradients[0] + ctx.decay * (1 - mask) * weight, None, None


class StraightThrough(nn.Module):
    """Parametrization of a layer's weight.

    Parameters
    ----------
    mask : Tensor
        float32 of the weight's shape, 1 where it is seen.
    decay : float
        Decay of hidden weights, for each unit of learning rate.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor, decay: float) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.decay = decay

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight as the layer sees it."""
        masked: torch.Tensor = MaskedWeight.apply(weight, self.mask, self.decay)
        return masked


def hide(layer: nn.Module, mask: torch.Tensor, decay: float) -> None:
    """Put ``mask`` before the weight of ``layer``, or exchange the one that is there."""
    if parametrize.is_parametrized(layer, "weight"):
        through = straight_through(layer)
        through.mask, through.decay = mask, decay
    else:
        parametrize.register_parametrization(layer, "weight", StraightThrough(mask, decay))


@contextlib.contextmanager
def without_decay(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Let gradients of hidden weights be those of the loss alone."""
    masked = [straight_through(layer) for layer in layers if parametrize.is_parametrized(layer, "weight")]
    decays = [through.decay for through in masked]
    for through in masked:
        through.decay = 0.0
    try:
        yield
    finally:
        for through, decay in zip(masked, decays, strict=True):
            through.decay = decay


def reveal(layer: nn.Module) -> None:
    """Take the mask away; the layer's weight becomes what the mask let through, zeros elsewhere."""
    if parametrize.is_parametrized(layer, "weight"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def dense_weight(layer: nn.Module) -> nn.Parameter:
    """Return the weight behind the mask of ``layer``, or its weight where it has no mask."""
    if parametrize.is_parametrized(layer, "weight"):
        found = layer.get_parameter("parametrizations.weight.original")
    else:
        found = layer.get_parameter("weight")
    return found


def seen_weight(layer: nn.Module) -> torch.Tensor:
    """Return the weight as the layer computes with it: zeros where the mask hides it."""
    weight = layer.weight
    if not isinstance(weight, torch.Tensor):
        raise TypeError(f"the weight must be a tensor, not a {type(weight).__name__}")
    return weight


def straight_through(layer: nn.Module) -> StraightThrough:
    """Return the parametrization that `hide` registered."""
    found = layer.get_submodule("parametrizations.weight.0")
    if not isinstance(found, StraightThrough):
        raise TypeError(f"the weight must be parametrized by StraightThrough, not by {type(found).__name__}")
    return found
