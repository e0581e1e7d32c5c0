"""The compiler: from ONNX with Q/DQ nodes to a network of integers."""

from .errors import CompileError
from .front_end import import_onnx

__all__ = ["CompileError", "import_onnx"]
