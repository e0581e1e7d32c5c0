"""Pruned networks on disk: a checkpoint with the patterns in it, checked against each other when it is read."""

import contextlib
import copy
import dataclasses
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from crisp.arch import CrispError, Pattern, PatternError, check
from crisp.models import ModelSpec, find_head, select_classes
from crisp.models.checkpoint import PATTERN_PREFIX, CheckpointError, build_model, fill_model, read_tensors, save_checkpoint

from .layers import weight_matrix
from .options import PruneOptions
from .pruned import Iteration, PrunedModel

__all__ = ["load_pruned", "save_pruned"]

Kind = TypeVar("Kind")


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
        "pruned_layers": json.dumps(list(pruned.patterns)),
        "shapes": json.dumps(pruned.shapes),
        "options": json.dumps(pruned.options.to_dict()),
        "dense_validation_accuracy": repr(pruned.dense_validation_accuracy),
        "history": json.dumps([dataclasses.asdict(iteration) for iteration in pruned.history]),
    }
    extra = {PATTERN_PREFIX + name: torch.from_numpy(pattern.n.copy()) for name, pattern in pruned.patterns.items()}
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
        When the file is absent, damaged, holds no pruned network, lacks the pattern of a pruned layer, or ``model`` is another network.
    PatternError
        When weights do not obey their patterns.
    """
    tensors, metadata = read_tensors(path)
    found = {name.removeprefix(PATTERN_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PATTERN_PREFIX)}
    words = read_words(path, metadata)
    outputs, listed = words.pop("num_outputs"), words.pop("pruned_layers")
    model = build_model(path, metadata) if model is None else with_outputs(path, model, outputs)
    fill_model(path, model, {name: tensor for name, tensor in tensors.items() if not name.startswith(PATTERN_PREFIX)})
    patterns = {name: read_pattern(path, name, n, model, words["options"], words["shapes"].get(name)) for name, n in found.items()}
    check_layers(path, patterns, listed)
    return PrunedModel(model=model.eval(), patterns=patterns, data=metadata.get("data", ""), source=metadata.get("source", ""), **words)


@contextlib.contextmanager
def damage(path: Path, rule: str) -> Iterator[None]:
    """Turn whatever comes of reading something damaged into an error that names the file and the rule."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, CrispError) as error:
        raise CheckpointError(f"{path}: {rule} ({error}); prune again") from error


def read_words(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what the metadata say of the pruning, by name.

    Raises
    ------
    CheckpointError
        When something is missing, or no such thing.
    """
    words: dict[str, Any] = {}
    for name, read in WORDS.items():
        text = {**BEFORE, **metadata}.get(name)
        if text is None:
            raise CheckpointError(f"{path}: must say how it was pruned, but lacks {name!r}; prune again")
        with damage(path, f"{name} must be what this version's `crisp prune` writes there, not {text[:SHOWN]!r}"):
            words[name] = read(json.loads(text))
    return words


def read_pattern(
    path: Path, layer: str, n: torch.Tensor, model: nn.Module, options: PruneOptions, shape: tuple[int, ...] | None
) -> Pattern:
    """Return the pattern of a layer of ``model``, whose weight it fits.

    Raises
    ------
    CheckpointError
        When there is no such layer, or it has another shape.
    PatternError
        When the layer's weight does not obey it.
    """
    with damage(path, f"{layer}: the pattern must belong to a layer of the network"):
        weight = model.get_submodule(layer).get_parameter("weight")
    with damage(path, f"{layer}: the pattern must fit the layer's weight"):
        matrix = weight_matrix(weight, options.group, shape)
        pattern = Pattern((matrix.shape[0], matrix.shape[1]), options.block, options.group, n.numpy())
    try:
        check(matrix, pattern, layer=layer)
    except PatternError as error:
        raise PatternError(f"{path}: {error}; prune again") from error
    return pattern


def check_layers(path: Path, patterns: Mapping[str, Pattern], listed: tuple[str, ...] | None) -> None:
    """Check that there is a pattern of every layer that was pruned, and of no other; old files do not list them."""
    lost = sorted(set(listed or ()) - patterns.keys())
    if lost or not patterns:
        raise CheckpointError(
            f"{path}: must hold the pattern of every pruned layer, but lacks {f'that of {lost[0]}' if lost else 'any'}; prune again"
        )
    for name in patterns:
        if listed is not None and name not in listed:
            raise CheckpointError(f"{path}: must hold patterns of pruned layers alone, but has one of {name}; prune again")


def with_outputs(path: Path, model: nn.Module, outputs: int | None) -> nn.Module:
    """Return a copy of a user's network with as many outputs as the file's has.

    Raises
    ------
    CheckpointError
        When the network has fewer.
    """
    own = find_head(model)[1].out_features
    outputs = own if outputs is None else outputs
    if outputs > own:
        raise CheckpointError(
            f"{path}: the network must have the {outputs} outputs of the file's, or more, not {own}; name the one that was pruned"
        )
    return copy.deepcopy(model) if outputs == own else select_classes(model, range(outputs))


def as_kind(found: Any, kind: type[Kind]) -> Kind:
    """Return what JSON has, which must be of ``kind``."""
    if type(found) is not kind:
        raise TypeError(f"of type {type(found).__name__}, not {kind.__name__}")
    return found


def as_items(found: Any, kind: type[Kind]) -> tuple[Kind, ...]:
    """Return the items of a list of JSON, each of ``kind``."""
    return tuple(as_kind(item, kind) for item in as_kind(found, list))


def as_counts(found: Any) -> tuple[int, ...]:
    """Return the items of a list of JSON, which count something that there is."""
    counts = as_items(found, int)
    if not all(count > 0 for count in counts):
        raise ValueError("not all above 0")
    return counts


def as_number(found: Any) -> Any:
    """Return what JSON has, which must be a number."""
    return found if type(found) is int else as_kind(found, float)


#: How the metadata's JSON about the pruning is read.
WORDS: dict[str, Callable[[Any], Any]] = {
    "options": lambda found: PruneOptions.from_dict(as_kind(found, dict)),
    "history": lambda found: tuple(Iteration(**{name: as_number(value) for name, value in each.items()}) for each in as_items(found, dict)),
    "classes": lambda found: as_items(found, int),
    "class_names": lambda found: as_items(found, str),
    "shapes": lambda found: {name: as_counts(shape) for name, shape in as_kind(found, dict).items()},
    "dense_validation_accuracy": as_number,
    "num_outputs": lambda found: None if found is None else as_counts([found])[0],
    "pruned_layers": lambda found: None if found is None else as_items(found, str),
}
#: What files say that were written before there was that.
BEFORE = {"class_names": "[]", "shapes": "{}", "num_outputs": "null", "pruned_layers": "null"}
#: Characters of what is wrong in a message.
SHOWN = 40
