"""From a float model to int8 with real scales: trace and fold, calibrate, quantize, export as ONNX."""

from .activations import FUNCTIONS, Clamp
from .affine import Affine
from .aware import AwareModel, AwareOptions, RangeTraining, finetune_quantized
from .calibrate import RangeMethod
from .errors import QuantizeError
from .export import export_onnx
from .graph import FloatGraph
from .judge import FastNetwork, answers, judge
from .network import to_network
from .nodes import (
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedMaxPool,
    QuantizedModel,
    QuantizedNode,
    QuantizedPool,
    QuantizedProduct,
    QuantizedTable,
)
from .quantize import QuantizeOptions, quantize
from .trace import explain_refusal, trace
from .weights import WeightRange

__all__ = [
    "FUNCTIONS",
    "Affine",
    "AwareModel",
    "AwareOptions",
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
    "RangeTraining",
    "WeightRange",
    "answers",
    "explain_refusal",
    "export_onnx",
    "finetune_quantized",
    "judge",
    "quantize",
    "to_network",
    "trace",
]
