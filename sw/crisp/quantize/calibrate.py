"""Calibration: the range of values that each tensor of a network takes over some images, as scale and zero point.

Source: H. Wu et al., "Integer Quantization for Deep Learning Inference: Principles and Empirical Evaluation", arXiv 2004.09602, section 4
(largest value and percentiles); for the least squared error see `crisp.quantize.histogram`.
"""

import enum
import statistics
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch

from .affine import Affine, affine
from .errors import QuantizeError
from .graph import FloatGraph, FloatMaxPool
from .histogram import Histogram

__all__ = ["Affine", "RangeMethod", "affine", "calibrate"]


class RangeMethod(enum.Enum):
    """How the range of a tensor is found."""

    MIN_MAX = "min-max"  #: smallest and largest value of all images
    PERCENTILE = "percentile"  #: the percentiles of every batch, averaged: clips rare large values
    MSE = "mse"  #: the range with the least mean squared error over all images


class Observer(Protocol):
    """Sees a tensor's values, batch after batch, and says its range."""

    def add(self, values: np.ndarray) -> None:
        """Look at float32 values."""

    def range(self) -> tuple[float, float]:
        """Return the low and the high limit."""


class MinMax:
    """Smallest and largest value."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        """Look at float32 values."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def range(self) -> tuple[float, float]:
        """Return the low and the high limit."""
        return self.low, self.high


class Percentile:
    """A percentile of the values of each batch and its mirror image, averaged over batches."""

    def __init__(self, percentile: float) -> None:
        self.rest = 1 - percentile / 100
        self.lows: list[float] = []
        self.highs: list[float] = []

    def add(self, values: np.ndarray) -> None:
        """Look at float32 values."""
        count = min(int(self.rest * values.size), values.size - 1)  # values clipped on each side
        partitioned = np.partition(values.ravel(), [count, values.size - 1 - count])
        self.lows.append(float(partitioned[count]))
        self.highs.append(float(partitioned[values.size - 1 - count]))

    def range(self) -> tuple[float, float]:
        """Return the low and the high limit."""
        return statistics.fmean(self.lows), statistics.fmean(self.highs)


def calibrate(graph: FloatGraph, batches: Iterable[torch.Tensor], method: RangeMethod, percentile: float) -> dict[str, Affine]:
    """Find scale and zero point of the input and of every node's output; a maximum has its input's.

    Parameters
    ----------
    graph : FloatGraph
        Model.
    batches : iterable of Tensor
        float32 [N, C, H, W]; at least one.
    method : RangeMethod
        How ranges are found. The input and the model's output always take min-max: the input is what it is, and of the output nothing
        but the largest values matters.
    percentile : float
        For `RangeMethod.PERCENTILE`: the upper one, in percent; the lower one is 100 minus it.

    Returns
    -------
    dict
        By the name of the tensor.

    Raises
    ------
    QuantizeError
        When a value is not finite.
    """
    whole = (graph.input_name, graph.nodes[-1].name)
    observers: dict[str, Observer] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        for limit in torch.aminmax(value):  # which are NaN where any value is
            if not torch.isfinite(limit):
                remedy = "look at the images" if name == graph.input_name else "train the network again"
                raise QuantizeError(f"{name}: values must be finite, not {limit.item()}; {remedy}")
        if name not in observers:
            observers[name] = MinMax() if name in whole else new_observer(method, percentile)
        observers[name].add(value.numpy())

    for batch in batches:
        graph.run(batch, observe)
    tensors = {name: affine(*observer.range()) for name, observer in observers.items()}
    for node in graph.nodes:
        if isinstance(node, FloatMaxPool):
            tensors[node.name] = tensors[node.inputs[0]]
    return tensors


def new_observer(method: RangeMethod, percentile: float) -> Observer:
    """Return what finds a range by ``method``."""
    if method is RangeMethod.PERCENTILE:
        return Percentile(percentile)
    return Histogram() if method is RangeMethod.MSE else MinMax()
