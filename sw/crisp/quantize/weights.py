"""Weights in int8: symmetric, one scale an output channel, so that zero stays zero and every sparsity pattern survives.

``w = scale * level`` with levels -127..127; biases are int32 in units of input scale x weight scale. Sources: B. Jacob et al., arXiv
1712.05877, section 2.4 (biases); R. Krishnamoorthi, arXiv 1806.08342 (a scale for each channel).
"""

import enum

import numpy as np
import torch

__all__ = ["BIAS_MAX", "WEIGHT_MAX", "WeightRange", "weight_levels", "weight_scales"]

WEIGHT_MAX = 127

#: Largest bias in int32 units. A channel whose weights are so small that its bias would exceed it gets a coarser weight scale.
BIAS_MAX = 2**30

#: What shares of a channel's largest weight are tried as its limit: from all of it down to a quarter.
RATIOS = np.arange(64, 15, -1) / 64
#: Weights that are searched at a time: bounds memory.
SEARCHED = 2**20


class WeightRange(enum.Enum):
    """How the scale of a channel's weights is found."""

    LARGEST = "largest"  #: the largest magnitude is level 127
    MSE = "mse"  #: the scale with the least squared error, which may clip large weights


def weight_scales(weight: torch.Tensor, bias: np.ndarray, input_scale: float, method: WeightRange = WeightRange.LARGEST) -> np.ndarray:
    """Return the scale of each output channel, a float32 as ONNX has it, as float64 [O].

    Parameters
    ----------
    weight : Tensor
        float32 [O, ...].
    bias : ndarray
        float64 [O].
    input_scale : float
        Scale of the layer's input.
    method : WeightRange
        What is represented exactly, or as well as can be.
    """
    largest = weight.abs().flatten(1).amax(dim=1).double().numpy()
    if method is WeightRange.MSE:
        largest = largest * best_ratios(weight.flatten(1), largest)
    least = np.abs(bias) / (input_scale * BIAS_MAX)
    scale = np.maximum(largest / WEIGHT_MAX, least).astype(np.float32).astype(np.float64)
    scale[scale == 0] = np.float32(1 / WEIGHT_MAX)  # a channel without weights and bias: any scale does
    return scale


def best_ratios(rows: torch.Tensor, largest: np.ndarray) -> np.ndarray:
    """Return for each row [K] the share of its largest magnitude at which clipping gives the least squared error, float64 [O]."""
    best = np.ones(len(rows))
    step = max(1, SEARCHED // rows.shape[1])
    for start in range(0, len(rows), step):
        part, limit = rows[start : start + step], torch.from_numpy(largest[start : start + step, None]).float()
        errors = torch.stack([squared_error(part, limit * float(ratio / WEIGHT_MAX)) for ratio in RATIOS])
        best[start : start + step] = RATIOS[errors.argmin(dim=0).numpy()]
    return best


def squared_error(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the squared error of each row with its scale [O, 1]; float64 [O]."""
    levels = (rows / scale.clamp(min=torch.finfo(torch.float32).tiny)).round_().clamp_(-WEIGHT_MAX, WEIGHT_MAX)
    return levels.mul_(scale).sub_(rows).square_().sum(dim=1, dtype=torch.float64)


def weight_levels(weight: torch.Tensor, scale: np.ndarray) -> np.ndarray:
    """Return weights [O, ...] as int8 with the scales [O]."""
    # Channel by channel, since a linear layer of 100 million weights is large in float64.
    rows = (np.rint(row.double().numpy() / unit) for row, unit in zip(weight, scale, strict=True))
    return np.stack([np.clip(row, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8) for row in rows])
