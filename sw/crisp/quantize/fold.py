"""Folding a batch norm into the layer before it.

``gamma * (w * x + b - mean) / sqrt(var + eps) + beta`` is a layer with weights ``w * f`` and bias ``b * f + beta - mean * f``, where
``f = gamma / sqrt(var + eps)``. Source: B. Jacob et al., arXiv 1712.05877, section 3.2.
"""

import torch
from torch import nn

__all__ = ["fold", "has_statistics"]


def has_statistics(norm: nn.BatchNorm2d) -> bool:
    """Return whether a batch norm has statistics of its own, and not only those of each batch."""
    return norm.running_mean is not None and norm.running_var is not None


def fold(weight: torch.Tensor, bias: torch.Tensor, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight [O, C, kh, kw] and the bias [O] of a layer with ``norm``, which has statistics, behind it.

    Gradients pass, to the layer and to gamma and beta; the statistics are constants.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"{norm} must have statistics")
    factor = torch.rsqrt(norm.running_var + norm.eps)
    offset = -norm.running_mean * factor
    if norm.affine:
        factor, offset = norm.weight * factor, norm.weight * offset + norm.bias
    return weight * factor[:, None, None, None], bias * factor + offset
