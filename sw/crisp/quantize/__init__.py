"""From a float model to int8 with real scales: trace and fold, calibrate, quantize."""

from .activations import FUNCTIONS, Clamp
from .calibrate import Affine, RangeMethod
from .errors import QuantizeError
from .graph import FloatGraph
from .quantize import (
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedMaxPool,
    QuantizedModel,
    QuantizedNode,
    QuantizedPool,
    QuantizedProduct,
    QuantizedTable,
    QuantizeOptions,
    quantize,
)
from .trace import trace

__all__ = [
    "FUNCTIONS",
    "Affine",
    "Clamp",
    "FloatGraph",
    "QuantizeError",
    "QuantizeOptions",
    "QuantizedAdd",
    "QuantizedAveragePool",
    "QuantizedMaxPool",
    "QuantizedModel",
    "QuantizedNode",
    "QuantizedPool",
    "QuantizedProduct",
    "QuantizedTable",
    "RangeMethod",
    "quantize",
    "trace",
]
