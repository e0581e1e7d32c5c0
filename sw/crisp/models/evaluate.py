"""Judging a network by labelled images."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from crisp.data import Images, Split

__all__ = ["accuracy", "evaluating", "logits"]

#: Images of a batch, of up to as many pixels as the second says, and of larger ones.
BATCH, SMALL_PIXELS, LARGE_BATCH = 250, 64 * 64, 32


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have ``model`` in evaluation mode while the context lasts, and each of its modules as it was afterwards."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was in training.items():
            module.training = was


@torch.no_grad()
def logits(model: nn.Module, images: np.ndarray | Images) -> np.ndarray:
    """Return the logits, float32 [N, classes], of images; the network is left in evaluation mode.

    Parameters
    ----------
    model : Module
        Network.
    images : ndarray or Images
        uint8 [N, H, W], normalised as Fashion-MNIST is, or images that know how they are normalised, of which no more than a batch is read
        at a time.
    """
    model.eval()
    data = Split(images, np.zeros(len(images), np.int64)) if isinstance(images, np.ndarray) else images
    batch = BATCH if data.shape[0] * data.shape[1] <= SMALL_PIXELS else LARGE_BATCH
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return np.concatenate([model(torch.from_numpy(part.inputs()).to(device)).float().cpu().numpy() for part in data.batches(batch)])


def accuracy(model: nn.Module, images: Images) -> float:
    """Return the share of ``images`` that the network names rightly, 0 to 1."""
    return float(np.mean(logits(model, images).argmax(axis=1) == images.labels))
