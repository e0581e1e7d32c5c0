"""Judging a network by labelled images."""

import numpy as np
import torch
from torch import nn

from crisp.data import Split, normalize

__all__ = ["accuracy", "logits"]

BATCH = 250


@torch.no_grad()
def logits(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """Return the logits, float32 [N, classes], of uint8 images [N, H, W]; the network is left in evaluation mode."""
    model.eval()
    parts = [model(torch.from_numpy(normalize(images[start : start + BATCH]))).numpy() for start in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def accuracy(model: nn.Module, split: Split) -> float:
    """Return the share of ``split`` that the network names rightly, 0 to 1."""
    return float(np.mean(logits(model, split.images).argmax(axis=1) == split.labels))
