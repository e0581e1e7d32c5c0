"""Which layers are pruned, and their weights as matrices."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from crisp.golden.convolution import from_matrix, to_matrix
from crisp.models.evaluate import evaluating
from crisp.models.head import ModelError
from crisp.models.prunable import PruningReport, count_pixels, examine_layers

from .errors import PruneError

__all__ = ["examine", "machine_shapes", "mask_from_matrix", "output_pixels", "prunable_layers", "weight_matrix"]


@contextlib.contextmanager
def network_errors() -> Iterator[None]:
    """Turn what is wrong with a network into an error of pruning."""
    try:
        yield
    except ModelError as error:
        raise PruneError(str(error)) from error


def examine(model: nn.Module, image: torch.Tensor | None, keep_dense: Sequence[str] = ()) -> PruningReport:
    """Return `examine_layers` of a network.

    Raises
    ------
    PruneError
        When ``keep_dense`` names no layer, or the network does not take the image.
    """
    with network_errors():
        return examine_layers(model, image, keep_dense)


def prunable_layers(model: nn.Module, keep_dense: Sequence[str] = (), image: torch.Tensor | None = None) -> dict[str, nn.Module]:
    """Return the layers of ``model`` that pruning takes, by name.

    Those are all convolutions and linear layers but the first, which sees the image and has few weights, and the last, whose few rows are
    the classes; but those that `examine_layers` says cannot be; and but those that ``keep_dense`` names.

    Parameters
    ----------
    model : Module
        Network.
    keep_dense : sequence of str
        Layers that stay dense as well.
    image : Tensor, optional
        float32 [1, C, H, W]. With it, layers that the network does not use are left out too.

    Raises
    ------
    PruneError
        When ``keep_dense`` names no layer, the network does not take the image, or nothing is left to prune.
    """
    report = examine(model, image, keep_dense)
    if not report.prunable:
        kept = ", ".join(f"{layer.name} ({layer.verdict.value})" for layer in report.layers)
        raise PruneError(f"the network must have a layer to prune besides those that stay dense, {kept}; use a network with more layers")
    return {name: model.get_submodule(name) for name in report.prunable}


@torch.no_grad()
def output_pixels(model: nn.Module, layers: Mapping[str, nn.Module], image: torch.Tensor) -> dict[str, int]:
    """Return how many pixels each of ``layers`` puts out for one ``image``, float32 [1, C, H, W]: what each of its weights is used for.

    Raises
    ------
    PruneError
        When a layer is not used, or the network does not take the image.
    """
    with network_errors():
        pixels = count_pixels(model, layers, image)
    for name in layers:
        if name not in pixels:
            raise PruneError(f"{name}: a pruned layer must be used by the network, but is not; name it in keep_dense")
    return pixels


def machine_shapes(model: nn.Module, layers: Mapping[str, nn.Module], image: torch.Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape that the weight of each of ``layers`` has in the machine, [O, C, kh, kw] or [O, C].

    It is the weight's own but for linear layers behind a flattened image of more than one pixel. To the machine those are convolutions as
    large as the image, [O, C, H, W], and the channels of a pixel are neighbours there, not the pixels of a channel. In a network that
    cannot be traced to the machine's operations, and so never gets there, each weight has its own shape.

    Parameters
    ----------
    model : Module
        Network; it is left as it is.
    layers : mapping
        Its layers that are pruned, by name.
    image : Tensor
        float32 [1, C, H, W].
    """
    own = {name: tuple(layer.get_parameter("weight").shape) for name, layer in layers.items()}
    if all(len(shape) == 4 for shape in own.values()):
        return own
    from crisp.quantize import QuantizeError, trace  # brings ONNX and the compiler along, and few networks need it
    from crisp.quantize.graph import FloatProduct

    try:
        with evaluating(model):
            nodes = trace(model, image).nodes
    except QuantizeError:
        return own
    found = {node.name: tuple(node.weight.shape) for node in nodes if isinstance(node, FloatProduct)}
    return {name: found[name] if len(shape) == 2 and found.get(name, ())[2:] not in ((), (1, 1)) else shape for name, shape in own.items()}


def weight_matrix(weight: torch.Tensor, group: int, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return a weight as the matrix [O, K] that the machine sees, where it has ``shape``; see `machine_shapes`."""
    return to_matrix(weight.detach().cpu().numpy().reshape(shape or weight.shape), group)


def mask_from_matrix(mask: np.ndarray, like: torch.Tensor, group: int, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    """Return a mask, bool [O, K], in the shape, the type and the memory layout of the weight ``like``; in the machine it has ``shape``."""
    shaped = torch.from_numpy(from_matrix(mask, shape or tuple(like.shape), group).reshape(like.shape)).to(like.dtype)
    return torch.empty_like(like).copy_(shaped)
