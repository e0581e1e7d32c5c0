"""Bias correction: what quantization moves a channel by on average goes back into its bias.

Rounded weights and activations change the mean of an output channel: ``bias_o += E[y_o] - E[y'_o]``, y being the sums of the float model
before their limits (ReLU) and y' those of the int8 model. Layer by layer in order, the layers before being quantized and corrected already.
Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721, section 4.2; the
empirical variant, which measures both means on images.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from crisp.progress import Report, silent

from .affine import Affine
from .graph import INPUT, FloatGraph, FloatMaxPool, FloatNode, FloatProduct
from .nodes import QuantizedNode, QuantizedProduct
from .weights import BIAS_MAX

__all__ = ["correct_biases"]


@torch.no_grad()
def correct_biases(
    graph: FloatGraph,
    nodes: Sequence[QuantizedNode],
    tensors: Mapping[str, Affine],
    batches: Callable[[], Iterable[torch.Tensor]],
    progress: Report = silent,
) -> list[QuantizedNode]:
    """Return the nodes with corrected biases.

    Between layers activations of all images are kept as int8, as far as a later layer needs them.

    Parameters
    ----------
    graph : FloatGraph
        Float model.
    nodes : sequence of QuantizedNode
        The same model quantized, node by node.
    tensors : mapping
        Scale and zero point of every tensor.
    batches : callable
        Yields the images anew at every call, float32 [N, C, H, W].
    progress : callable
        Called after every node.
    """
    expected = float_means(graph, batches())
    last_use = {name: number for number, node in enumerate(graph.nodes) for name in node.inputs}
    values = {INPUT: [to_levels(batch, tensors[INPUT]) for batch in batches()]}
    corrected: list[QuantizedNode] = []
    for number, (node, quantized) in enumerate(zip(graph.nodes, nodes, strict=True)):
        sources = list(zip(*(values[name] for name in node.inputs), strict=True))
        meanings = [tensors[name] for name in node.inputs]
        if isinstance(node, FloatProduct) and isinstance(quantized, QuantizedProduct):
            unit = quantized.weight_scale * meanings[0].scale
            weight = torch.from_numpy(quantized.weight * quantized.weight_scale.astype(np.float32)[:, None, None, None])
            node = dataclasses.replace(node, weight=weight, bias=torch.from_numpy(quantized.bias * unit).float())
            means = Means()
            for source in sources:
                means.add(node.linear(to_reals(source[0], meanings[0])))
            change = np.rint((expected[node.name] - means.value) / unit)
            bias = np.clip(quantized.bias + change, -BIAS_MAX, BIAS_MAX).astype(np.int32)
            quantized = dataclasses.replace(quantized, bias=bias)
            node = dataclasses.replace(node, bias=torch.from_numpy(bias * unit).float())
        corrected.append(quantized)
        values[node.name] = [run_levels(node, source, meanings, tensors[node.name]) for source in sources]
        for name in set(node.inputs):  # what nobody needs any more leaves memory
            if last_use[name] == number:
                del values[name]
        progress("correct biases", number + 1, len(nodes), node.name)
    return corrected


class Means:
    """Mean of each channel of tensors [N, C, H, W]."""

    def __init__(self) -> None:
        self.total: np.ndarray | float = 0.0
        self.count = 0

    def add(self, value: torch.Tensor) -> None:
        """Look at a batch."""
        self.total = self.total + value.sum(dim=(0, 2, 3), dtype=torch.float64).numpy()
        self.count += value.numel() // value.shape[1]

    @property
    def value(self) -> np.ndarray:
        """The mean, float64 [C]."""
        return np.asarray(self.total) / self.count


def float_means(graph: FloatGraph, batches: Iterable[torch.Tensor]) -> dict[str, np.ndarray]:
    """Return the mean of each output channel of every product before its limits, float64 [O] by name."""
    means = {node.name: Means() for node in graph.nodes if isinstance(node, FloatProduct)}
    for batch in batches:
        graph.run(batch, observe_sums=lambda name, value: means[name].add(value))
    return {name: mean.value for name, mean in means.items()}


def run_levels(node: FloatNode, sources: Sequence[torch.Tensor], meanings: Sequence[Affine], output: Affine) -> torch.Tensor:
    """Compute a node from int8 to int8."""
    if isinstance(node, FloatMaxPool):
        return node(sources[0].float()).to(torch.int8)
    return to_levels(node(*(to_reals(source, meaning) for source, meaning in zip(sources, meanings, strict=True))), output)


def to_levels(x: torch.Tensor, meaning: Affine) -> torch.Tensor:
    """Return reals as int8."""
    return (x / meaning.scale).round_().add_(meaning.zero_point).clamp_(-128, 127).to(torch.int8)


def to_reals(levels: torch.Tensor, meaning: Affine) -> torch.Tensor:
    """Return int8 values as reals."""
    return (levels.float() - meaning.zero_point) * meaning.scale
