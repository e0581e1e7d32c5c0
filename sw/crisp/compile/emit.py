"""From the finished graph to the network of integers: weights get their pattern and are packed for a configuration."""

from collections.abc import Callable

import numpy as np

from crisp.arch import Config, Pattern, ProductLayer, pack
from crisp.golden.convolution import Convolution, to_matrix
from crisp.golden.network import Add, AveragePool, GlobalAveragePool, GroupedProduct, MaxPool, Network, Node, Product, Table

from .errors import CompileError
from .graph import Graph
from .graph import Node as GraphNode

__all__ = ["emit", "worthwhile"]

#: Smallest block of layers whose model says none.
DEFAULT_BLOCK = 16

#: Share of the dense steps from which on a layer is packed as dense, which needs no offsets.
SPARSE_STEPS = 15 / 16


def emit(graph: Graph, config: Config, block: int | None) -> Network:
    """Return the network that a graph of `Level.FIXED` describes.

    Parameters
    ----------
    graph : Graph
        Verified.
    config : Config
        Rows and group size of the machine.
    block : int, optional
        B of the pattern that weights are looked through for. None takes the model's, ``crisp.block`` among its metadata, and packs all
        weights as dense where it has none.

    Raises
    ------
    CompileError
        When the model's block is no number.
    PatternError
        When weights cannot be packed with this block.
    """
    return Emitter(graph, config, block).network()


