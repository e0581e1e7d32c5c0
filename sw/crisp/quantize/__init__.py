"""From a float model to int8 with real scales: trace and fold, calibrate, quantize."""

from .calibrate import Affine, RangeMethod
from .errors import QuantizeError
from .graph import FloatGraph, trace
from .quantize import QuantizedAdd, QuantizedModel, QuantizedPool, QuantizedProduct, QuantizeOptions, quantize

__all__ = [
    "Affine",
    "FloatGraph",
    "QuantizeError",
    "QuantizeOptions",
    "QuantizedAdd",
    "QuantizedModel",
    "QuantizedPool",
    "QuantizedProduct",
    "RangeMethod",
    "quantize",
    "trace",
]
