"""Networks on disk: safetensors files whose metadata say what the network is and how it came about."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from crisp.arch.errors import CrispError

from .head import ModelError
from .registry import ARCHITECTURES, build

__all__ = ["CheckpointError", "build_model", "fill_model", "load_checkpoint", "read_tensors", "save_checkpoint"]

#: Pixels a side of the images of a checkpoint that does not say.
DEFAULT_SIZE = "224"


class CheckpointError(CrispError):
    """A checkpoint cannot be read, or does not belong to the network it is read for."""


def save_checkpoint(path: Path, model: nn.Module, metadata: Mapping[str, str], extra: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write the parameters and buffers of ``model`` to ``path``, by way of a temporary file.

    Parameters
    ----------
    path : Path
        File to write; its folder is made.
    model : Module
        Network.
    metadata : mapping
        Text by name. ``architecture`` and ``num_classes`` are what `load_checkpoint` needs; ``input_size`` is 224 where it is not said.
    extra : mapping, optional
        More tensors, under names that the network does not use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    tensors = {**model.state_dict(), **(extra or {})}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=dict(metadata))
    temporary.chmod(0o644)  # the library makes files that only their owner reads
    os.replace(temporary, path)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the metadata of the safetensors file ``path``.

    Raises
    ------
    CheckpointError
        When the file is absent or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: must be a file, but there is none; train a network with `crisp train`")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: must be a safetensors file, not something damaged ({error}); train it again") from error


def fill_model(path: Path, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Fill ``model`` with ``tensors``, which were read from ``path``.

    Raises
    ------
    CheckpointError
        When a tensor of the network is missing, or there is one too many or of another shape.
    """
    wanted = model.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        verb = "lacks" if name in wanted else "has the unknown"
        raise CheckpointError(f"{path}: {verb} tensor {name}; it belongs to another network")
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: tensor {name} must have shape {list(tensor.shape)}, not {list(tensors[name].shape)}; it is another network's"
            )
    model.load_state_dict(dict(tensors))


def build_model(path: Path, metadata: Mapping[str, str]) -> nn.Module:
    """Return the untrained network that the metadata of ``path`` name.

    Raises
    ------
    CheckpointError
        When they name no known architecture, no sensible number of classes, or images that the network cannot take.
    """
    architecture, num_classes = metadata.get("architecture"), metadata.get("num_classes", "")
    input_size = metadata.get("input_size", DEFAULT_SIZE)
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"{path}: architecture must be one of {', '.join(ARCHITECTURES)}, not {architecture!r}")
    if not num_classes.isdecimal() or not 2 <= int(num_classes) <= 100_000:
        raise CheckpointError(f"{path}: num_classes must be a number from 2 to 100000, not {num_classes!r}")
    if not input_size.isdecimal() or not 1 <= int(input_size) <= 10_000:
        raise CheckpointError(f"{path}: input_size must be a number from 1 to 10000, not {input_size!r}")
    try:
        return build(architecture, int(num_classes), int(input_size))
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """Build the network that ``path`` names and fill it; return it in evaluation mode, with the metadata.

    Raises
    ------
    CheckpointError
        When the file is absent or damaged, names no known network, or its tensors do not fit that.
    """
    tensors, metadata = read_tensors(path)
    model = build_model(path, metadata)
    fill_model(path, model, tensors)
    return model.eval(), metadata
