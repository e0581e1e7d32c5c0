"""Functions of one value, as ONNX defines them, and the tables that they become."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .graph import Quantization

__all__ = ["FUNCTIONS", "tabulate"]

Function = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]


def hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """Compute ``clip(alpha * x + beta, 0, 1)``."""
    return np.clip(np.float32(alpha) * x + np.float32(beta), 0, 1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Compute ``1 / (1 + exp(-x))``, without overflow where that is large."""
    return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))


def gelu(x: np.ndarray, tanh: bool) -> np.ndarray:
    """Compute ``x * Phi(x)`` with the normal distribution's Phi, or its approximation by tanh."""
    if tanh:
        return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))
    return np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()])


#: By ONNX's name: float32 from float32 and the node's attributes.
FUNCTIONS: Mapping[str, Function] = {
    "Clip": lambda x, attributes: np.clip(x, *attributes["bounds"]),
    "Elu": lambda x, attributes: np.where(x > 0, x, np.float32(attributes["alpha"]) * np.expm1(np.minimum(x, 0))),
    "Gelu": lambda x, attributes: gelu(x, attributes["tanh"]),
    "HardSigmoid": lambda x, attributes: hard_sigmoid(x, attributes["alpha"], attributes["beta"]),
    "HardSwish": lambda x, attributes: x * hard_sigmoid(x, 1 / 6, 0.5),
    "Identity": lambda x, attributes: x,
    "LeakyRelu": lambda x, attributes: np.where(x > 0, x, np.float32(attributes["alpha"]) * x),
    "Relu": lambda x, attributes: np.clip(x, *attributes["bounds"]),
    "Sigmoid": lambda x, attributes: sigmoid(x),
    "Swish": lambda x, attributes: x * sigmoid(np.float32(attributes["alpha"]) * x),
    "Tanh": lambda x, attributes: np.tanh(x),
}


def tabulate(function: str, attributes: Mapping[str, Any], source: Quantization, output: Quantization) -> np.ndarray:
    """Return the output of a function for every int8 input, -128 first: int8 [256]. Computed in float32, as ONNX Runtime does."""
    levels = np.arange(-128, 128, dtype=np.float32)
    x = (levels - np.float32(source.zero_point)) * source.scale.astype(np.float32)
    y = np.asarray(FUNCTIONS[function](x, attributes), np.float32)
    return np.clip(np.rint(y / output.scale.astype(np.float32)) + output.zero_point, -128, 127).astype(np.int8)
