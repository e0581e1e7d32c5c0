"""Which layers of a network can be pruned, and why the others cannot: told before anything is done to them.

The hybrid pattern is one of matrices, so what can be pruned is what the machine computes as one whole matrix product: convolutions of one
group, and linear layers. K need not be a multiple of M, nor rows or columns of B: what is missing is padded. The first layer, which sees
the image and has few weights, and the last, whose rows are the classes, stay dense.
"""

import collections
import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from rich.table import Table
from torch import nn

from .evaluate import evaluating
from .head import ModelError

__all__ = ["LayerReport", "PruningReport", "Verdict", "examine_layers"]


class Verdict(enum.Enum):
    """What pruning does with a layer, and why."""

    PRUNED = "can be pruned"
    FIRST = "stays dense: the first layer, which sees the image"
    LAST = "stays dense: the last layer, whose rows are the classes"
    KEPT = "stays dense: asked for"
    GROUPED = "cannot: more than one group, so its matrix is diagonal already"
    UNUSED = "cannot: the network does not use it"
    SHARED = "cannot: another layer has the same weight"
    DERIVED = "cannot: its weight is computed from other tensors"
    OTHER = "cannot: neither Conv2d nor Linear"


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """What is to be known of a layer with weights.

    Parameters
    ----------
    name, kind : str
        Name in the network, and class.
    shape : tuple of int
        Shape of its weight.
    weights : int
        Their number.
    pixels : int, optional
        Output positions that each weight is used for, for one image; none where no image was tried.
    verdict : Verdict
        What pruning does.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weights: int
    pixels: int | None
    verdict: Verdict


@dataclasses.dataclass(frozen=True)
class PruningReport:
    """All layers with weights of a network, in their order.

    Parameters
    ----------
    layers : tuple of LayerReport
        The layers.
    """

    layers: tuple[LayerReport, ...]

    @property
    def prunable(self) -> tuple[str, ...]:
        """Names of the layers that can be pruned."""
        return tuple(layer.name for layer in self.layers if layer.verdict is Verdict.PRUNED)

    @property
    def prunable_share(self) -> float:
        """Share of all layers' weights that can be pruned, 0 to 1."""
        total = sum(layer.weights for layer in self.layers)
        return sum(layer.weights for layer in self.layers if layer.verdict is Verdict.PRUNED) / max(total, 1)

    def table(self) -> Table:
        """Return what a terminal shows."""
        table = Table(title=f"{len(self.prunable)} of {len(self.layers)} layers, {self.prunable_share:.1%} of their weights, can be pruned")
        for heading in ("layer", "kind", "weight"):
            table.add_column(heading)
        table.add_column("weights", justify="right")
        table.add_column("pixels", justify="right")
        table.add_column("pruning")
        for layer in self.layers:
            style = None if layer.verdict is Verdict.PRUNED else "dim"
            shape, pixels = " x ".join(map(str, layer.shape)), "" if layer.pixels is None else f"{layer.pixels:,}"
            table.add_row(layer.name, layer.kind, shape, f"{layer.weights:,}", pixels, layer.verdict.value, style=style)
        return table


def examine_layers(model: nn.Module, image: torch.Tensor | None = None, keep_dense: Sequence[str] = ()) -> PruningReport:
    """Tell of every layer of ``model`` that has a weight matrix whether it can be pruned.

    Parameters
    ----------
    model : Module
        Network; it is left as it is.
    image : Tensor, optional
        float32 [1, C, H, W]. With it the network is tried: first and last are then those that compute first and last, and layers that are
        not used are found. Without it, order is that of the modules.
    keep_dense : sequence of str
        Layers that are to stay dense.

    Raises
    ------
    ModelError
        When ``keep_dense`` names no layer with weights, or the network does not take the image.
    """
    layers = {name: module for name, module in model.named_modules() if has_matrix(module)}
    for name in keep_dense:
        if name not in layers:
            raise ModelError(f"keep_dense must name layers of the network, which are {', '.join(layers)}, not {name!r}")
    pixels = None if image is None else count_pixels(model, layers, image)
    order = [name for name in (layers if pixels is None else pixels) if isinstance(layers[name], nn.Conv2d | nn.Linear)]
    owners = collections.Counter(id(own_weight(module)) for module in layers.values())
    reports = []
    for name, module in layers.items():
        weight = cast(torch.Tensor, module.weight)
        if not isinstance(module, nn.Conv2d | nn.Linear):
            verdict = Verdict.OTHER
        elif pixels is not None and name not in pixels:
            verdict = Verdict.UNUSED
        elif name in order[:1]:
            verdict = Verdict.FIRST
        elif name in order[-1:]:
            verdict = Verdict.LAST
        elif isinstance(module, nn.Conv2d) and module.groups != 1:
            verdict = Verdict.GROUPED
        elif name in keep_dense:
            verdict = Verdict.KEPT
        elif own_weight(module) is None:
            verdict = Verdict.DERIVED
        elif owners[id(weight)] > 1:
            verdict = Verdict.SHARED
        else:
            verdict = Verdict.PRUNED
        count = None if pixels is None else pixels.get(name, 0)
        reports.append(LayerReport(name, type(module).__name__, tuple(weight.shape), weight.numel(), count, verdict))
    return PruningReport(tuple(reports))


def has_matrix(module: nn.Module) -> bool:
    """Tell whether ``module`` has a weight of its own with at least two dimensions."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return True
    weight = own_weight(module)
    return weight is not None and weight.ndim >= 2


def own_weight(module: nn.Module) -> nn.Parameter | None:
    """Return the weight that is a parameter of ``module`` itself; none where it is computed from others."""
    return dict(module.named_parameters(recurse=False)).get("weight")


@torch.no_grad()
def count_pixels(model: nn.Module, layers: Mapping[str, nn.Module], image: torch.Tensor) -> dict[str, int]:
    """Return the output positions of each of ``layers`` that computes, in the order in which they compute, for one ``image``.

    Raises
    ------
    ModelError
        When the network does not take the image.
    """
    pixels: dict[str, int] = {}
    names = {module: name for name, module in layers.items()}

    def count(module: nn.Module, inputs: object, output: object) -> None:
        size = 0
        if isinstance(output, torch.Tensor):
            size = output[0, 0].numel() if isinstance(module, nn.Conv2d) else output[0, ..., 0].numel()
        pixels[names[module]] = pixels.get(names[module], 0) + size

    handles = [layer.register_forward_hook(count) for layer in layers.values()]
    try:
        with evaluating(model):
            model(image)
    except Exception as error:  # whatever the user's code raises
        shape = list(image.shape)
        raise ModelError(
            f"the network must take an image of shape {shape}, but: {error}; name the size and channels it was made for"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return pixels
