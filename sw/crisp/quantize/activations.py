"""Functions of one value: limits, which are fused into the operation before them, and curves, which become tables."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["CURVES", "FUNCTIONS", "IDENTITY", "LIMITS", "NO_CLAMP", "RELU", "RELU6", "Clamp"]


@dataclasses.dataclass(frozen=True)
class Clamp:
    """Limits of a value, as reals: ``min(max(x, low), high)``."""

    low: float = -math.inf
    high: float = math.inf

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the limits."""
        return x if self == NO_CLAMP else x.clamp(self.low, self.high)

    def then(self, other: "Clamp") -> "Clamp":
        """Return the limits that are ``other`` after these."""
        return Clamp(min(max(self.low, other.low), other.high), max(min(self.high, other.high), other.low))


NO_CLAMP = Clamp()
RELU = Clamp(0.0)
RELU6 = Clamp(0.0, 6.0)

#: Name of the function that leaves values as they are: a table of it is a clamp that could not be fused.
IDENTITY = "identity"

#: Curves by name.
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    IDENTITY: lambda x: x,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
}

#: Limits by what torch calls them.
LIMITS: dict[Any, Clamp] = {
    **dict.fromkeys((nn.ReLU, functional.relu, torch.relu, "relu"), RELU),
    **dict.fromkeys((nn.ReLU6, functional.relu6), RELU6),
}

#: Names of curves by what torch calls them.
CURVES: dict[Any, str] = {
    **dict.fromkeys((nn.Sigmoid, functional.sigmoid, torch.sigmoid, "sigmoid"), "sigmoid"),
    **dict.fromkeys((nn.Tanh, functional.tanh, torch.tanh, "tanh"), "tanh"),
    **dict.fromkeys((nn.SiLU, functional.silu), "silu"),
    **dict.fromkeys((nn.Hardsigmoid, functional.hardsigmoid), "hardsigmoid"),
    **dict.fromkeys((nn.Hardswish, functional.hardswish), "hardswish"),
}
