"""A float model as a list of the operations that the integer network has, batch norm folded and activations fused."""

import dataclasses
from collections.abc import Callable

import torch
from torch.nn import functional

from crisp.golden.convolution import Convolution, Window

from .activations import FUNCTIONS, NO_CLAMP, Clamp

__all__ = ["INPUT", "FloatAdd", "FloatAveragePool", "FloatGraph", "FloatMaxPool", "FloatNode", "FloatPool", "FloatProduct", "FloatTable"]

#: Name of the model's input.
INPUT = "input"

#: Called with the name of a tensor and its value.
Observe = Callable[[str, torch.Tensor], None]


def see_nothing(name: str, value: torch.Tensor) -> None:
    """Do not look."""


@dataclasses.dataclass(kw_only=True)
class FloatOperation:
    """What every node has: its name, which is its output's, and the names of its inputs."""

    name: str
    inputs: tuple[str, ...]


@dataclasses.dataclass(kw_only=True)
class Clamped(FloatOperation):
    """A node that may end in limits, such as ReLU."""

    clamp: Clamp = NO_CLAMP


@dataclasses.dataclass(kw_only=True)
class FloatProduct(Clamped):
    """Convolution or linear layer: float32 weights [O, C / groups, kh, kw], bias [O].

    ``layer`` is the module that they come from, and ``norms`` are the batch norms that are folded into them, in order.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    convolution: Convolution
    layer: str = ""
    norms: tuple[str, ...] = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [N, O, H', W'] from [N, C, H, W]."""
        return self.clamp(self.linear(x))

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the sums, before their limits."""
        geometry, padding = self.convolution, self.convolution.padding
        if geometry.padding_end != padding:
            (above, below), (left, right) = geometry.borders
            x, padding = functional.pad(x, (left, right, above, below)), (0, 0)
        return functional.conv2d(x, self.weight, self.bias, geometry.stride, padding, geometry.dilation, geometry.groups)


@dataclasses.dataclass(kw_only=True)
class FloatAdd(Clamped):
    """Sum of two tensors."""

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compute the sum."""
        return self.clamp(a + b)


@dataclasses.dataclass(kw_only=True)
class FloatPool(Clamped):
    """Mean of all pixels, of which there are ``pixels``."""

    pixels: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [N, C, 1, 1] from [N, C, H, W]."""
        return self.clamp(x.mean(dim=(2, 3), keepdim=True))


@dataclasses.dataclass(kw_only=True)
class FloatAveragePool(Clamped):
    """Mean of each window; pixels outside the image are 0 and count."""

    window: Window

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [N, C, H', W'] from [N, C, H, W]."""
        return self.clamp(functional.avg_pool2d(x, self.window.kernel, self.window.stride, self.window.padding))


@dataclasses.dataclass(kw_only=True)
class FloatMaxPool(FloatOperation):
    """Largest pixel of each window."""

    window: Window

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute [N, C, H', W'] from [N, C, H, W]."""
        return functional.max_pool2d(x, self.window.kernel, self.window.stride, self.window.padding, self.window.dilation)


@dataclasses.dataclass(kw_only=True)
class FloatTable(Clamped):
    """Function of every value by itself, named in `FUNCTIONS`."""

    function: str

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the function."""
        return self.clamp(FUNCTIONS[self.function](x))


FloatNode = FloatProduct | FloatAdd | FloatPool | FloatAveragePool | FloatMaxPool | FloatTable


@dataclasses.dataclass
class FloatGraph:
    """Nodes in order; the last one's output is the model's."""

    nodes: list[FloatNode]
    input_name: str = INPUT

    @torch.no_grad()
    def run(self, x: torch.Tensor, observe: Observe = see_nothing, observe_sums: Observe = see_nothing) -> torch.Tensor:
        """Compute the model on float32 [N, C, H, W].

        ``observe`` sees the input and every node's output, ``observe_sums`` those of products before their limits.
        """
        last_use = {name: number for number, node in enumerate(self.nodes) for name in node.inputs}
        values = {INPUT: x}
        observe(INPUT, x)
        for number, node in enumerate(self.nodes):
            inputs = [values[name] for name in node.inputs]
            if isinstance(node, FloatProduct):
                sums = node.linear(*inputs)
                observe_sums(node.name, sums)
                output = node.clamp(sums)
            else:
                output = node(*inputs)
            observe(node.name, output)
            for name in set(node.inputs):  # what nobody needs any more leaves memory
                if last_use[name] == number:
                    del values[name]
            values[node.name] = output
        return values[self.nodes[-1].name]
