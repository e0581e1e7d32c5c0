"""A float model as a list of the operations that the integer network has, batch norm folded and ReLU fused.

Folding: ``gamma * (w * x - mean) / sqrt(var + eps) + beta`` is a convolution with weights ``w * gamma / sqrt(var + eps)`` and bias
``beta - mean * gamma / sqrt(var + eps)``. Source: B. Jacob et al., arXiv 1712.05877, section 3.2.
"""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from crisp.golden.convolution import Convolution

from .errors import QuantizeError

__all__ = ["FloatAdd", "FloatGraph", "FloatNode", "FloatPool", "FloatProduct", "trace"]

INPUT = "input"

Module = TypeVar("Module", bound=nn.Module)


@dataclasses.dataclass
class FloatProduct:
    """Convolution or linear layer: float32 weights [O, C, kh, kw], bias [O], and whether ReLU follows."""

    name: str
    inputs: tuple[str, ...]
    weight: torch.Tensor
    bias: torch.Tensor
    convolution: Convolution
    relu: bool = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [N, O, H', W'] from [N, C, H, W]."""
        y = functional.conv2d(x, self.weight, self.bias, self.convolution.stride, self.convolution.padding)
        return y.relu() if self.relu else y


@dataclasses.dataclass
class FloatAdd:
    """Sum of two tensors, and whether ReLU follows."""

    name: str
    inputs: tuple[str, ...]
    relu: bool = False

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compute the sum."""
        return (a + b).relu() if self.relu else a + b


