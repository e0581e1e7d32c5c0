"""How fast pruning is, and where its time goes."""

import os
import platform
import time
import tracemalloc
from typing import Any

import numpy as np
import torch

from crisp.models import build
from crisp.prune import Goal, Layer, PruneOptions
from crisp.prune.layers import prunable_layers, weight_matrix
from crisp.prune.masks import choose_masks

__all__ = ["measure_masks"]

#: What is chosen for: CRISP's pattern, and an N for each block.
PATTERNS = {"2:4": {"n": 2, "per_block": False}, "an N for each block": {"n": 4, "per_block": True}}


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
        A record a pattern: weights, seconds of processor time on one core, and peak memory beyond weights and scores as a share of the
        weights' bytes, and with the scores.
    """
    model = build(architecture, seed=seed)
    scores = {name: np.abs(weight_matrix(layer.get_parameter("weight"), 4)) for name, layer in prunable_layers(model).items()}
    layers = {name: Layer(np.ones(score.shape, bool)) for name, score in scores.items()}
    weights, size = sum(score.size for score in scores.values()), sum(score.nbytes for score in scores.values())
    records = []
    for pattern, changes in PATTERNS.items():
        options = PruneOptions.from_dict({**changes, "floor": 0.0})
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
                "weights": weights,
                "layers": len(scores),
                "seconds": round(min(seconds), 3),
                "peak_over_weights": round((peak + size) / size + 1, 2),  # weights, scores, and what the choice itself takes
            }
        )
    return records


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version(), "torch": str(torch.__version__)}
