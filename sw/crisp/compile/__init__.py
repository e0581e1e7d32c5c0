"""The compiler: from ONNX with Q/DQ nodes to a network of integers, and from that to a program for the machine."""

from .compile import compile_network
from .errors import CompileError
from .front_end import import_onnx

__all__ = ["CompileError", "compile_network", "import_onnx"]
