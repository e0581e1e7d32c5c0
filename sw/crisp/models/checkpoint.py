"""Networks on disk: safetensors files whose metadata say what the network is and how it came about."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from crisp.arch.errors import CrispError
from crisp.arch.files import replacing

from .head import ModelError
from .spec import ModelSpec

__all__ = ["CheckpointError", "build_model", "fill_model", "load_checkpoint", "read_tensors", "save_checkpoint"]


#: Before the name of a layer, in the file of a pruned network: its pattern's N of each block, uint8 [block rows, block columns].
PATTERN_PREFIX = "pattern:"


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
        Text by name. `ModelSpec.metadata` gives what `load_checkpoint` needs: ``architecture`` and ``num_classes``, and ``input_size``,
        ``in_channels`` and ``width`` where they are not 224, the architecture's own, and 1.
    extra : mapping, optional
        More tensors, under names that the network does not use.

    Raises
    ------
    CheckpointError
        When the file cannot be written; what was there before still is.
    """
    tensors = {**model.state_dict(), **(extra or {})}
    with replacing(path, CheckpointError, SafetensorError) as temporary:
        save_file(apart(tensors), temporary, metadata=dict(metadata))
        temporary.chmod(0o644)  # the library makes files that only their owner reads


def apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors each of which has memory of its own, as the format wants it: layers may share their weights."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone(memory_format=torch.contiguous_format) if place in seen else tensor.contiguous()
        seen.add(place)
    return found


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


def fill_model(path: Path, model: nn.Module, tensors: Mapping[str, torch.Tensor], remedy: str = "") -> None:
    """Fill ``model`` with ``tensors``, which were read from ``path``; nothing is filled when one does not fit.

    Parameters
    ----------
    path : Path
        File, for messages.
    model : Module
        Network.
    tensors : mapping
        Its parameters and buffers by name.
    remedy : str
        What an error tells the user to do.

    Raises
    ------
    CheckpointError
        When a tensor of the network is missing, or there is one too many or of another shape; when the file has a pruned network.
    """
    refuse_pruned(path, tensors)
    wanted = model.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        verb = "lacks" if name in wanted else "has the unknown"
        raise CheckpointError(f"{path}: {verb} tensor {name}; {remedy or 'it belongs to another network'}")
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: tensor {name} must have shape {list(tensor.shape)}, not {list(tensors[name].shape)}; "
                + (remedy or "it is another network's")
            )
    model.load_state_dict(dict(tensors))


def refuse_pruned(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `CheckpointError` when ``tensors``, which were read from ``path``, are a pruned network's."""
    if any(name.startswith(PATTERN_PREFIX) for name in tensors):
        raise CheckpointError(
            f"{path}: must be a network before pruning, but this one is pruned already; give the one that it was pruned from, or read "
            f"it with `crisp.prune.load_pruned`, as `crisp quantize` does"
        )


def build_model(path: Path, metadata: Mapping[str, str]) -> nn.Module:
    """Return the untrained network that the metadata of ``path`` name.

    Raises
    ------
    CheckpointError
        When they name no known architecture, no sensible number of classes, images or widths that the network cannot have, or a network
        that is larger than the file; such a one is never allocated.
    """
    try:
        spec = ModelSpec.from_metadata(metadata)
        with torch.device("meta"):
            weights = sum(parameter.numel() for parameter in spec.build().parameters())
        if weights > path.stat().st_size:
            raise ModelError(f"the network must not be larger than the file, not {weights} weights; it says something false of itself")
        return spec.build()
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, str]]:
    """Build the network that ``path`` names and fill it; return it in evaluation mode, with the metadata.

    Raises
    ------
    CheckpointError
        When the file is absent or damaged, names no known network, or its tensors do not fit that; when it has a pruned network.
    """
    tensors, metadata = read_tensors(path)
    refuse_pruned(path, tensors)
    model = build_model(path, metadata)
    fill_model(path, model, tensors)
    return model.eval(), metadata
