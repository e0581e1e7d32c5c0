"""How fast pruning is, and where its time goes: the choice of a large network's masks, and the steps of training."""

import collections
import os
import platform
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.data import Dataset, Split
from crisp.models import build, channels_last
from crisp.prune import Goal, Layer, PruneOptions, prune
from crisp.prune.layers import prunable_layers, weight_matrix
from crisp.prune.masks import choose_masks

__all__ = ["measure_masks", "measure_pruning", "measure_training"]

#: Patterns whose masks are chosen: CRISP's, and an N for each block.
PATTERNS: dict[str, dict[str, Any]] = {"2:4": {"n": 2, "per_block": False}, "an N for each block": {"n": 4, "per_block": True}}

#: Networks that are trained: name and width, for images of 28 pixels.
NETWORKS = (("resnet20", 1.0), ("vgg16-bn", 0.25), ("mobilenetv2", 0.5))
CLASSES, SIZE = 3, 28


def measure_pruning(*, seed: int = 1, images: int = 2048) -> dict[str, Any]:
    """Measure all of it; see `measure_masks` and `measure_training`."""
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    training = [measure_training(name, width, seed=seed, images=images) for name, width in NETWORKS]
    return {"name": "pruning", "machine": machine, "masks": measure_masks(seed=seed), "training": training}


def measure_masks(architecture: str = "resnet50", *, seed: int = 1, repeats: int = 3) -> list[dict[str, Any]]:
    """Measure the choice of all masks of a network, from scores to masks, at 90% sparsity.

    Parameters
    ----------
    architecture : str
        One of `crisp.models.ARCHITECTURES`, at its full size.
    seed : int
        Of the weights, whose magnitudes are the scores: time does not depend on them.
    repeats : int
        Runs of each; the shortest counts.

    Returns
    -------
    list of dict
        A record a pattern: weights, seconds of processor time on one core, and peak memory, weights and scores included, as a multiple of
        the weights' bytes.
    """
    model = build(architecture, seed=seed)
    scores = {name: np.abs(weight_matrix(layer.get_parameter("weight"), 4)) for name, layer in prunable_layers(model).items()}
    layers = {name: Layer(np.ones(score.shape, bool)) for name, score in scores.items()}
    size = sum(score.nbytes for score in scores.values())
    records = []
    for pattern, changes in PATTERNS.items():
        options = PruneOptions.from_dict(changes)
        seconds = []
        for _ in range(repeats):
            started = time.process_time()
            choose_masks(scores, layers, Goal(0.9), options)
            seconds.append(time.process_time() - started)
        tracemalloc.start()
        choose_masks(scores, layers, Goal(0.9), options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        records.append(
            {
                "network": architecture,
                "pattern": pattern,
                "weights": sum(score.size for score in scores.values()),
                "seconds": round(min(seconds), 3),
                "memory_over_weights": round(2 + peak / size, 2),
            }
        )
    return records


def measure_training(architecture: str, width: float, *, seed: int = 1, images: int = 2048) -> dict[str, Any]:
    """Measure a short run of pruning on drawn images, one thread, beside a bare loop of forward and backward passes.

    Parameters
    ----------
    architecture : str
        One of `crisp.models.ARCHITECTURES`.
    width : float
        Factor of its channels.
    seed : int
        Of everything drawn.
    images : int
        Images that each of two iterations trains on.

    Returns
    -------
    dict
        Images a second of the bare loop and of pruning's training, seconds of an iteration's saliency and choice of masks, and the share
        that each part has of a training step.
    """
    random = np.random.default_rng(seed)
    split = Split(random.integers(0, 256, (images, SIZE, SIZE), np.uint8), np.arange(images) % CLASSES)
    data = Dataset("drawn", "drawn", tuple("abc"), split, split.take(slice(64)), validation=split.take(slice(64)))
    model = build(architecture, CLASSES, SIZE, seed, in_channels=1, width=width)
    options = PruneOptions(iterations=2, iteration_images=images, final_images=images, seed=seed)
    history = prune(model, data, range(CLASSES), options).history
    trained = sum(iteration.images for iteration in history) / sum(iteration.training_seconds for iteration in history)
    parts = dict(time_parts(channels_last(model), split, options, random))
    bare = parts["forward"] + parts["backward"]
    batches = images // options.batch
    return {
        "network": architecture,
        "width": width,
        "batch": options.batch,
        "bare_images_per_second": round(batches * options.batch / bare),
        "images_per_second": round(trained),
        "saliency_seconds": round(float(np.mean([iteration.saliency_seconds for iteration in history])), 3),
        "selection_seconds": round(float(np.mean([iteration.selection_seconds for iteration in history])), 3),
        "shares": {part: round(spent / sum(parts.values()), 3) for part, spent in parts.items()},
    }


def time_parts(model: nn.Module, split: Split, options: PruneOptions, random: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Yield the seconds that each part of a pass over the images takes."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True, fused=True)
    spent: dict[str, float] = collections.defaultdict(float)
    for batch in split.batches(options.batch, random):
        model.eval()
        marks = [time.monotonic()]
        inputs = torch.from_numpy(batch.inputs(random)).contiguous(memory_format=torch.channels_last)
        marks.append(time.monotonic())
        with torch.no_grad():
            model(inputs)
        marks.append(time.monotonic())
        model.train()
        loss = functional.cross_entropy(model(inputs), torch.from_numpy(batch.labels))
        marks.append(time.monotonic())
        loss.backward()
        marks.append(time.monotonic())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        marks.append(time.monotonic())
        for part, begin, end in zip(("data", "teacher", "forward", "backward", "optimizer"), marks, marks[1:], strict=False):
            spent[part] += end - begin
    yield from spent.items()
