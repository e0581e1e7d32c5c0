"""Weights that others have trained: torchvision's ``.pth`` files, and safetensors files of the same names. No code in them is run.

The names and shapes must be the network's, every one. What is forgiven is what says nothing of the weights: a dictionary around them
(``state_dict`` or ``model``), the ``module.`` that data-parallel training puts before each name, and the counters of batch norms, which
older files lack.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from .checkpoint import CheckpointError, fill_model, read_tensors
from .spec import ModelSpec

__all__ = ["is_safetensors", "load_model", "load_weights", "read_torch_file", "read_weights"]

#: Under which names training programs put the weights.
WRAPPERS = ("state_dict", "model")
PREFIX = "module."
COUNTER = ".num_batches_tracked"


def read_torch_file(source: Path, file: Path | IO[bytes]) -> dict[str, torch.Tensor]:
    """Return the tensors of a torch file by name, read by a loader that can make nothing but tensors.

    Parameters
    ----------
    source : Path
        What messages call the file.
    file : Path or binary file
        File.

    Raises
    ------
    CheckpointError
        When it is damaged or holds anything else.
    """
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise CheckpointError(f"{source}: must hold weights, not something damaged ({first_line(error)}); delete it") from error
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise CheckpointError(f"{source}: must hold weights by name, not a {type(found).__name__}; delete it")
    return {str(name): value for name, value in found.items()}


def first_line(error: Exception) -> str:
    """Return the first line of a message; torch appends advice to load it with code."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def is_safetensors(path: Path) -> bool:
    """Tell whether ``path`` is a safetensors file: by its name's end, or else by its bytes, eight of a length and then JSON."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of ``path``, a safetensors file by its name's end or its bytes, else a torch file.

    Raises
    ------
    CheckpointError
        When it is absent, damaged, or holds anything but tensors, or values that are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: must be a file, but there is none; name a .pth or .safetensors file with weights")
    tensors = read_tensors(path)[0] if is_safetensors(path) else read_torch_file(path, path)
    if tensors and all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{path}: tensor {name} must hold finite values, but does not; get the file anew")
    return tensors


def load_weights(path: Path, model: nn.Module, remedy: str = "name the architecture, size, channels and width it was trained for") -> None:
    """Fill ``model`` with the weights in ``path``, strictly: every tensor must be there, none too many, all of the right shape.

    Parameters
    ----------
    path : Path
        ``.pth`` or ``.safetensors`` file.
    model : Module
        Network; nothing of it changes when an error is raised.
    remedy : str
        What an error tells the user to do.

    Raises
    ------
    CheckpointError
        When the file cannot be read, or a tensor does not fit; it is named.
    """
    fill_model(path, model, complete(model, read_weights(path)), remedy)


def complete(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return ``tensors`` with the counters of batch norms that they lack."""
    counters = {name: tensor for name, tensor in model.state_dict().items() if name.endswith(COUNTER)}
    return {**counters, **tensors}


def load_model(path: Path, spec: ModelSpec) -> nn.Module:
    """Build the network ``spec``, with as many outputs as the weights in ``path`` have, and fill it; in evaluation mode.

    Parameters
    ----------
    path : Path
        ``.pth`` or ``.safetensors`` file.
    spec : ModelSpec
        Architecture, size, channels and width; its number of outputs does not matter. `crisp.models.select_classes` cuts the head down to
        the user's classes.

    Raises
    ------
    CheckpointError
        When the file cannot be read, or is another network's; the tensor is named.
    ModelError
        When there can be no such network.
    """
    tensors = read_weights(path)
    with torch.device("meta"):
        head = list(spec.build().state_dict())[-1]
    if head not in tensors or not tensors[head].numel():
        rule = f"lacks tensor {head}; it does not hold a {spec.architecture}"
        raise CheckpointError(f"{path}: {rule}, name the architecture it was trained for")
    model = dataclasses.replace(spec, num_classes=tensors[head].numel()).build()
    what = {name: value for name, value in spec.metadata().items() if name != "num_classes"}
    asked = ", ".join(f"{name} {value}" for name, value in what.items())
    fill_model(path, model, complete(model, tensors), f"it does not hold {asked}: name the architecture, size, channels and width it does")
    return model.eval()
