"""From a model to a graph: torch.fx follows it, batch norm is folded, and what is done to a value is fused into what makes it."""

import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from crisp.golden.convolution import Convolution, Window
from crisp.models.evaluate import evaluating

from .activations import CURVES, IDENTITY, LIMITS, Clamp
from .errors import QuantizeError
from .fold import fold, has_statistics
from .follow import Followed, check_image, compare, follow
from .graph import INPUT, Clamped, FloatAdd, FloatAveragePool, FloatGraph, FloatMaxPool, FloatNode, FloatPool, FloatProduct, FloatTable

__all__ = ["explain_refusal", "trace"]

Module = TypeVar("Module", bound=nn.Module)

#: Pixels of zeros above, to the left, below and to the right.
Border = tuple[int, int, int, int]
NO_BORDER: Border = (0, 0, 0, 0)


@torch.no_grad()
def trace(model: nn.Module, image: torch.Tensor) -> FloatGraph:
    """Turn ``model`` into a graph of products, sums, poolings and tables, and hold that against the model.

    Understood are Conv2d (with groups and dilation, padded with zeros), Linear behind one pixel or a flattened image, BatchNorm2d after a
    convolution, the sum of two tensors, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d where it divides the image evenly, the mean of all pixels,
    ReLU, ReLU6, Hardtanh, Sigmoid, Tanh, SiLU, GELU, Hardsigmoid, Hardswish, ZeroPad2d before a convolution, flatten and what says the
    same (view, reshape), and Identity and Dropout, which do nothing here; most of them as modules, functions and methods. Softmax or log
    softmax over the channels may come last and is left out: the graph gives the logits, whose largest is the same.

    Parameters
    ----------
    model : Module
        Network with one input [N, C, H, W] and one output, as it is in evaluation mode; it is left as it is.
    image : Tensor
        float32 [1, C, H, W]: any image of the size that the network is for.

    Raises
    ------
    QuantizeError
        Naming every operation that is not understood, with the reason; or when the model does not run on the image, or computes something
        else than the graph, as one may that changes tensors in place.
    """
    check_image(image)
    with evaluating(model):
        followed = follow(model, image)
        translator = Translator(followed)
        for node in followed.traced.graph.nodes:
            translator.translate(node)
        if translator.problems:
            raise QuantizeError(
                "model must have only operations that run on the array; these do not:\n  " + "\n  ".join(translator.problems)
            )
        if not translator.nodes:
            raise QuantizeError("model must have at least one convolution or linear layer, not none")
        graph = FloatGraph(translator.nodes)
        compare(model, lambda images: translator.ending(graph.run(images).reshape(len(images), *translator.output)), image)
    return graph


def explain_refusal(model: nn.Module, image: torch.Tensor) -> str:
    """Return a warning that says why `trace` refuses ``model`` for float32 [1, C, H, W]; empty where it does not."""
    try:
        trace(model, image)
    except QuantizeError as error:
        return f"warning: `crisp quantize` will refuse this network: {error}\nSee docs/quantization.md, what a model may hold."
    return ""


