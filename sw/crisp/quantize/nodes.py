"""A model in int8: nodes as the integer network has them, with real scales, which is what ONNX says with its Q/DQ nodes."""

import dataclasses

import numpy as np

from crisp.golden.convolution import Convolution, Window

from .activations import NO_CLAMP, Clamp
from .affine import Affine

__all__ = [
    "QuantizedAdd",
    "QuantizedAveragePool",
    "QuantizedMaxPool",
    "QuantizedModel",
    "QuantizedNode",
    "QuantizedPool",
    "QuantizedProduct",
    "QuantizedTable",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedOperation:
    """What every node has: its name, which is its output's, and the names of its inputs."""

    name: str
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedProduct(QuantizedOperation):
    """Convolution or linear layer in int8.

    Parameters
    ----------
    weight : ndarray
        int8 [O, C / groups, kh, kw].
    weight_scale : ndarray
        float64 [O].
    bias : ndarray
        int32 [O], in units of input scale x weight scale; the input's zero point is not in it.
    convolution : Convolution
        Geometry.
    clamp : Clamp
        Limits of the output, as reals: ReLU, ReLU6, ...
    """

    weight: np.ndarray
    weight_scale: np.ndarray
    bias: np.ndarray
    convolution: Convolution
    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedAdd(QuantizedOperation):
    """Sum of two tensors, within limits."""

    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedPool(QuantizedOperation):
    """Mean of all pixels, of which there are ``pixels``, within limits."""

    pixels: int
    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedAveragePool(QuantizedOperation):
    """Mean of each window, within limits; pixels outside the image are 0 and count."""

    window: Window
    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedMaxPool(QuantizedOperation):
    """Largest pixel of each window; scale and zero point are the input's."""

    window: Window


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedTable(QuantizedOperation):
    """Function of every value by itself, named in `crisp.quantize.activations.FUNCTIONS`, within limits."""

    function: str
    clamp: Clamp = NO_CLAMP


QuantizedNode = QuantizedProduct | QuantizedAdd | QuantizedPool | QuantizedAveragePool | QuantizedMaxPool | QuantizedTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedModel:
    """A model in int8, still as convolutions with real scales.

    Parameters
    ----------
    name : str
        Name for reports.
    nodes : list of QuantizedNode
        In order; the last one's output is the model's.
    tensors : dict
        Scale and zero point of the input, ``"input"``, and of every node's output.
    image : tuple of int, optional
        Height, width and channels of the images that it was calibrated with.
    """

    name: str
    nodes: list[QuantizedNode]
    tensors: dict[str, Affine]
    image: tuple[int, int, int] | None = None
