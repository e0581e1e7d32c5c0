"""Pruned networks on disk: a checkpoint with the patterns in it, checked against each other when it is read."""

import copy
import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crisp.arch import Pattern, check
from crisp.models import ModelSpec, find_head, select_classes
from crisp.models.checkpoint import CheckpointError, build_model, fill_model, read_tensors, save_checkpoint

from .errors import PruneError
from .layers import weight_matrix
from .options import PruneOptions
from .pruned import Iteration, PrunedModel

__all__ = ["load_pruned", "save_pruned"]

#: Before the name of a layer: its pattern's N of each block, uint8 [block rows, block columns].
PREFIX = "pattern:"


def save_pruned(path: Path, pruned: PrunedModel, spec: ModelSpec | None = None, source: Mapping[str, Any] | None = None) -> None:
    """Write a pruned network, by way of a temporary file.

    Parameters
    ----------
    path : Path
        File.
    pruned : PrunedModel
        Network.
    spec : ModelSpec, optional
        What network it is, but for the number of its outputs; none where it is a user's own, which `load_pruned` is then given.
    source : mapping, optional
        Where it came from, as JSON has it: command, seed, commit; see `crisp.report.provenance`.
    """
    outputs = find_head(pruned.model)[1].out_features
    metadata = {
        **({} if spec is None else dataclasses.replace(spec, num_classes=outputs).metadata()),
        **{name: str(value) for name, value in (source or {}).items()},
        "crisp": importlib.metadata.version("crisp"),
        "torch": str(torch.__version__),
        "data": pruned.data,
        "source": pruned.source,
        "num_outputs": str(outputs),
        "class_names": json.dumps(pruned.class_names),
        "classes": json.dumps(pruned.classes),
        "shapes": json.dumps(pruned.shapes),
        "options": json.dumps(pruned.options.to_dict()),
        "dense_validation_accuracy": repr(pruned.dense_validation_accuracy),
        "history": json.dumps([dataclasses.asdict(iteration) for iteration in pruned.history]),
    }
    extra = {PREFIX + name: torch.from_numpy(pattern.n.copy()) for name, pattern in pruned.patterns.items()}
    save_checkpoint(path, pruned.model, metadata, extra)


def load_pruned(path: Path, model: nn.Module | None = None) -> PrunedModel:
    """Read what `save_pruned` wrote.

    Parameters
    ----------
    path : Path
        File.
    model : Module, optional
        Network to fill, where it is a user's own; with a reduced head it is cut down to as many outputs. It is left as it is.

    Raises
    ------
    CheckpointError
        When the file is absent, damaged, or holds no pruned network.
    PatternError
        When weights do not obey their patterns.
    """
    tensors, metadata = read_tensors(path)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    model = build_model(path, metadata) if model is None else with_outputs(model, metadata)
    fill_model(path, model, {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)})
    try:
        options = PruneOptions.from_dict(json.loads(metadata["options"]))
        history = tuple(Iteration(**iteration) for iteration in json.loads(metadata["history"]))
        classes = tuple(int(label) for label in json.loads(metadata["classes"]))
        shapes = {name: tuple(shape) for name, shape in json.loads(metadata.get("shapes", "{}")).items()}
        names = tuple(str(name) for name in json.loads(metadata.get("class_names", "[]")))
        dense_accuracy = float(metadata["dense_validation_accuracy"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: must say how it was pruned, but lacks {error}; prune again") from error
    except PruneError as error:
        raise CheckpointError(f"{path}: must have settings that this version knows, but {error}; prune again") from error
    patterns = {}
    for name, n in found.items():
        try:
            matrix = weight_matrix(model.get_submodule(name).get_parameter("weight"), options.group, shapes.get(name))
        except AttributeError as error:
            raise CheckpointError(f"{path}: a pattern must belong to a layer of the network, not to {name!r}; prune again") from error
        patterns[name] = Pattern((matrix.shape[0], matrix.shape[1]), options.block, options.group, n.numpy())
        check(matrix, patterns[name], layer=name)
    return PrunedModel(
        model=model.eval(),
        patterns=patterns,
        shapes=shapes,
        classes=classes,
        class_names=names,
        data=metadata.get("data", ""),
        source=metadata.get("source", ""),
        options=options,
        dense_validation_accuracy=dense_accuracy,
        history=history,
    )


def with_outputs(model: nn.Module, metadata: Mapping[str, str]) -> nn.Module:
    """Return a copy of a user's network with as many outputs as the file's has."""
    outputs = int(metadata.get("num_outputs", find_head(model)[1].out_features))
    return copy.deepcopy(model) if outputs == find_head(model)[1].out_features else select_classes(model, range(outputs))
