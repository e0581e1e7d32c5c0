"""From a float model to int8 with real scales: trace and fold, calibrate, quantize, export as ONNX."""

from .activations import FUNCTIONS, Clamp
from .calibrate import Affine, RangeMethod
from .errors import QuantizeError
from .export import export_onnx
from .graph import FloatGraph
from .judge import FastNetwork, judge
from .network import to_network
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
    "FastNetwork",
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
    "export_onnx",
    "judge",
    "quantize",
    "to_network",
    "trace",
]
