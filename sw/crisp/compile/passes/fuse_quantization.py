"""What stands between dequantization and quantization becomes an operation on integers."""

import dataclasses

import numpy as np

from ..elementwise import FUNCTIONS, tabulate
from ..errors import CompileError
from ..graph import Graph, Level, Node, Quantization
from ..operations import REQUANTIZED, VALUE_PRESERVING

__all__ = ["fuse_quantization"]


def fuse_quantization(graph: Graph) -> None:
    """Remove all QuantizeLinear and DequantizeLinear; tensors become integers that know their scale and zero point.

    A product, sum or average between them gets the meaning of its QLinear counterpart. Functions of one value become tables; so does a
    tensor that is quantized once more, with another scale. Max pooling and new shapes keep the scale that comes in.

    Raises
    ------
    CompileError
        Naming every node whose inputs or output are not quantized, or not as the machine needs them.
    """
    Fusion(graph).run()


class Reason(Exception):
    """Why a node cannot become one of integers."""


class Fusion:
    """Goes through the nodes in order; knows for every real tensor the integers that stand for it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.integers: dict[str, str] = {}
        self.lost: set[str] = set()  #: real tensors without integers, of which the reason has been told
        self.input: str | None = None  #: integers that stand for a real input
        self.problems: list[str] = []

    def run(self) -> None:
        """Fuse the whole graph."""
        graph, nodes = self.graph, []
        for node in graph.nodes:
            try:
                if any(name in self.lost for name in node.inputs):
                    self.lost.add(node.output)
                elif self.fuse(node):
                    nodes.append(node)
            except Reason as reason:
                self.problems.append(f"{node.name}: {reason}")
                self.lost.add(node.output)
        if self.input is None and graph.tensors[graph.input].dtype == np.float32 and not self.problems:
            self.problems.append(f"{graph.input}: the input must be quantized before it is used")
        if graph.tensors[graph.output].dtype == np.float32 and graph.output not in (*self.integers, *self.lost):
            self.problems.append(f"{graph.output}: the output must be quantized and dequantized")
        if self.problems:
            raise CompileError(
                f"{graph.name}: all that is computed must stand between DequantizeLinear and QuantizeLinear; this does not:\n  "
                + "\n  ".join(self.problems)
            )
        graph.nodes, graph.level = nodes, Level.INTEGER
        name = graph.input
        graph.input, graph.output = self.input or graph.input, self.resolve(graph.output)
        graph.remove_dead()
        graph.rename(graph.input, name)

    def resolve(self, name: str) -> str:
        """Return the integers that stand for a tensor; itself when it is integers."""
        while name in self.integers:
            name = self.integers[name]
        return name

    def fuse(self, node: Node) -> bool:
        """Make a node one of integers; tell whether it stays."""
        if node.operation == "DequantizeLinear":
            self.dequantize(node)
            return False
        if node.operation == "QuantizeLinear":
            return self.quantize(node)
        node.inputs[0] = self.quantized(node, 0)
        if node.operation in VALUE_PRESERVING:
            self.keep(node)
            return True
        if node.operation in ("Conv", "Gemm"):
            self.take_weights(node)
        elif node.operation == "Add":
            self.take_summand(node)
        elif node.operation == "Mul":
            raise Reason("Mul must be of a tensor and its own Sigmoid or HardSigmoid")
        output = self.find_quantization(node)
        if node.operation in FUNCTIONS:
            self.become_table(node, output)
        elif node.operation not in REQUANTIZED:
            raise Reason(f"{node.operation} must be merged with a neighbour, but cannot")
        return True

    def dequantize(self, node: Node) -> None:
        """Note what the integers mean; they stand for the real numbers."""
        tensor, quantization = self.graph.tensors[self.resolve(node.inputs[0])], node.attributes["quantization"]
        if tensor.quantization is not None and not tensor.quantization.same(quantization):
            if tensor.value is None:
                raise Reason("DequantizeLinear must have the scale and the zero point that its input was quantized with")
            tensor = self.graph.tensors[self.graph.add_constant(tensor.name, tensor.value)]  # one constant with two meanings
        tensor.quantization = quantization
        self.integers[node.output] = tensor.name

    def quantize(self, node: Node) -> bool:
        """Take the integers that are there already; or a table where their scale differs."""
        source, quantization = self.resolve(node.inputs[0]), node.attributes["quantization"]
        tensor = self.graph.tensors[source]
        if source == self.graph.input and tensor.dtype == np.float32:
            self.quantize_input(node, quantization)
            return False
        if tensor.quantization is None:
            raise Reason("QuantizeLinear must follow an operation or the input")
        if source == node.output:
            return False  # what computes it has taken its name
        if tensor.quantization.same(quantization):
            self.integers[node.output] = source
            return False
        node.inputs = [source]
        self.graph.tensors[node.output].quantization = quantization
        self.become_table(node, quantization, "Identity")
        return True

    def quantize_input(self, node: Node, quantization: Quantization) -> None:
        """Let the integers of the input's first QuantizeLinear be the input; another one may only repeat it."""
        if self.input is None:
            self.input = node.output
            self.graph.tensors[node.output].quantization = quantization
        elif self.graph.meaning(self.input).same(quantization):
            self.integers[node.output] = self.input
        else:
            raise Reason("QuantizeLinear must give the input one scale, not several")

    def quantized(self, node: Node, place: int) -> str:
        """Return the integers that stand for an input."""
        name = self.resolve(node.inputs[place])
        tensor = self.graph.tensors[name]
        if tensor.quantization is None:
            raise Reason(f"{node.operation} must take quantized tensors, but {node.inputs[place]!r} is not")
        return name

    def keep(self, node: Node) -> None:
        """Give the output the meaning of the input."""
        source, output = self.graph.tensors[node.inputs[0]], self.graph.tensors[node.output]
        output.dtype, output.quantization = source.dtype, source.quantization
        for user in self.graph.consumers(node.output):
            if user.operation == "QuantizeLinear" and self.graph.meaning(output.name).same(user.attributes["quantization"]):
                self.take_name(node, user)
                break

    def find_quantization(self, node: Node) -> Quantization:
        """Give the output the meaning that the QuantizeLinear behind it says, and return that."""
        users = self.graph.consumers(node.output)
        wanted: list[Quantization] = [user.attributes["quantization"] for user in users if user.operation == "QuantizeLinear"]
        if len(wanted) < len(users) or not users or node.output == self.graph.output:
            others = [user.operation for user in users if user.operation != "QuantizeLinear"] or ["the output of the model"]
            raise Reason(f"{node.operation} must be followed by QuantizeLinear, not by {', '.join(others)}")
        if any(not quantization.same(wanted[0]) for quantization in wanted):
            raise Reason(f"{node.operation} must be quantized once, not with several scales")
        output = self.graph.tensors[node.output]
        output.dtype, output.quantization = np.dtype(np.int8), wanted[0]
        self.take_name(node, users[0])
        return wanted[0]

    def take_name(self, node: Node, quantize: Node) -> None:
        """Let a node compute the integers of the QuantizeLinear behind it, which stand for its own output."""
        real, name = node.output, quantize.output
        tensor = self.graph.tensors[real]
        self.graph.tensors[name] = dataclasses.replace(tensor, name=name)
        self.integers[real], node.output = name, name

    def take_weights(self, node: Node) -> None:
        """Give a product integer weights and an integer bias in units of input scale times weight scale."""
        weight = self.graph.tensors[self.quantized(node, 1)]
        if weight.value is None or weight.dtype != np.int8:
            raise Reason(f"{node.operation} must have int8 constants for weights, but {node.inputs[1]!r} is computed")
        quantization = self.graph.meaning(weight.name)
        channel_axis = 0 if node.operation == "Conv" or node.attributes["transposed"] else 1
        if quantization.scale.size > 1 and quantization.axis != channel_axis:
            raise Reason(f"{node.operation} must have weights with a scale for each output, not along axis {quantization.axis}")
        levels = weight.value.astype(np.int64) - quantization.zero_point
        if levels.max(initial=0) > 127 or levels.min(initial=0) < -128:
            raise Reason(f"{node.operation} must have weights that stay in int8 without their zero point, {quantization.zero_point}")
        channels = levels.shape[channel_axis]
        scale = np.broadcast_to(quantization.scale, (channels,))
        source = self.graph.meaning(node.inputs[0]).scale
        meaning = Quantization(scale, 0, channel_axis)
        bias = self.integer_bias(node, source * scale)
        node.inputs = [
            node.inputs[0],
            self.graph.add_constant(f"{node.name}.weight", levels.astype(np.int8), meaning),
            self.graph.add_constant(f"{node.name}.bias", bias, Quantization(source * scale, 0)),
        ]

    def integer_bias(self, node: Node, unit: np.ndarray) -> np.ndarray:
        """Return the bias, int32 in ``unit``: the model's own integers where they have that unit."""
        if len(node.inputs) < 3 or not node.inputs[2]:
            return np.zeros(unit.shape, np.int32)
        tensor = self.graph.tensors[self.resolve(node.inputs[2])]
        if tensor.value is None:
            raise Reason(f"{node.operation} must have a constant for its bias, but {node.inputs[2]!r} is computed")
        if tensor.dtype == np.int32 and tensor.quantization is not None and np.allclose(tensor.quantization.scale, unit, rtol=1e-5, atol=0):
            return tensor.value
        reals = tensor.value if tensor.quantization is None else tensor.quantization.to_reals(tensor.value)
        levels = np.rint(reals.astype(np.float64) / unit)
        if not np.abs(levels).max(initial=0) < 2**31:
            raise Reason(f"{node.operation} must have a bias that fits int32 in units of input scale x weight scale; use larger scales")
        return levels.astype(np.int32)

    def take_summand(self, node: Node) -> None:
        """Give a sum its second input."""
        node.inputs[1] = self.quantized(node, 1)
        tensors = [self.graph.tensors[name] for name in node.inputs]
        if any(tensor.value is not None for tensor in tensors):
            raise Reason("Add must be of two tensors that are computed, not of one and a constant")
        if tensors[0].shape != tensors[1].shape:
            raise Reason(f"Add must be of two tensors of one shape, not {list(tensors[0].shape)} and {list(tensors[1].shape)}")

    def become_table(self, node: Node, output: Quantization, function: str = "") -> None:
        """Make a node a table of what its function gives."""
        tensor = self.graph.tensors[node.inputs[0]]
        if tensor.dtype != np.int8 or tensor.value is not None:
            raise Reason(f"{node.operation} must take an int8 tensor that is computed")
        attributes = {"function": function or node.operation, **node.attributes}
        table = tabulate(function or node.operation, node.attributes, self.graph.meaning(tensor.name), output)
        node.operation, node.attributes = "Table", {**attributes, "table": table}
