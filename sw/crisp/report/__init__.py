"""What was measured: records that JSON can hold, tables, charts."""

from .chart import draw_layers, draw_networks
from .picture import save_figure
from .provenance import provenance, write_json, write_json_lines
from .records import Comparison, LayerRecord
from .table import accuracy_table, layer_table, markdown_table

__all__ = [
    "Comparison",
    "LayerRecord",
    "accuracy_table",
    "draw_layers",
    "draw_networks",
    "layer_table",
    "markdown_table",
    "provenance",
    "save_figure",
    "write_json",
    "write_json_lines",
]
