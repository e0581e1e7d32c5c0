"""Calibration: the range of values that each tensor of a network takes, as scale and zero point.

Asymmetric int8: ``real = scale * (integer - zero_point)``, integer in -128..127, and 0 is represented exactly, since padding and ReLU
need it. Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv 1712.05877, section 2; percentile clipping after H. Wu et al., arXiv 2004.09602, section 4.
"""

import dataclasses
import enum
import statistics
from collections.abc import Iterable

import numpy as np
import torch

from .activations import Clamp
from .graph import FloatGraph, FloatMaxPool

__all__ = ["Affine", "RangeMethod", "affine", "calibrate"]


class RangeMethod(enum.Enum):
    """How the range of a tensor is found."""

    MIN_MAX = "min-max"  #: smallest and largest value of all images
    PERCENTILE = "percentile"  #: the percentiles of every batch, averaged: clips rare large values


@dataclasses.dataclass(frozen=True)
class Affine:
    """Meaning of the int8 values of a tensor: ``real = scale * (integer - zero_point)``."""

    scale: float
    zero_point: int

    def levels(self, clamp: Clamp) -> tuple[int, int]:
        """Return the smallest and the largest int8 value within ``clamp``."""
        low, high = (np.clip(np.rint(limit / self.scale) + self.zero_point, -128, 127) for limit in (clamp.low, clamp.high))
        return int(low), int(high)


def affine(low: float, high: float) -> Affine:
    """Return the scale, a float32 as ONNX has it, and zero point that map ``low`` to ``high``, widened to hold 0, to -128..127.

    No scale is smaller than the least normal float32, below which scales have too few bits to represent a range.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if not np.float32(high - low) > 0:
        return Affine(1.0, 0)
    scale = float(max(np.float32((high - low) / 255), np.finfo(np.float32).tiny))
    return Affine(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def calibrate(graph: FloatGraph, batches: Iterable[torch.Tensor], method: RangeMethod, percentile: float) -> dict[str, Affine]:
    """Find scale and zero point of the input and of every node's output; a maximum has its input's.

    Parameters
    ----------
    graph : FloatGraph
        Model.
    batches : iterable of Tensor
        float32 [N, C, H, W]; at least one.
    method : RangeMethod
        How ranges are found. The input always takes min-max: it is what it is.
    percentile : float
        For `RangeMethod.PERCENTILE`: the upper one, in percent; the lower one is 100 minus it.

    Returns
    -------
    dict
        By the name of the tensor.
    """
    lows: dict[str, list[float]] = {}
    highs: dict[str, list[float]] = {}
    rest = 1 - percentile / 100

    def observe(name: str, value: torch.Tensor) -> None:
        values = value.numpy().ravel()
        if method is RangeMethod.PERCENTILE and name != graph.input_name:
            count = min(int(rest * values.size), values.size - 1)  # values clipped on each side
            partitioned = np.partition(values, [count, values.size - 1 - count])
            low, high = partitioned[count], partitioned[values.size - 1 - count]
        else:
            low, high = values.min(), values.max()
        lows.setdefault(name, []).append(float(low))
        highs.setdefault(name, []).append(float(high))

    for batch in batches:
        graph.run(batch, observe)
    take_low, take_high = (statistics.fmean, statistics.fmean) if method is RangeMethod.PERCENTILE else (min, max)
    tensors = {name: affine(take_low(lows[name]), take_high(highs[name])) for name in lows}
    for node in graph.nodes:
        if isinstance(node, FloatMaxPool):
            tensors[node.name] = tensors[node.inputs[0]]
    return tensors
