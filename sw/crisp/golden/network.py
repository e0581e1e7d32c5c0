"""A whole network in integers: `nodes` in order, from an int8 image to int8 outputs. Activations are int8 [N, H, W, C], channels last."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..arch import LayerError
from .engine import run_layer
from .exact import exact_product
from .nodes import Add, AveragePool, Backend, GlobalAveragePool, GroupedProduct, MaxPool, Node, Product, Table

__all__ = [
    "Add",
    "AveragePool",
    "Backend",
    "GlobalAveragePool",
    "GroupedProduct",
    "MaxPool",
    "Network",
    "Node",
    "Observer",
    "Product",
    "Table",
    "exact_product",
]

#: Called after every node with the node, its inputs and its output.
Observer = Callable[[Node, tuple[np.ndarray, ...], np.ndarray], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """Nodes in an order in which each has its inputs.

    Parameters
    ----------
    name : str
        Name for reports.
    nodes : sequence of Node
        The last one's output is the network's.
    input_scale, input_zero_point : float, int
        What the int8 input means: ``real = scale * (integer - zero point)``.
    output_scale, output_zero_point : float, int
        What the int8 output means.
    input_name : str
        Name of the input.
    image : tuple of int, optional
        Height, width and channels of the images that it was made for, where that is known.

    Raises
    ------
    LayerError
        When there is no node, a name is used twice, or an input is not computed before its use.
    """

    name: str
    nodes: Sequence[Node]
    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    input_name: str = "input"
    image: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not self.nodes:
            raise LayerError(f"{self.name}: a network must have at least one node, not none")
        known = {self.input_name}
        for node in self.nodes:
            if len(node.inputs) != node.num_inputs:
                raise LayerError(f"{node.name}: must have {node.num_inputs} inputs, not {len(node.inputs)}")
            for name in node.inputs:
                if name not in known:
                    raise LayerError(f"{node.name}: input must be computed before its use, not {name!r}")
            if node.name in known:
                raise LayerError(f"{self.name}: each name must be used once, not again {node.name!r}")
            known.add(node.name)

    @property
    def products(self) -> list[Product]:
        """The nodes that are matrix products, in order."""
        return [node for node in self.nodes if isinstance(node, Product)]

    def quantize_input(self, x: np.ndarray) -> np.ndarray:
        """Turn a float input [N, C, H, W] into int8 [N, H, W, C], rounding half to even."""
        levels = np.rint(x.transpose(0, 2, 3, 1).astype(np.float64) / self.input_scale) + self.input_zero_point
        return np.ascontiguousarray(np.clip(levels, -128, 127).astype(np.int8))

    def run(self, images: np.ndarray, *, product: Backend = run_layer, observe: Observer | None = None) -> np.ndarray:
        """Compute the network.

        Parameters
        ----------
        images : ndarray
            int8 [N, H, W, C], as `quantize_input` gives.
        product : callable
            What computes the products: the golden engine by default.
        observe : callable, optional
            Called after every node with node, inputs and output.

        Returns
        -------
        ndarray
            int8 [N, H, W, C] of the last node; of a classifier [N, 1, 1, classes].

        Raises
        ------
        LayerError
            When a shape does not fit a node.
        """
        left = {name: sum(name in node.inputs for node in self.nodes) for name in [self.input_name, *(node.name for node in self.nodes)]}
        values = {self.input_name: images}
        for node in self.nodes:
            inputs = tuple(values[name] for name in node.inputs)
            output = node.evaluate(*inputs, product=product) if isinstance(node, Product) else node.evaluate(*inputs)
            if observe is not None:
                observe(node, inputs, output)
            values[node.name] = output
            for name in set(node.inputs):  # what nobody needs any more leaves memory
                left[name] -= 1
                if not left[name]:
                    del values[name]
        return values[self.nodes[-1].name]

    def classify(self, images: np.ndarray, *, product: Backend = exact_product, batch: int = 100) -> np.ndarray:
        """Return the class of each image, int64 [N]: the channel with the largest output, the first among equals."""
        parts = [self.run(images[start : start + batch], product=product) for start in range(0, len(images), batch)]
        return np.concatenate([part.reshape(len(part), -1).argmax(axis=1) for part in parts])