class Emitter:
    """Makes the nodes of a network one by one."""

    def __init__(self, graph: Graph, config: Config, block: int | None) -> None:
        self.graph = graph
        self.config = config
        declared = graph.metadata.get("crisp.block")
        if block is None and declared is not None:
            if not declared.isdecimal():
                raise CompileError(f"{graph.name}: crisp.block in the model's metadata must be a number, not {declared!r}")
            block = max(int(declared), config.rows, config.group_size)
        self.sparse = block is not None
        self.block = block or max(DEFAULT_BLOCK, config.rows, config.group_size)
        self.names = {graph.input: graph.input, **{node.output: node.name for node in graph.nodes}}

    def network(self) -> Network:
        """Return the whole network."""
        names = {node.name for node in self.graph.nodes}
        while self.names[self.graph.input] in names:
            self.names[self.graph.input] += "'"
        _, channels, height, width = self.graph.tensors[self.graph.input].shape
        source, output = self.graph.meaning(self.graph.input), self.graph.meaning(self.graph.output)
        return Network(
            name=self.graph.name,
            nodes=[self.make(node) for node in self.graph.nodes],
            input_scale=float(source.scale),
            input_zero_point=source.zero_point,
            output_scale=float(output.scale),
            output_zero_point=output.zero_point,
            input_name=self.names[self.graph.input],
            image=(height, width, channels),
        )

    def make(self, node: GraphNode) -> Node:
        """Return one node."""
        makers: dict[str, Callable[[GraphNode], Node]] = {
            "Add": self.add,
            "AveragePool": self.average_pool,
            "Conv": self.product,
            "GlobalAveragePool": self.global_average_pool,
            "MaxPool": self.max_pool,
            "Table": self.table,
        }
        return makers[node.operation](node)

    def inputs(self, node: GraphNode) -> tuple[str, ...]:
        """Return the names of the computed inputs of a node."""
        return tuple(self.names[name] for name in node.inputs if self.graph.value(name) is None)

    def product(self, node: GraphNode) -> Node:
        """Return a convolution, as one matrix product or in groups."""
        weight, bias = (self.graph.constant(name) for name in node.inputs[1:])
        window, groups, output = node.attributes["window"], node.attributes["groups"], self.graph.meaning(node.output)
        source = self.graph.tensors[node.inputs[0]]
        convolution = Convolution(
            channels=source.shape[1],
            groups=groups,
            kernel=window.kernel,
            stride=window.stride,
            padding=window.padding,
            dilation=window.dilation,
            padding_end=window.padding_end,
        )
        low, high = node.attributes["clamp"]
        if groups > 1:
            return GroupedProduct(
                name=node.name,
                inputs=self.inputs(node),
                weights=to_matrix(weight, 1),
                bias=bias,
                multiplier=node.attributes["multiplier"],
                shift=node.attributes["shift"],
                convolution=convolution,
                input_zero_point=self.graph.meaning(node.inputs[0]).zero_point,
                output_zero_point=output.zero_point,
                clamp_min=low,
                clamp_max=high,
            )
        matrix = to_matrix(weight, self.config.group_size)
        pattern = self.pattern(matrix, sparse=self.sparse or "zeros" in node.attributes)
        layer = ProductLayer(
            name=node.name,
            packed=pack(matrix, pattern, rows=self.config.rows, layer=node.name),
            bias=bias,
            multiplier=node.attributes["multiplier"],
            shift=node.attributes["shift"],
            output_zero_point=output.zero_point,
            clamp_min=low,
            clamp_max=high,
        )
        return Product(
            name=node.name,
            inputs=self.inputs(node),
            layer=layer,
            convolution=convolution,
            input_zero_point=self.graph.meaning(node.inputs[0]).zero_point,
        )

    def pattern(self, matrix: np.ndarray, *, sparse: bool) -> Pattern:
        """Return the pattern of a layer's weights: dense where another one would save next to nothing."""
        group = self.config.group_size
        if not sparse:
            return Pattern.dense(matrix.shape, self.block, group)
        return worthwhile(Pattern.infer(matrix, self.block, group))

    def add(self, node: GraphNode) -> Add:
        """Return a sum."""
        low, high = node.attributes["clamp"]
        a, b = node.inputs
        return Add(
            name=node.name,
            inputs=self.inputs(node),
            zero_points=(self.graph.meaning(a).zero_point, self.graph.meaning(b).zero_point),
            multipliers=node.attributes["multipliers"],
            shift=node.attributes["shift"],
            output_zero_point=self.graph.meaning(node.output).zero_point,
            clamp_min=low,
            clamp_max=high,
        )

    def average_pool(self, node: GraphNode) -> AveragePool:
        """Return an average pooling."""
        low, high = node.attributes["clamp"]
        return AveragePool(
            name=node.name,
            inputs=self.inputs(node),
            window=node.attributes["window"],
            input_zero_point=self.graph.meaning(node.inputs[0]).zero_point,
            multiplier=int(node.attributes["multiplier"]),
            shift=int(node.attributes["shift"]),
            output_zero_point=self.graph.meaning(node.output).zero_point,
            clamp_min=low,
            clamp_max=high,
        )

    def global_average_pool(self, node: GraphNode) -> GlobalAveragePool:
        """Return a global average pooling."""
        low, high = node.attributes["clamp"]
        height, width = self.graph.tensors[node.inputs[0]].shape[2:]
        return GlobalAveragePool(
            name=node.name,
            inputs=self.inputs(node),
            pixels=height * width,
            input_zero_point=self.graph.meaning(node.inputs[0]).zero_point,
            multiplier=int(node.attributes["multiplier"]),
            shift=int(node.attributes["shift"]),
            output_zero_point=self.graph.meaning(node.output).zero_point,
            clamp_min=low,
            clamp_max=high,
        )

    def max_pool(self, node: GraphNode) -> MaxPool:
        """Return a max pooling."""
        return MaxPool(name=node.name, inputs=self.inputs(node), window=node.attributes["window"])

    def table(self, node: GraphNode) -> Table:
        """Return a function of every value."""
        return Table(name=node.name, inputs=self.inputs(node), table=node.attributes["table"])


def worthwhile(found: Pattern) -> Pattern:
    """Return a pattern, or the dense one where ``found`` saves next to nothing."""
    dense = Pattern.dense(found.shape, found.block, found.group)
    return found if found.row_steps.max() < SPARSE_STEPS * dense.row_steps.max() else dense
