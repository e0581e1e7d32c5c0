"""Networks on disk: safetensors files whose metadata say what the network is and how it came about."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from crisp.arch.errors import CrispError

from .resnet import resnet20

__all__ = ["ARCHITECTURES", "CheckpointError", "load_checkpoint", "load_weights", "save_checkpoint"]

#: Networks that a checkpoint can name.
ARCHITECTURES = {"resnet20": resnet20}


class CheckpointError(CrispError):
    """A checkpoint cannot be read, or does not belong to the network it is read for."""


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write the parameters and buffers of ``model`` to ``path``, by way of a temporary file.

    Parameters
    ----------
    path : Path
        File to write; its folder is made.
    model : Module
        Network.
    metadata : mapping
        Text by name. ``architecture`` and ``num_classes`` are what `load_checkpoint` needs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, temporary, metadata=dict(metadata))
    os.replace(temporary, path)


def load_weights(path: Path, model: nn.Module) -> dict[str, str]:
    """Fill ``model`` from the safetensors file ``path`` and return the file's metadata.

    Raises
    ------
    CheckpointError
        When the file is absent or damaged, lacks a tensor of the network, or has one too many or of another shape.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: must be a file, but there is none; train a network with `crisp train`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: must be a safetensors file, not something damaged ({error}); train it again") from error
    wanted = model.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        verb = "lacks" if name in wanted else "has the unknown"
        raise CheckpointError(f"{path}: {verb} tensor {name}; it belongs to another network")
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: tensor {name} must have shape {list(tensor.shape)}, not {list(tensors[name].shape)}; it is another network's"
            )
    model.load_state_dict(tensors)
    return metadata


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """Build the network that ``path`` names and fill it; return it in evaluation mode, with the metadata.

    Raises
    ------
    CheckpointError
        When `load_weights` does, or when the metadata name no known architecture.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: must be a file, but there is none; train a network with `crisp train`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: must be a safetensors file, not something damaged ({error}); train it again") from error
    architecture, num_classes = metadata.get("architecture"), metadata.get("num_classes", "")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"{path}: architecture must be one of {', '.join(ARCHITECTURES)}, not {architecture!r}")
    if not num_classes.isdecimal() or not 2 <= int(num_classes) <= 100_000:
        raise CheckpointError(f"{path}: num_classes must be a number from 2 to 100000, not {num_classes!r}")
    model = ARCHITECTURES[architecture](num_classes=int(num_classes))
    load_weights(path, model)
    return model.eval(), metadata
