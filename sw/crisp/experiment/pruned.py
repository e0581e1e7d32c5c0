"""What a method makes of a network: masks and their patterns, or fewer channels; and what is left of it."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crisp.arch import Config, Pattern
from crisp.data import Dataset, Images
from crisp.progress import Report
from crisp.prune import Goal, Layer, Price, PrunedModel, PruneOptions, UnreachableError, prune
from crisp.prune.channels import prunable_weights
from crisp.prune.cycles import CycleModel
from crisp.prune.layers import prunable_layers
from crisp.prune.survey import magnitudes, survey

from .channel_method import prune_channels, try_channels
from .methods import Method
from .view import View

__all__ = ["Pruned", "layer_matrices", "prune_by", "reason_against"]


@dataclasses.dataclass(frozen=True)
class Pruned:
    """A network that a method has pruned.

    Parameters
    ----------
    model : Module
        Network.
    patterns : dict
        Patterns of the layers that have lost anything by a mask.
    figures : dict
        What records say of it: pattern, sparsity, cycles, kept_share, layers.
    seconds : float
        Time that pruning took, those of processes that were interrupted included.
    """

    model: nn.Module
    patterns: dict[str, Pattern]
    figures: dict[str, Any]
    seconds: float


def prune_by(
    method: Method,
    base: nn.Module,
    dataset: Dataset,
    labels: Sequence[int],
    options: PruneOptions,
    machine: CycleModel,
    progress: Report,
    state: Path,
    finish: Callable[[Pruned], None],
) -> None:
    """Prune a network by a method.

    Parameters
    ----------
    method : Method
        Which.
    base : Module
        Network whose outputs are the data set's classes; it is left as it is.
    dataset : Dataset
        Images.
    labels : sequence of int
        The user's classes.
    options : PruneOptions
        Settings, the goal among them.
    machine : CycleModel
        Of the network cut down to the classes.
    progress : callable
        Called after every step.
    state : Path
        File by which a run that is interrupted goes on, where the method allows it.
    finish : callable
        Called with the network, before the state is deleted: should it fail, or be interrupted, nothing is trained again.
    """
    if method.takes_channels:
        started = time.monotonic()
        model = prune_channels(base, dataset, labels, options, machine.dense, progress)
        seconds = time.monotonic() - started
        finish(Pruned(model, {}, channel_figures(model, View.of(base, dataset, labels, options.head), method, options), seconds))
        return

    def write(pruned: PrunedModel) -> None:
        thinned = {name: pattern for name, pattern in pruned.patterns.items() if (pattern.n < pattern.group).any()}
        figures = {
            "pattern": method.pattern or pattern_text(list(pruned.patterns.values())),
            "sparsity": pruned.sparsity,
            "cycles": machine.predict(thinned),
            "kept_share": pruned.history[-1].kept_share,
            "layers": [layer_record(name, pattern) for name, pattern in pruned.patterns.items()],
        }
        finish(Pruned(pruned.model, thinned, figures, pruned.seconds))

    file = None if method.has_memory else state
    prune(base, dataset, labels, options, progress, selector=method.make_selector(), state=file, write=write)


def channel_figures(model: nn.Module, view: View, method: Method, options: PruneOptions) -> dict[str, Any]:
    """Return what a network with fewer channels has left of the dense one."""
    image, dense = view.training.take(slice(1)).inputs(), view.dense
    layers = prunable_layers(dense, options.keep_dense, torch.from_numpy(image))
    sizes = {name: (model.get_submodule(name).get_parameter("weight"), layer.get_parameter("weight")) for name, layer in layers.items()}
    return {
        "pattern": method.pattern,
        "sparsity": 1 - prunable_weights(model, image) / prunable_weights(dense, image),
        "cycles": CycleModel(model, image, Config.load(options.config)).dense,
        "layers": [
            {"name": name, "blocks": None, "kept_blocks": None, "density": round(small.numel() / whole.numel(), 5)}
            for name, (small, whole) in sizes.items()
        ],
    }


def layer_matrices(model: nn.Module, image: np.ndarray, options: PruneOptions) -> dict[str, tuple[np.ndarray, Layer]]:
    """Return the magnitudes of the weights of every layer that is pruned, [O, K], and what else is known of it."""
    inputs = torch.from_numpy(image)
    layers = prunable_layers(model, options.keep_dense, inputs)
    facts, _ = survey(model, layers, inputs, dataclasses.replace(options, cycles=None, price=Price.NONE))
    return {name: (matrix, facts[name]) for name, matrix in magnitudes(layers, facts, options.group).items()}


def reason_against(method: Method, dense: nn.Module, training: Images, options: PruneOptions, machine: CycleModel) -> str:
    """Return why a method cannot reach its goal, tried on the network before pruning, by magnitude; empty where it can."""
    try:
        if method.takes_channels:
            try_channels(dense, training, options, machine.dense)
        else:
            try_selector(method, dense, training.take(slice(1)).inputs(), options, machine)
    except UnreachableError as error:
        return str(error)
    return ""


def try_selector(method: Method, dense: nn.Module, image: np.ndarray, options: PruneOptions, machine: CycleModel) -> None:
    """Choose masks by magnitude for the last goal."""
    matrices = layer_matrices(dense, image, options)
    goal = Goal(
        sparsity=options.sparsity,
        cycles=None if options.cycles is None else int(options.cycles * machine.dense),
        measure=machine.predict,
        dense_cycles=machine.dense,
        n=options.n,
    )
    scores = {name: score for name, (score, _) in matrices.items()}
    layers = {name: layer for name, (_, layer) in matrices.items()}
    method.make_selector()(scores, layers, goal, options, np.random.default_rng(options.seed))


def layer_record(name: str, pattern: Pattern) -> dict[str, Any]:
    """Return what a layer has left: blocks, and the share of its weights that the pattern leaves room for."""
    return {"name": name, "blocks": pattern.n.size, "kept_blocks": int(pattern.kept.sum()), "density": round(pattern.density, 5)}


def pattern_text(patterns: Sequence[Pattern]) -> str:
    """Return N:M of patterns in a word; the least and the largest N of blocks that stay where they differ."""
    found = sorted({int(n) for pattern in patterns for n in np.unique(pattern.n) if n})
    ns = f"{found[0]}" if len(found) == 1 else f"{found[0]}-{found[-1]}"
    return f"{ns}:{patterns[0].group}"