@dataclasses.dataclass
class FloatPool:
    """Mean of all pixels."""

    name: str
    inputs: tuple[str, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [N, C, 1, 1] from [N, C, H, W]."""
        return x.mean(dim=(2, 3), keepdim=True)


FloatNode = FloatProduct | FloatAdd | FloatPool


@dataclasses.dataclass
class FloatGraph:
    """Nodes in order; the last one's output is the model's."""

    nodes: list[FloatNode]
    input_name: str = INPUT

    @torch.no_grad()
    def run(self, x: torch.Tensor, observe: Callable[[str, torch.Tensor], None] = lambda name, value: None) -> torch.Tensor:
        """Compute the model on float32 [N, C, H, W]; ``observe`` sees the input and every node's output."""
        values = {INPUT: x}
        observe(INPUT, x)
        for node in self.nodes:
            values[node.name] = node(*(values[name] for name in node.inputs))
            observe(node.name, values[node.name])
        return values[self.nodes[-1].name]


def trace(model: nn.Module) -> FloatGraph:
    """Turn ``model`` into a graph of products, sums and poolings.

    Understood are Conv2d (without groups or dilation, zero padding), Linear, BatchNorm2d after a convolution, ReLU after a product or a
    sum, the sum of two tensors, AdaptiveAvgPool2d(1), flatten, and Identity and Dropout, which do nothing here.

    Parameters
    ----------
    model : Module
        Network with one input [N, C, H, W] and one output; it is left as it is.

    Raises
    ------
    QuantizeError
        Naming every operation that is not understood, with the reason.
    """
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:  # tracing runs the model's own code
        raise QuantizeError(f"model must be traceable by torch.fx, but is not: {error}") from error
    translator = Translator(dict(traced.named_modules()))
    for node in traced.graph.nodes:
        translator.translate(node)
    if translator.problems:
        raise QuantizeError("model must have only operations that run on the array; these do not:\n  " + "\n  ".join(translator.problems))
    if not translator.nodes:
        raise QuantizeError("model must have at least one convolution or linear layer, not none")
    return FloatGraph(translator.nodes)


class Translator:
    """Turns torch.fx nodes into graph nodes one by one, and collects what it does not understand."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.nodes: list[FloatNode] = []
        self.problems: list[str] = []
        self.producers: dict[fx.Node, str] = {}

    def translate(self, node: fx.Node) -> None:
        """Add what ``node`` does to the graph, or to the problems."""
        operation = self.operation(node)
        if node.op == "placeholder":
            if INPUT in self.producers.values():
                self.problems.append(f"{node.name}: a model must have one input")
            self.producers[node] = INPUT
        elif node.op == "output":
            if node.args[0] not in self.producers:
                self.problems.append("output: a model must return one tensor")
            elif self.nodes and self.producers[node.args[0]] != self.nodes[-1].name:  # type: ignore[index]
                self.problems.append("output: must be what is computed last")
        elif not all(argument in self.producers for argument in node.all_input_nodes):
            self.producers[node] = node.name  # the reason has been told at its input
        elif operation is None:
            self.problems.append(f"{node.name}: {self.describe(node)} is not supported")
            self.producers[node] = node.name
        else:
            operation(node)

    def operation(self, node: fx.Node) -> Callable[[fx.Node], None] | None:
        """Return the method that understands ``node``."""
        by_kind: dict[Any, Callable[[fx.Node], None]] = {
            nn.Conv2d: self.convolution,
            nn.Linear: self.linear,
            nn.BatchNorm2d: self.batch_norm,
            nn.ReLU: self.relu,
            functional.relu: self.relu,
            torch.relu: self.relu,
            "relu": self.relu,
            operator.add: self.add,
            operator.iadd: self.add,
            torch.add: self.add,
            "add": self.add,
            nn.AdaptiveAvgPool2d: self.pool,
            torch.flatten: self.skip,
            "flatten": self.skip,
            nn.Flatten: self.skip,
            nn.Identity: self.skip,
            nn.Dropout: self.skip,
        }
        return by_kind.get(type(self.modules[str(node.target)]) if node.op == "call_module" else node.target)

    def module(self, node: fx.Node, kind: type[Module]) -> Module:
        """Return the module that ``node`` calls, of which `operation` has seen that it is a ``kind``."""
        found = self.modules[str(node.target)]
        if not isinstance(found, kind):
            raise TypeError(f"{node.target} must be a {kind.__name__}, not a {type(found).__name__}")
        return found

    def describe(self, node: fx.Node) -> str:
        """Return how ``node`` reads in the model."""
        if node.op == "call_module":
            return f"{node.target} = {self.modules[str(node.target)]}"
        return str(getattr(node.target, "__name__", node.target))

    def source(self, node: fx.Node) -> str:
        """Return the name of the tensor that ``node`` takes."""
        return self.producers[node.all_input_nodes[0]]

    def emit(self, node: fx.Node, made: FloatNode) -> None:
        """Add a node to the graph."""
        self.nodes.append(made)
        self.producers[node] = made.name

    def skip(self, node: fx.Node) -> None:
        """Pass the input on."""
        self.producers[node] = self.source(node)

    def convolution(self, node: fx.Node) -> None:
        """Add a convolution."""
        module = self.module(node, nn.Conv2d)
        plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if not plain:
            self.problems.append(f"{node.name}: {module} must have no groups, no dilation, and numbers of zeros for padding")
        weight = module.weight.detach().clone()
        bias = torch.zeros(module.out_channels) if module.bias is None else module.bias.detach().clone()
        padding = module.padding if plain else (0, 0)
        geometry = Convolution(module.in_channels, kernel=pair(module.kernel_size), stride=pair(module.stride), padding=pair(padding))
        self.emit(node, FloatProduct(str(node.target), (self.source(node),), weight, bias, geometry))

    def linear(self, node: fx.Node) -> None:
        """Add a linear layer as a 1x1 convolution."""
        module = self.module(node, nn.Linear)
        weight = module.weight.detach().clone()[:, :, None, None]
        bias = torch.zeros(module.out_features) if module.bias is None else module.bias.detach().clone()
        self.emit(node, FloatProduct(str(node.target), (self.source(node),), weight, bias, Convolution(module.in_features)))

    def last(self, node: fx.Node) -> FloatNode | None:
        """Return the graph's node that ``node`` may be merged into: its input's, when nothing else uses that."""
        source = node.all_input_nodes[0]
        if len(source.users) > 1:
            return None
        return next((made for made in self.nodes if made.name == self.producers[source]), None)

    def batch_norm(self, node: fx.Node) -> None:
        """Fold a batch norm into the convolution before it."""
        module, product = self.module(node, nn.BatchNorm2d), self.last(node)
        if not isinstance(product, FloatProduct) or product.relu or module.running_var is None or module.running_mean is None:
            self.problems.append(f"{node.name}: a batch norm must have statistics and follow a convolution that nothing else uses")
            self.producers[node] = node.name
            return
        factor = torch.rsqrt(module.running_var + module.eps)
        offset = -module.running_mean * factor
        if module.affine:
            factor, offset = module.weight.detach() * factor, module.weight.detach() * offset + module.bias.detach()
        product.weight = product.weight * factor[:, None, None, None]
        product.bias = product.bias * factor + offset
        self.producers[node] = product.name

    def relu(self, node: fx.Node) -> None:
        """Fuse a ReLU into the product or sum before it."""
        before = self.last(node)
        if not isinstance(before, FloatProduct | FloatAdd):
            self.problems.append(f"{node.name}: a ReLU must follow a product or a sum that nothing else uses")
            self.producers[node] = node.name
            return
        before.relu = True
        self.producers[node] = before.name

    def add(self, node: fx.Node) -> None:
        """Add a sum."""
        inputs = [argument for argument in node.args if isinstance(argument, fx.Node)]
        if len(inputs) != 2 or node.kwargs:
            self.problems.append(f"{node.name}: a sum must have two tensors and no factor")
            self.producers[node] = node.name
            return
        scope = [str(key) for key in (node.meta.get("nn_module_stack") or {})]
        name = f"{scope[-1]}.add" if scope and scope[-1] else node.name
        taken = {made.name for made in self.nodes}
        self.emit(node, FloatAdd(node.name if name in taken else name, tuple(self.producers[argument] for argument in inputs)))

    def pool(self, node: fx.Node) -> None:
        """Add a global average pooling."""
        module = self.module(node, nn.AdaptiveAvgPool2d)
        if module.output_size not in (1, (1, 1)):
            self.problems.append(f"{node.name}: {module} must pool to one pixel")
        self.emit(node, FloatPool(str(node.target), (self.source(node),)))


def pair(value: Any) -> tuple[int, int]:
    """Return height and width of an option of a convolution."""
    height, width = np.broadcast_to(value, 2).tolist()
    return height, width
