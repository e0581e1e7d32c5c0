"""The compiler's front end: from ONNX with Q/DQ nodes to a network of integers."""

from pathlib import Path

from crisp.arch import Config, LayerError
from crisp.golden.network import Network

from .emit import emit
from .errors import CompileError
from .graph import Graph
from .passes import PASSES
from .read_onnx import read_onnx

__all__ = ["import_onnx", "run_passes"]


def import_onnx(model: str | Path | bytes, config: Config, *, block: int | None = None) -> Network:
    """Compile an ONNX model to a network of integers.

    Parameters
    ----------
    model : path or bytes
        ONNX file with quantize and dequantize nodes, or what is in it.
    config : Config
        Rows and group size of the machine that weights are packed for.
    block : int, optional
        B of the pattern that weights are looked through for. By default the model's own, ``crisp.block`` in its metadata; without that,
        weights are packed as dense.

    Raises
    ------
    CompileError
        When the model cannot be read or has nodes that the machine does not have: all of them, with the reasons.
    PatternError, LayerError
        When weights cannot be packed, or an accumulator could leave int32.
    """
    graph = read_onnx(model)
    run_passes(graph)
    return emit(graph, config, block)


def run_passes(graph: Graph) -> None:
    """Run all passes on a graph and verify it after each."""
    verify(graph, "read_onnx")
    for run in PASSES:
        run(graph)
        verify(graph, run.__name__)


def verify(graph: Graph, stage: str) -> None:
    """Verify a graph; a fault names the pass that made it."""
    try:
        graph.verify()
    except (CompileError, LayerError) as error:
        raise CompileError(f"after {stage}: {error}; this is a fault of the compiler, please report it with the model") from error
