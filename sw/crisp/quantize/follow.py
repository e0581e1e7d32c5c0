"""Following a model with torch.fx: which operations it does on an image, and what comes out of each.

A model is somebody else's: what it raises becomes an error that says in one line what was expected of it.
"""

from typing import Any

import torch
from torch import fx, nn

from crisp.models.symbolic import required_arguments, symbolic_trace

from .errors import QuantizeError

__all__ = ["Followed", "check_image", "compare", "first_line", "follow"]

#: Largest difference between a model and its graph, as a share of the model's largest output: a quarter of a step of int8. Rounding in
#: float32 is a few millionths, in networks of fifty layers too.
TOLERANCE = 1e-3
#: Images that model and graph are compared on: two, so that a model which takes only one at a time is found out.
IMAGES = 2


class Followed(fx.Interpreter):
    """A traced model that has been run on an image, with the shape of every tensor and the value of whatever is no tensor."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.traced = traced
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Compute one node."""
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.shapes[n] = tuple(result.shape)
        elif result is None or isinstance(result, int | float | str | torch.Size):
            self.values[n] = result
        return result


def follow(model: nn.Module, image: torch.Tensor) -> Followed:
    """Trace ``model``, in evaluation mode, and run it on ``image``; arguments with a default value keep that.

    Raises
    ------
    QuantizeError
        When the model wants more than one input, cannot be traced, or does not run on the image.
    """
    needed = required_arguments(model)
    if len(needed) > 1:
        raise QuantizeError(f"model must take one image, not {', '.join(needed)}; give the others a default value")
    try:
        followed = Followed(symbolic_trace(model))
    except Exception as error:  # tracing runs the model's own code
        raise QuantizeError(
            f"model must be traceable by torch.fx, but is not: {first_line(error)}; "
            f"take out of forward what asks for values or sizes of tensors, such as if and assert"
        ) from error
    try:
        followed.run(image.clone())  # which the model may change
    except Exception as error:  # shapes that do not fit show only when the model runs
        shape = " x ".join(map(str, image.shape[1:]))
        raise QuantizeError(
            f"model must run on images of {shape} (channels, height, width), but does not: {first_line(error)}; "
            f"give images of the size and channels that it is for"
        ) from error
    return followed


def check_image(image: torch.Tensor) -> None:
    """Raise `QuantizeError` unless ``image`` is float32 [1, C, H, W] and finite."""
    if image.dtype != torch.float32 or image.ndim != 4 or len(image) != 1:
        kind = f"{str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
        raise QuantizeError(f"image must be float32 [1, C, H, W], not {kind}; convert it")
    if not torch.isfinite(image).all():
        raise QuantizeError(f"image must have finite values, not {image[~torch.isfinite(image)][0].item()}; look at where it comes from")


def compare(model: nn.Module, graph: Any, image: torch.Tensor) -> None:
    """Raise unless ``graph`` computes what ``model`` does, on images like ``image`` with noise, so that nothing hides behind zeros.

    Both are called with float32 [N, C, H, W]. A model whose outputs are not finite is not judged.

    Raises
    ------
    QuantizeError
        When they differ by more than float rounding, or the model does not take two images at once.
    """
    probe = image + torch.randn(IMAGES, *image.shape[1:], generator=torch.Generator().manual_seed(0))
    try:
        wanted, problem = model(probe.clone()), ""
    except Exception as error:  # whatever the user's code raises
        wanted, problem = None, first_line(error)
    if wanted is None or len(wanted) != IMAGES:
        problem = problem or f"its output has shape {list(wanted.shape)}"
        raise QuantizeError(
            f"model must take several images at once, but does not take {IMAGES}: {problem}; "
            f"leave the first dimension as it is, as x.flatten(1) does"
        )
    found = graph(probe.clone())
    if not torch.isfinite(wanted).all():
        return  # which calibration tells with the layer's name
    largest = wanted.abs().max().item()
    difference = (found - wanted).abs().max().item() if found.shape == wanted.shape else float("inf")
    if not difference <= TOLERANCE * largest:
        raise QuantizeError(
            f"the graph must compute what the model does, but differs by {difference:.3g} where the largest output is {largest:.3g}; "
            f"where the model changes a tensor in place that it uses again, as nn.ReLU(inplace=True) and += do, make it a new one: "
            f"nn.ReLU(), x = x + y"
        )


def first_line(error: Exception) -> str:
    """Return the first line of a message; torch appends where it was raised."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
