"""Quantization-aware fine-tuning: a few hundred steps in which the network computes as its int8 form will, behind its masks.

What is simulated is what `quantize` exports: `crisp.quantize.simulate`. The result is an ordinary float model of the same architecture, and
the ranges that it was trained with. Weights that are zero stay zero, so every pattern survives. Source: B. Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", arXiv 1712.05877, section 3.
"""

import copy
import dataclasses
import enum
import math
from collections.abc import Iterator, Mapping
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.arch import Pattern, check
from crisp.data import Images
from crisp.golden.convolution import to_matrix
from crisp.progress import Report, silent

from .affine import Affine
from .errors import QuantizeError
from .graph import INPUT, FloatProduct
from .quantize import QuantizeOptions, find_ranges
from .simulate import Simulation
from .trace import trace

__all__ = ["AwareModel", "AwareOptions", "RangeTraining", "finetune_quantized"]

WARM_UP_STEPS = 10


class RangeTraining(enum.Enum):
    """What becomes of the ranges of activations during training."""

    FIXED = "fixed"  #: they stay as calibrated
    AVERAGE = "average"  #: they follow smallest and largest values as a running average
    LEARNT = "learnt"  #: their limits are parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class AwareOptions:
    """Settings of quantization-aware fine-tuning.

    Parameters
    ----------
    steps : int
        Training steps.
    batch : int
        Images of a step.
    learning_rate : float
        Peak learning rate; it rises over the first steps and falls by a half cosine to 0.
    weight_decay : float
        L2 decay of the model's parameters.
    ranges : RangeTraining
        What becomes of the ranges of activations.
    range_rate : float
        For `RangeTraining.LEARNT`: peak relative change of a limit in a step.
    range_decay : float
        For `RangeTraining.AVERAGE`: share of the average that a step leaves, 0 to 1 without 1.
    calibration_images : int
        Training images from which the first ranges are taken.
    seed : int
        Source of order and augmentation.
    """

    steps: int = 300
    batch: int = 64
    learning_rate: float = 0.0005
    weight_decay: float = 5e-4
    ranges: RangeTraining = RangeTraining.LEARNT
    range_rate: float = 0.002
    range_decay: float = 0.98
    calibration_images: int = 512
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "calibration_images"):
            if getattr(self, name) < 1:
                raise QuantizeError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "range_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise QuantizeError(f"{name} must be above 0 and finite, not {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise QuantizeError(f"weight_decay must be finite and not negative, not {self.weight_decay}")
        if not 0 <= self.range_decay < 1:
            raise QuantizeError(f"range_decay must be at least 0 and below 1, not {self.range_decay}")

    def fit(self, images: int) -> Self:
        """Return settings for so many training images: where they are fewer than a batch, they are one, in steps for as many as before."""
        if not 0 < images < self.batch:
            return self
        return dataclasses.replace(self, batch=images, steps=-(-self.steps * self.batch // images))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AwareModel:
    """A network that has been trained for int8.

    Parameters
    ----------
    model : Module
        float32, of the same architecture, in evaluation mode.
    ranges : dict
        Scale and zero point of every tensor: what `quantize` takes as ``ranges``.
    losses : tuple of float
        Loss of every step.
    """

    model: nn.Module
    ranges: dict[str, Affine]
    losses: tuple[float, ...]


def finetune_quantized(
    model: nn.Module,
    images: Images,
    options: AwareOptions | None = None,
    *,
    quantization: QuantizeOptions | None = None,
    patterns: Mapping[str, Pattern] | None = None,
    progress: Report = silent,
) -> AwareModel:
    """Train ``model`` for a few steps as the int8 network that ``quantize(result.model, ..., quantization, ranges=result.ranges)`` gives.

    Batch norms keep their statistics, and every weight that is zero stays zero. Same seed, same bits.

    Parameters
    ----------
    model : Module
        Trained network, perhaps pruned; it is left as it is.
    images : Images
        Training images, labelled by the network's outputs.
    options : AwareOptions, optional
        Settings of training.
    quantization : QuantizeOptions, optional
        How the first ranges are found, and the scales of weights. Bias correction is for `quantize`, afterwards.
    patterns : mapping, optional
        Pattern of each pruned layer, by its name: weights are held against it, before and after.
    progress : callable
        Called after every calibration batch and every step.

    Raises
    ------
    QuantizeError
        When there are too few images for a batch, a label is none of the outputs, the model has an operation that is not
        supported, a pattern belongs to no layer, or the loss becomes infinite.
    PatternError
        When weights do not obey their patterns.
    """
    options, quantization, patterns = options or AwareOptions(), quantization or QuantizeOptions(), patterns or {}
    if len(images) < options.batch:
        raise QuantizeError(f"batch must be at most the {len(images)} training images, not {options.batch}; choose a smaller one")
    trained = copy.deepcopy(model).eval()
    order = np.random.default_rng(options.seed).permutation(len(images))
    calibration = images.take(order[: options.calibration_images]).inputs()
    graph = trace(trained, torch.from_numpy(calibration[:1]))
    layers = {node.layer: trained.get_submodule(node.layer) for node in graph.nodes if isinstance(node, FloatProduct)}
    shapes = {node.layer: tuple(node.weight.shape) for node in graph.nodes if isinstance(node, FloatProduct)}
    check_layers(layers, shapes, patterns)
    simulation = Simulation(trained, graph, find_ranges(graph, calibration, quantization, progress), quantization.weight_range)
    losses = tuple(train(simulation, layers, images, options, progress))
    trained.zero_grad(set_to_none=True)
    check_layers(layers, shapes, patterns)
    return AwareModel(model=trained, ranges=simulation.meanings(), losses=losses)


def check_layers(layers: Mapping[str, nn.Module], shapes: Mapping[str, tuple[int, ...]], patterns: Mapping[str, Pattern]) -> None:
    """Check that weights obey their patterns in the ``shapes`` that they have in the machine."""
    for name, pattern in patterns.items():
        if name not in layers:
            raise QuantizeError(f"{name}: a pattern must belong to a layer of the model, which are {', '.join(layers)}")
        weight = layers[name].get_parameter("weight").detach().numpy()
        check(to_matrix(weight.reshape(shapes[name]), pattern.group), pattern, layer=name)


def train(
    simulation: Simulation, layers: Mapping[str, nn.Module], images: Images, options: AwareOptions, progress: Report
) -> Iterator[float]:
    """Train, and yield the loss of every step."""
    weights = [layer.get_parameter("weight") for layer in layers.values()]
    masks = [weight.detach() != 0 for weight in weights]
    follows = options.ranges is RangeTraining.AVERAGE
    optimizers = make_optimizers(simulation, options)
    rates = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]

    def follow(name: str, value: torch.Tensor) -> None:
        simulation.limits(name).follow(value, options.range_decay)

    for step, batch in enumerate(draw(images, options)):
        factor = min(1.0, (step + 1) / WARM_UP_STEPS) * (1 + math.cos(math.pi * step / options.steps)) / 2
        for group, peak in rates:
            group["lr"] = peak * factor
        inputs = torch.from_numpy(batch.inputs(np.random.default_rng([options.seed, step, 0])))
        outputs = simulation(inputs, follow if follows else None).flatten(1)
        if int(batch.labels.max()) >= outputs.shape[1]:
            raise QuantizeError(f"labels must be below the network's {outputs.shape[1]} outputs, not {batch.labels.max()}")
        loss = functional.cross_entropy(outputs, torch.from_numpy(batch.labels))
        if not torch.isfinite(loss):
            raise QuantizeError(f"the loss must be finite, not {loss.item()} in step {step + 1}; choose a smaller learning_rate")
        simulation.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight.mul_(mask)
        yield float(loss.detach())
        progress("train for int8", step + 1, options.steps, f"loss {float(loss.detach()):.3f}")


def make_optimizers(simulation: Simulation, options: AwareOptions) -> list[torch.optim.Optimizer]:
    """Return what changes the model's parameters, and what changes the ranges where they learn; the input's stays as it is."""
    parameters = list(simulation.model.parameters())
    logarithms = [simulation.limits(name).logarithms for name in simulation.places if name != INPUT]
    for parameter in parameters:
        parameter.requires_grad_(True)
    simulation.limits(INPUT).logarithms.requires_grad_(False)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(parameters, lr=options.learning_rate, momentum=0.9, nesterov=True, weight_decay=options.weight_decay)
    ]
    if options.ranges is RangeTraining.LEARNT:
        optimizers.append(torch.optim.Adam(logarithms, lr=options.range_rate))
    else:
        for parameter in logarithms:
            parameter.requires_grad_(False)
    return optimizers


def draw(images: Images, options: AwareOptions) -> Iterator[Images]:
    """Yield as many batches as there are steps, each epoch in an order of its own."""
    step, epoch = 0, 0
    while True:
        for batch in images.batches(options.batch, np.random.default_rng([options.seed, epoch])):
            if step == options.steps:
                return
            yield batch
            step += 1
        epoch += 1
