"""The zero point of the input of a convolution goes into its bias."""

import numpy as np

from ..errors import CompileError
from ..graph import Graph

__all__ = ["fold_zero_points"]


def fold_zero_points(graph: Graph) -> None:
    """Replace ``sum_k W[o, k] (x - zx) + bias`` by ``sum_k W[o, k] x + bias'``, ``bias' = bias - zx * sum_k W[o, k]``.

    Padding then needs no special case: it is the zero point, and meets the same weights.

    Raises
    ------
    CompileError
        When a bias leaves int32.
    """
    for node in [node for node in graph.nodes if node.operation == "Conv"]:
        source, weight, bias = node.inputs
        sums = graph.constant(weight).sum(axis=(1, 2, 3), dtype=np.int64)
        folded = graph.constant(bias) - graph.meaning(source).zero_point * sums
        if np.abs(folded).max() > 2**31 - 1:
            raise CompileError(f"{node.name}: bias with the input's zero point must fit int32, not be {folded[np.abs(folded).argmax()]}")
        node.inputs[2] = graph.add_constant(f"{bias}.folded", folded.astype(np.int32), graph.meaning(bias))
    graph.remove_dead()
