"""The specification: integer models in NumPy, one for each hardware block, which the RTL equals bit for bit."""

from .convolution import Convolution, Window, from_matrix, to_matrix
from .engine import run_layer
from .exact import exact_product
from .network import Network, Observer
from .nodes import Add, AveragePool, Backend, GlobalAveragePool, GroupedProduct, MaxPool, Node, Product, Table
from .requantize import quantize_scale, requantize

__all__ = [
    "Add",
    "AveragePool",
    "Backend",
    "Convolution",
    "GlobalAveragePool",
    "GroupedProduct",
    "MaxPool",
    "Network",
    "Node",
    "Observer",
    "Product",
    "Table",
    "Window",
    "exact_product",
    "from_matrix",
    "quantize_scale",
    "requantize",
    "run_layer",
    "to_matrix",
]
