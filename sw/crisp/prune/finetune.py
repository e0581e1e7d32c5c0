"""Training between and after the choices of masks."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.data import Images
from crisp.progress import Report

from .options import PruneOptions

__all__ = ["Trainer"]

WARM_UP_STEPS = 10


class Trainer:
    """Draws batches of the user's classes and trains a network on them.

    The learning rate rises over the first few steps, is constant while masks change, and falls by a half cosine after the last choice.

    Parameters
    ----------
    model : Module
        Network to train; masks may come before its weights later.
    training : Images
        Images of the user's classes, labelled 0, 1, ...
    options : PruneOptions
        Settings.
    """

    def __init__(self, model: nn.Module, training: Images, options: PruneOptions) -> None:
        self.model, self.options = model, options
        self.random = np.random.default_rng(options.seed)
        self.batches = self.draw(training)
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=options.learning_rate, momentum=0.9, nesterov=True, weight_decay=options.weight_decay
        )
        self.steps_done = 0

    def draw(self, training: Images) -> Iterator[Images]:
        """Yield shuffled batches of the images, again and again."""
        while True:
            yield from training.batches(self.options.batch, self.random)

    def take(self, images: int) -> Iterator[Images]:
        """Yield batches that hold at least ``images`` images together."""
        return itertools.islice(self.batches, math.ceil(images / self.options.batch))

    def train(self, images: int, stage: str, progress: Report, *, final: bool) -> None:
        """Train on about ``images`` images; ``final`` lets the learning rate fall to 0."""
        self.model.train()
        steps = math.ceil(images / self.options.batch)
        for step, batch in enumerate(self.take(images), 1):
            factor = min(1.0, (self.steps_done + 1) / WARM_UP_STEPS)
            if final:
                factor *= (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = self.options.learning_rate * factor
            inputs = torch.from_numpy(batch.inputs(self.random))
            loss = functional.cross_entropy(self.model(inputs), torch.from_numpy(batch.labels))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.steps_done += 1
            progress(stage, step, steps, f"loss {float(loss.detach()):.3f}")
