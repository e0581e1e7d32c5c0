"""An int8 network in floating point, with gradients: what `quantize` will make of a model, while the model is still being trained.

Every tensor is quantized and at once made real again. Rounding has no gradient, so the straight-through estimator takes 1 in its place
(Y. Bengio et al., arXiv 1308.3432); what is clipped has none. Batch norms are folded with their statistics as constants before weights are
rounded, channel by channel, because that is what is exported (after B. Jacob et al., arXiv 1712.05877, section 3.2).

A range ``low..high`` may learn: inside ``dy/ds = round(x / s) - x / s`` for the step s = (high - low) / 255, outside y is a limit itself.
Sources: S. Esser et al., "Learned Step Size Quantization", arXiv 1902.08153; Y. Bhalgat et al., "LSQ+", arXiv 2004.09576, for both limits;
S. Jain et al., arXiv 1903.08066, for learning logarithms, so that steps are relative.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .affine import Affine, affine
from .fold import fold
from .graph import INPUT, FloatGraph, FloatMaxPool, FloatProduct
from .weights import WEIGHT_MAX, WeightRange, weight_scales

__all__ = ["Limits", "Simulation"]


class FakeQuantize(torch.autograd.Function):
    """int8 and back, of a range ``low..high``, float64 scalars."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Quantize and make real again."""
        meaning = affine(low.item(), high.item())
        steps = x / meaning.scale
        rounded = steps.round()
        below, above = rounded < -128 - meaning.zero_point, rounded > 127 - meaning.zero_point
        ctx.save_for_backward(below, above, rounded - steps if ctx.needs_input_grad[1] else x.new_empty(0))
        return rounded.clamp_(-128 - meaning.zero_point, 127 - meaning.zero_point).mul_(meaning.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Pass the gradient on where nothing was clipped, and to the limits."""
        below, above, change = ctx.saved_tensors
        (gradient,) = gradients
        inside = gradient.masked_fill(below | above, 0)
        if not ctx.needs_input_grad[1]:
            return inside, None, None
        step = (inside * change).sum().double() / 255
        return inside, (gradient * below).sum().double() - step, (gradient * above).sum().double() + step


class Limits(nn.Module):
    """The range of a tensor.

    Parameters
    ----------
    meaning : Affine
        Scale and zero point at the beginning.
    """

    def __init__(self, meaning: Affine) -> None:
        super().__init__()
        low, high = (meaning.scale * (level - meaning.zero_point) for level in (-128, 127))
        self.register_buffer("limits", torch.tensor([low, high], dtype=torch.float64))
        self.logarithms = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    limits: torch.Tensor

    def range(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the low and the high limit."""
        low, high = self.limits * self.logarithms.exp()
        return low, high

    @property
    def meaning(self) -> Affine:
        """Scale and zero point now."""
        low, high = self.range()
        return affine(low.item(), high.item())

    def follow(self, x: torch.Tensor, decay: float) -> None:
        """Move the limits towards the smallest and the largest value of a batch."""
        seen = torch.stack([x.detach().min().clamp(max=0), x.detach().max().clamp(min=0)]).double()
        self.limits.mul_(decay).add_(seen, alpha=1 - decay)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Quantize and make real again."""
        quantized: torch.Tensor = FakeQuantize.apply(x, *self.range())
        return quantized


class Simulation(nn.Module):
    """Computes a model as its int8 network will, with gradients for the model's own parameters.

    Parameters
    ----------
    model : Module
        Model, in evaluation mode; its parameters are used as they are at each call.
    graph : FloatGraph
        What `trace` made of it.
    tensors : mapping
        Scale and zero point of every tensor at the beginning.
    weight_range : WeightRange
        How scales of weights are found, anew at each call.
    """

    def __init__(self, model: nn.Module, graph: FloatGraph, tensors: Mapping[str, Affine], weight_range: WeightRange) -> None:
        super().__init__()
        self.model, self.graph, self.weight_range = model, graph, weight_range
        self.same = {node.name: node.inputs[0] for node in graph.nodes if isinstance(node, FloatMaxPool)}
        own = [name for name in tensors if name not in self.same]
        self.places = {name: number for number, name in enumerate(own)}  # names have dots, which those of modules must not
        self.all_limits = nn.ModuleList(Limits(tensors[name]) for name in own)

    def limits(self, name: str) -> Limits:
        """Return the range of a tensor."""
        while name in self.same:
            name = self.same[name]
        found = self.all_limits[self.places[name]]
        if not isinstance(found, Limits):
            raise TypeError(f"{name}: limits must be Limits, not {type(found).__name__}")
        return found

    def meanings(self) -> dict[str, Affine]:
        """Return scale and zero point of every tensor now."""
        return {name: self.limits(name).meaning for name in (*self.places, *self.same)}

    def forward(self, x: torch.Tensor, observe: Callable[[str, torch.Tensor], None] | None = None) -> torch.Tensor:
        """Compute the model on float32 [N, C, H, W]; ``observe`` sees what is quantized, before that is done."""
        values = {INPUT: self.limits(INPUT)(x)}
        for node in self.graph.nodes:
            inputs = [values[name] for name in node.inputs]
            if isinstance(node, FloatProduct):
                node = self.rounded(node)
            y = node(*inputs)
            if node.name in self.places:
                if observe is not None:
                    observe(node.name, y)
                y = self.limits(node.name)(y)
            values[node.name] = y
        return values[self.graph.nodes[-1].name]

    def rounded(self, node: FloatProduct) -> FloatProduct:
        """Return a product with the layer's parameters as they are now, folded and rounded."""
        layer = self.model.get_submodule(node.layer)
        weight, bias = layer.get_parameter("weight").reshape(node.weight.shape), getattr(layer, "bias", None)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        for name in node.norms:
            norm = self.model.get_submodule(name)
            if isinstance(norm, nn.BatchNorm2d):
                weight, bias = fold(weight, bias, norm)
        with torch.no_grad():
            input_scale = self.limits(node.inputs[0]).meaning.scale
            scales = weight_scales(weight.detach(), bias.detach().double().numpy(), input_scale, self.weight_range)
            scale = torch.from_numpy(scales)
            unit = scale[:, None, None, None]
            weight_change = ((weight.double() / unit).round_().clamp_(-WEIGHT_MAX, WEIGHT_MAX) * unit).float() - weight
            bias_change = ((bias.double() / (scale * input_scale)).round_() * (scale * input_scale)).float() - bias
        return dataclasses.replace(node, weight=weight + weight_change, bias=bias + bias_change)