class Translator:
    """Turns torch.fx nodes into graph nodes one by one, and collects what it does not understand."""

    def __init__(self, followed: Followed) -> None:
        self.modules, self.shapes, self.values = dict(followed.traced.named_modules()), followed.shapes, followed.values
        self.nodes: list[FloatNode] = []
        self.problems: list[str] = []
        self.producers: dict[fx.Node, str] = {}
        self.borders: dict[fx.Node, Border] = {}
        self.images: dict[fx.Node, tuple[int, ...]] = {}
        #: Shape of the output for one image, and what the model does at its end that the graph leaves out.
        self.output: tuple[int, ...] = ()
        self.ending: Callable[[torch.Tensor], torch.Tensor] = lambda x: x

    def translate(self, node: fx.Node) -> None:
        """Add what ``node`` does to the graph, or to the problems."""
        if node in self.values and node.op != "output":
            return  # a number, such as a size, which is known
        operation, inputs = self.operation(node), self.tensors(node)
        if node.op == "placeholder":
            self.producers[node], self.images[node] = INPUT, self.shapes[node]
        elif node.op == "output":
            self.end(node)
        elif not all(argument in self.producers for argument in inputs):
            self.producers[node] = node.name  # the reason has been told at its input
        elif operation is None or not inputs:
            self.reject(node, f"{self.describe(node)} is not supported")
        elif any(argument in self.borders for argument in inputs) and operation not in (self.convolution, self.zero_pad):
            self.reject(node, "zero padding must be followed by a convolution")
        else:
            operation(node)

    def end(self, node: fx.Node) -> None:
        """Look at what the model returns."""
        returned = node.args[0]
        if not isinstance(returned, fx.Node) or returned not in self.producers:
            self.problems.append("output: a model must return one tensor")
            return
        if self.nodes and self.producers[returned] != self.nodes[-1].name:
            self.problems.append("output: must be what is computed last")
        self.output = self.shapes.get(returned, ())[1:]

    def tensors(self, node: fx.Node) -> list[fx.Node]:
        """Return the tensors that ``node`` takes, each once."""
        return [argument for argument in node.all_input_nodes if argument not in self.values]

    def operation(self, node: fx.Node) -> Callable[[fx.Node], None] | None:
        """Return the method that understands ``node``."""
        by_kind: dict[Any, Callable[[fx.Node], None]] = {
            nn.Conv2d: self.convolution,
            nn.ZeroPad2d: self.zero_pad,
            nn.Linear: self.linear,
            nn.BatchNorm2d: self.batch_norm,
            operator.add: self.add,
            operator.iadd: self.add,
            torch.add: self.add,
            "add": self.add,
            **dict.fromkeys((nn.MaxPool2d, functional.max_pool2d), self.max_pool),
            **dict.fromkeys((nn.AvgPool2d, functional.avg_pool2d), self.average_pool),
            **dict.fromkeys((nn.AdaptiveAvgPool2d, functional.adaptive_avg_pool2d), self.adaptive_pool),
            **dict.fromkeys((torch.mean, "mean"), self.mean),
            **dict.fromkeys((nn.Flatten, torch.flatten, "flatten", torch.reshape, "reshape", "view"), self.flatten),
            **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout2d, "contiguous"), self.skip),
            **dict.fromkeys((functional.dropout, functional.dropout2d), self.dropout),
            **dict.fromkeys((nn.Softmax, functional.softmax, torch.softmax, "softmax"), self.softmax),
            **dict.fromkeys((nn.LogSoftmax, functional.log_softmax, torch.log_softmax, "log_softmax"), self.log_softmax),
        }
        module = self.modules[str(node.target)] if node.op == "call_module" else None
        kind = node.target if module is None else type(module)
        if isinstance(module, nn.Hardtanh) and kind not in LIMITS:
            return lambda node: self.clamp(node, Clamp(module.min_val, module.max_val))
        if isinstance(module, nn.GELU) and module.approximate == "none":
            return lambda node: self.curve(node, "gelu")
        if kind in LIMITS:
            return lambda node: self.clamp(node, LIMITS[kind])
        if kind in CURVES:
            return lambda node: self.curve(node, CURVES[kind])
        return by_kind.get(kind)

    def options(self, node: fx.Node, *names: str) -> dict[str, Any]:
        """Return the arguments of a function or method by name: ``names`` are those that come behind the tensor, in order."""
        given = {**dict(zip(names, node.args[1:], strict=False)), **{name: node.kwargs[name] for name in names if name in node.kwargs}}
        return {name: fx.node.map_arg(value, lambda argument: self.values.get(argument, argument)) for name, value in given.items()}

    def module(self, node: fx.Node, kind: type[Module], *names: str) -> Module:
        """Return the module that ``node`` calls, of which `operation` has seen that it is a ``kind``, or that does what its function does.

        ``names`` are the arguments of the function, in order.
        """
        if node.op != "call_module":
            return kind(**self.options(node, *names))
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
        return self.producers[self.tensors(node)[0]]

    def image(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape [1, C, H, W] of the tensor that ``node`` takes, before it was flattened."""
        return self.images[self.tensors(node)[0]]

    def name(self, node: fx.Node, wanted: str | None = None) -> str:
        """Return a name for what ``node`` makes: its module's, unless another call has it."""
        wanted = wanted or (str(node.target) if node.op == "call_module" else node.name)
        return node.name if any(made.name == wanted for made in self.nodes) else wanted

    def emit(self, node: fx.Node, made: FloatNode, image: tuple[int, ...] | None = None) -> None:
        """Add a node to the graph, whose output is ``image`` before it was flattened."""
        self.nodes.append(made)
        self.producers[node], self.images[node] = made.name, image or self.shapes[node]

    def merge(self, node: fx.Node, name: str) -> None:
        """Let what ``node`` makes be the tensor ``name`` that the graph has already."""
        self.producers[node], self.images[node] = name, self.image(node)

    def reject(self, node: fx.Node, problem: str) -> None:
        """Note why ``node`` cannot be."""
        self.problems.append(f"{node.name}: {problem}")
        self.producers[node], self.images[node] = node.name, self.shapes.get(node, ())

    def last(self, node: fx.Node) -> FloatNode | None:
        """Return the graph's node that ``node`` may be merged into: its input's, when nothing else uses that."""
        name = self.source(node)
        for alias, producer in self.producers.items():
            if producer == name and sum(user not in self.values for user in alias.users) > 1:
                return None
        return next((made for made in self.nodes if made.name == name), None)

    def skip(self, node: fx.Node) -> None:
        """Pass the input on."""
        self.merge(node, self.source(node))

    def dropout(self, node: fx.Node) -> None:
        """Pass the input on, where the function knows that nothing is trained."""
        if self.options(node, "p", "training").get("training", True):
            self.reject(node, "dropout must be off in evaluation; give it training=self.training")
            return
        self.skip(node)

    def flatten(self, node: fx.Node) -> None:
        """Pass the input on as it is: the linear layer behind it will be a convolution as large as the image."""
        shape = self.shapes[self.tensors(node)[0]]
        if self.shapes[node] != (shape[0], math.prod(shape[1:])):
            self.reject(node, f"{self.describe(node)} must leave one vector an image, [N, features]")
            return
        self.skip(node)

    def softmax(self, node: fx.Node) -> None:
        """Leave out a softmax that comes last."""
        self.leave_out(node, nn.Softmax)

    def log_softmax(self, node: fx.Node) -> None:
        """Leave out a logarithm of a softmax that comes last."""
        self.leave_out(node, nn.LogSoftmax)

    def leave_out(self, node: fx.Node, kind: type[nn.Softmax] | type[nn.LogSoftmax]) -> None:
        """Pass the input on to the output: which channel is the largest stays the same."""
        dim = self.module(node, cast(type[nn.Softmax], kind), "dim").dim
        rank = len(self.shapes[node])
        if any(user.op != "output" for user in node.users) or (1 if dim is None else dim) % rank != 1:
            self.reject(node, "softmax must be over the channels, dim=1, and come last, where it is left out; end the model in its logits")
            return
        self.ending = kind(dim=1)
        self.skip(node)

    def zero_pad(self, node: fx.Node) -> None:
        """Keep a border in mind for the convolution that follows."""
        left, right, above, below = self.module(node, nn.ZeroPad2d).padding
        if min(left, right, above, below) < 0:
            self.reject(node, "zero padding must not be negative")
            return
        before = self.borders.get(self.tensors(node)[0], NO_BORDER)
        self.skip(node)
        self.borders[node] = (before[0] + above, before[1] + left, before[2] + below, before[3] + right)

    def convolution(self, node: fx.Node) -> None:
        """Add a convolution."""
        module = self.module(node, nn.Conv2d)
        if module.padding_mode != "zeros":
            self.reject(node, f"{module} must be padded with zeros")
            return
        kernel, dilation = pair(module.kernel_size), pair(module.dilation)
        before = self.borders.get(self.tensors(node)[0], NO_BORDER)
        if module.padding == "same":
            totals = [step * (taps - 1) for step, taps in zip(dilation, kernel, strict=True)]
            begin, end = pair([total // 2 for total in totals]), pair([total - total // 2 for total in totals])
        else:
            begin = end = pair(0 if module.padding == "valid" else module.padding)
        geometry = Convolution(
            module.in_channels,
            groups=module.groups,
            kernel=kernel,
            stride=pair(module.stride),
            padding=(before[0] + begin[0], before[1] + begin[1]),
            padding_end=(before[2] + end[0], before[3] + end[1]),
            dilation=dilation,
        )
        self.product(node, module.weight, module.bias, geometry)

    def linear(self, node: fx.Node) -> None:
        """Add a linear layer as a convolution of all pixels: its inputs are [C, H, W] flattened, and so are its weights."""
        module, (_, channels, *size) = self.module(node, nn.Linear), self.image(node)
        height, width = size or (1, 1)
        if channels * height * width != module.in_features or math.prod(self.shapes[node]) != module.out_features:
            self.reject(node, f"{module} must take all of one image, flattened")
            return
        weight = module.weight.reshape(module.out_features, channels, height, width)
        self.product(node, weight, module.bias, Convolution(channels, kernel=(height, width)), (1, module.out_features, 1, 1))

    def product(
        self,
        node: fx.Node,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        geometry: Convolution,
        image: tuple[int, ...] | None = None,
    ) -> None:
        """Add a product with a copy of its weights."""
        weight = weight.detach().clone()
        bias = torch.zeros(len(weight)) if bias is None else bias.detach().clone()
        made = FloatProduct(
            name=self.name(node), inputs=(self.source(node),), weight=weight, bias=bias, convolution=geometry, layer=str(node.target)
        )
        self.emit(node, made, image)

    def batch_norm(self, node: fx.Node) -> None:
        """Fold a batch norm into the convolution before it."""
        module, product = self.module(node, nn.BatchNorm2d), self.last(node)
        plain = isinstance(product, FloatProduct) and product.clamp == Clamp()
        if not isinstance(product, FloatProduct) or not plain or not has_statistics(module):
            self.reject(node, "a batch norm must have statistics and follow a convolution that nothing else uses")
            return
        with torch.no_grad():
            product.weight, product.bias = fold(product.weight, product.bias, module)
        product.norms += (str(node.target),)
        self.merge(node, product.name)

    def clamp(self, node: fx.Node, clamp: Clamp) -> None:
        """Fuse limits into the node before, or make a table of them."""
        before = self.last(node)
        if isinstance(before, Clamped):
            before.clamp = before.clamp.then(clamp)
            self.merge(node, before.name)
        else:
            made = FloatTable(name=self.name(node), inputs=(self.source(node),), function=IDENTITY, clamp=clamp)
            self.emit(node, made, self.image(node))

    def curve(self, node: fx.Node, function: str) -> None:
        """Add a table."""
        self.emit(node, FloatTable(name=self.name(node), inputs=(self.source(node),), function=function), self.image(node))

    def add(self, node: fx.Node) -> None:
        """Add a sum."""
        given = [*node.args, *node.kwargs.values()]
        inputs = [argument for argument in given if isinstance(argument, fx.Node) and argument not in self.values]
        if len(inputs) != 2 or len(given) != 2:
            self.reject(node, "a sum must have two tensors and no factor")
            return
        if self.images[inputs[0]] != self.images[inputs[1]] or self.shapes[inputs[0]] != self.shapes[inputs[1]]:
            self.reject(node, "a sum must have two tensors of one shape")
            return
        scope = [str(key) for key in (node.meta.get("nn_module_stack") or {})]
        name = self.name(node, f"{scope[-1]}.add" if scope and scope[-1] else None)
        self.emit(node, FloatAdd(name=name, inputs=tuple(self.producers[argument] for argument in inputs)), self.images[inputs[0]])

    def max_pool(self, node: fx.Node) -> None:
        """Add a maximum pooling."""
        module = self.module(node, nn.MaxPool2d, "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        if module.ceil_mode or module.return_indices:
            self.reject(node, f"{module} must round sizes down and return no indices")
            return
        window = Window(
            kernel=pair(module.kernel_size), stride=pair(module.stride), padding=pair(module.padding), dilation=pair(module.dilation)
        )
        self.emit(node, FloatMaxPool(name=self.name(node), inputs=(self.source(node),), window=window))

    def average_pool(self, node: fx.Node) -> None:
        """Add an average pooling."""
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        module = self.module(node, nn.AvgPool2d, *names)
        counted = module.count_include_pad or pair(module.padding) == (0, 0)
        if module.ceil_mode or module.divisor_override or not counted:
            self.reject(node, f"{module} must round sizes down and divide all windows by their size, padding included")
            return
        window = Window(kernel=pair(module.kernel_size), stride=pair(module.stride), padding=pair(module.padding))
        self.emit(node, FloatAveragePool(name=self.name(node), inputs=(self.source(node),), window=window))

    def mean(self, node: fx.Node) -> None:
        """Add the mean of all pixels, whether or not the pixel that is left stays a dimension."""
        shape, wanted = self.shapes[self.tensors(node)[0]], self.options(node, "dim", "keepdim").get("dim")
        dims = [wanted] if isinstance(wanted, int) else list(wanted or ())
        if len(shape) != 4 or sorted(dim % 4 for dim in dims) != [2, 3]:
            self.reject(node, "a mean must be one of all pixels, x.mean((2, 3))")
            return
        made = FloatPool(name=self.name(node), inputs=(self.source(node),), pixels=shape[2] * shape[3])
        self.emit(node, made, (shape[0], shape[1], 1, 1))

    def adaptive_pool(self, node: fx.Node) -> None:
        """Add an average pooling to a given size: of all pixels, of equal windows, or none where the image has that size already."""
        (_, _, height, width), (_, _, *wanted) = self.image(node), self.shapes[node]
        if wanted == [height, width]:
            self.skip(node)
        elif wanted == [1, 1]:
            self.emit(node, FloatPool(name=self.name(node), inputs=(self.source(node),), pixels=height * width))
        elif height % wanted[0] or width % wanted[1]:
            self.reject(node, f"pooling to {wanted[0]} x {wanted[1]} pixels must divide the image evenly, not {height} x {width}")
        else:
            size = (height // wanted[0], width // wanted[1])
            window = Window(kernel=size, stride=size)
            self.emit(node, FloatAveragePool(name=self.name(node), inputs=(self.source(node),), window=window))


def pair(value: Any) -> tuple[int, int]:
    """Return height and width of an option of a convolution."""
    height, width = np.broadcast_to(value, 2).tolist()
    return height, width
