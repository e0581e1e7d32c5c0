"""Scales become multipliers and shifts, and limits become integers."""

import numpy as np

from crisp.golden.requantize import quantize_scale

from ..errors import CompileError
from ..graph import Graph, Level, Node, Quantization

__all__ = ["fix_scales"]


def fix_scales(graph: Graph) -> None:
    """Give every node that scales its attributes ``multiplier`` (of a sum ``multipliers``), ``shift`` and ``clamp``.

    Raises
    ------
    CompileError
        When a scale is beyond what 16 bits and a shift express.
    """
    for node in graph.nodes:
        output = graph.meaning(node.output)
        if node.operation == "Add":
            fix_sum(node, graph, output)
        elif node.operation == "Conv":
            scale = graph.meaning(node.inputs[0]).scale * graph.meaning(node.inputs[1]).scale / output.scale
            fix(node, scale)
        elif node.operation in ("AveragePool", "GlobalAveragePool"):
            pixels = node.attributes["window"].kernel if "window" in node.attributes else graph.tensors[node.inputs[0]].shape[2:]
            fix(node, graph.meaning(node.inputs[0]).scale / (output.scale * pixels[0] * pixels[1]))
        else:
            continue
        limits = np.array(node.attributes.pop("bounds", (-np.inf, np.inf)))
        low, high = output.to_levels(limits).tolist()
        node.attributes["clamp"] = (low, high)
    graph.level = Level.FIXED


def fix(node: Node, scale: np.ndarray) -> None:
    """Give a node the multiplier and the shift of ``scale``."""
    try:
        node.attributes["multiplier"], node.attributes["shift"] = quantize_scale(scale)
    except ValueError as error:
        raise CompileError(f"{node.name}: {error}; calibrate with other images") from error


def fix_sum(node: Node, graph: Graph, output: Quantization) -> None:
    """Give a sum two multipliers of one shift: the larger takes all 16 bits."""
    scales = np.array([graph.meaning(name).scale / output.scale for name in node.inputs])
    fix(node, scales.max())
    shift = int(node.attributes["shift"])
    multipliers = np.rint(np.ldexp(scales, shift)).astype(int).tolist()
    node.attributes["multipliers"], node.attributes["shift"] = (multipliers[0], multipliers[1]), shift
    del node.attributes["multiplier"]
