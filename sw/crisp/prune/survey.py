"""What is known before the first choice of masks: of every layer, and where each iteration has to arrive, on which machine."""

import functools
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from crisp.arch import Config

from .errors import PruneError
from .layers import machine_shapes, output_pixels, weight_matrix
from .options import PruneOptions
from .schedule import plan_goals
from .selection import Goal, Layer
from .ste import dense_weight

__all__ = ["magnitudes", "survey"]


def survey(
    model: nn.Module, layers: Mapping[str, nn.Module], image: torch.Tensor, options: PruneOptions
) -> tuple[dict[str, Layer], list[Goal]]:
    """Return what selectors are told of each layer, and the goal of each iteration.

    The machine is asked only where cycles count, since its model takes seconds to make.

    Parameters
    ----------
    model : Module
        Network, on the CPU; it is left as it is.
    layers : mapping
        Its layers that are pruned, by name.
    image : Tensor
        float32 [1, C, H, W].
    options : PruneOptions
        Settings.

    Raises
    ------
    ConfigError
        When there is no such machine.
    PruneError
        When a layer is not used, or cycles count and the machine has another M.
    QuantizeError, CompileError
        When cycles count and the machine cannot compute the network.
    """
    pixels = output_pixels(model, layers, image)
    shapes = machine_shapes(model, layers, image)
    exists = {name: weight_matrix(torch.ones_like(dense_weight(layer)), options.group, shapes[name]) > 0 for name, layer in layers.items()}
    whole = density_of_nm(exists.values(), options)
    if not options.counts_cycles:
        return {name: Layer(exists[name], pixels[name], shape=shapes[name]) for name in layers}, plan_goals(options, whole=whole)
    from .cycles import CycleModel  # brings quantizer and compiler along

    config = Config.load(options.config)
    if config.group_size != options.group:
        raise PruneError(f"group must be that of the machine whose cycles count, {config.group_size}, not {options.group}; choose another")
    machine = CycleModel(model, image.numpy(), config, options.block)
    facts = {name: Layer(exists[name], pixels[name], functools.partial(machine.layer_cycles, name), shapes[name]) for name in layers}
    if options.cycles is None:  # the dense network need not fit the machine
        return facts, plan_goals(options, whole=whole)
    return facts, plan_goals(options, machine.dense, machine.predict, whole)


def density_of_nm(exists: Iterable[np.ndarray], options: PruneOptions) -> float:
    """Return the share of the weights that N:M leaves by itself: more than N / M where groups are padded."""
    sizes = [layer.reshape(-1, options.group).sum(axis=1) for layer in exists]
    return sum(int(np.minimum(size, options.n).sum()) for size in sizes) / sum(int(size.sum()) for size in sizes)


def magnitudes(layers: Mapping[str, nn.Module], facts: Mapping[str, Layer], group: int) -> dict[str, np.ndarray]:
    """Return by layer the magnitude of every weight, [O, K] in the contract's order: what can be chosen by before anything is measured.

    Raises
    ------
    PruneError
        When a weight is not finite.
    """
    found = {name: np.abs(weight_matrix(dense_weight(layer), group, facts[name].shape)) for name, layer in layers.items()}
    for name, magnitude in found.items():
        if not np.isfinite(magnitude).all():
            raise PruneError(f"{name}: weights must be finite, but {int((~np.isfinite(magnitude)).sum())} are not; train the network again")
    return found
