"""Class-aware channel pruning: a smaller dense network, which the hybrid pattern is compared with.

A channel is worth how much the loss on the user's classes would change without it, to first order: the sum of w x dL/dw over all weights
that read it, which is the sum of x x dL/dx over its activations. Behind a batch norm this stands for the channel where the filter's own
weights do not, since the norm undoes their size. Source: P. Molchanov et al., "Importance Estimation for Neural Network Pruning", arXiv
1906.10771, where it is called a gate behind the batch norm; class-aware use as in OCAP, on-device class-aware pruning.

Channels go in bundles, since cycles of the machine follow words of M channels and tiles of the array's rows.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crisp.arch import Config
from crisp.data import Images
from crisp.models.prunable import Verdict

from .channel_groups import ChannelGroup, cut_channels, find_groups, is_depthwise
from .channel_queue import ChannelQueue, cost
from .cycles import CycleModel
from .errors import PruneError, UnreachableError
from .layers import examine
from .options import Price

__all__ = ["ChannelGoal", "ChannelOptions", "SmallerModel", "measure_channels", "prunable_weights", "remove_channels"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelOptions:
    """Settings of channel pruning.

    Parameters
    ----------
    multiples : tuple of int
        Channels of a layer that stay are a multiple of one of these, the same in all layers: of that which loses least importance on the
        way to the goal. A word of the machine has M channels, a row tile as many as the array has rows.
    uniform : bool
        Whether all layers keep the same share of their channels; else they compete.
    price : Price
        What they compete by the importance for: a channel, as in the paper, a weight, or a multiplication.
    floor : float
        Share of every layer's channels that stays in any case, 0 to 1; at least one bundle always does.
    keep : tuple of str
        Names of layers that keep all their outputs.
    """

    multiples: tuple[int, ...] = (4, 16)
    uniform: bool = False
    price: Price = Price.NONE
    floor: float = 0.1
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.multiples or min(self.multiples) < 1:
            raise PruneError(f"multiples must be one or more numbers of at least 1, not {self.multiples}")
        if not 0 <= self.floor <= 1:
            raise PruneError(f"floor must be from 0 to 1, not {self.floor}")
        if self.price is Price.CYCLES:
            raise PruneError("price of channels must be none, weights or macs, not cycles: those of one channel depend on all others")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelGoal:
    """How small the network must become. With both, both hold.

    Parameters
    ----------
    weights : int, optional
        Weights of the prunable layers (`prunable_weights`) that stay, at most. They are counted, not a share, so that several calls can
        go towards a share of the network that was there first.
    cycles : int, optional
        Predicted cycles of the smaller network, at most.
    """

    weights: int | None = None
    cycles: int | None = None

    def __post_init__(self) -> None:
        if self.weights is None and self.cycles is None:
            raise PruneError("a goal must say how many weights or cycles there may be, not neither")
        for name in ("weights", "cycles"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PruneError(f"{name} must be at least 1, not {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallerModel:
    """A network with fewer channels.

    Parameters
    ----------
    model : Module
        Network with the same module names, in evaluation mode; its parameters are new ones.
    kept : dict
        By layer that puts out channels which may go: int64, those of the network before that stayed.
    weights : int
        Weights of its prunable layers.
    cycles : int, optional
        Its predicted cycles, where they were asked for.
    kept_share : float
        Share of the importance of all channels that the kept ones have.
    multiple : int
        Of ``multiples``, the one that was taken.
    """

    model: nn.Module
    kept: dict[str, np.ndarray]
    weights: int
    cycles: int | None
    kept_share: float
    multiple: int


def measure_channels(model: nn.Module, batches: Iterable[Images]) -> dict[str, np.ndarray]:
    """Measure what the channels that layers read contribute to the loss, to first order.

    Parameters
    ----------
    model : Module
        Network, left in evaluation mode. Batch norm works with its statistics.
    batches : iterable of Images
        Images and labels of the user's classes.

    Returns
    -------
    dict
        By convolution, but for depthwise ones, and linear layer: float64 [batches, input channels], the sum over the weights that read a
        channel of w x dL/dw. A linear layer's channels are its features.

    Raises
    ------
    PruneError
        When there is no batch.
    """
    layers = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear) and not is_depthwise(module)
    }
    weights = [layer.weight for layer in layers.values()]
    device = next(model.parameters()).device
    found: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    model.eval()
    for batch in batches:
        images, labels = torch.from_numpy(batch.inputs()).to(device), torch.from_numpy(batch.labels).to(device)
        gradients = torch.autograd.grad(functional.cross_entropy(model(images), labels), weights, allow_unused=True)
        for (name, layer), gradient in zip(layers.items(), gradients, strict=True):
            product = torch.zeros_like(layer.weight) if gradient is None else (layer.weight * gradient).detach()
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            channels = product.flatten(2).sum(2) if product.ndim > 2 else product
            channels = channels.reshape(groups, -1, channels.shape[1]).sum(1).reshape(-1)
            found[name].append(channels.double().cpu().numpy())
    if not any(found.values()):
        raise PruneError("the importance of channels must be measured on at least one batch, not none")
    return {name: np.stack(values) for name, values in found.items()}


def prunable_weights(model: nn.Module, image: np.ndarray) -> int:
    """Return the weights of the layers that pruning takes: all but the first, the last, and depthwise ones."""
    return sum(layer.weights for layer in examine(model, torch.from_numpy(image)).layers if layer.verdict is Verdict.PRUNED)


def remove_channels(
    model: nn.Module,
    image: np.ndarray,
    contributions: Mapping[str, np.ndarray],
    goal: ChannelGoal,
    config: Config,
    options: ChannelOptions | None = None,
) -> SmallerModel:
    """Remove the channels that are worth least, until the goal is reached. Called again with training between, it goes on from there.

    Parameters
    ----------
    model : Module
        Network, on the CPU; it is left as it is.
    image : ndarray
        float32 [1, C, H, W]: any image of the size that the network is for.
    contributions : mapping
        What `measure_channels` gives.
    goal : ChannelGoal
        How small it must become.
    config : Config
        The machine, whose cycles are predicted where the goal speaks of them.
    options : ChannelOptions, optional
        Settings.

    Raises
    ------
    PruneError
        When the goal cannot be reached, a layer has no contributions, or a name is none of a layer.
    QuantizeError, CompileError
        When the goal speaks of cycles and the machine cannot compute the network.
    """
    options = options or ChannelOptions()
    sample = torch.from_numpy(image)
    groups = find_groups(model, sample, options.keep)
    if not groups:
        raise PruneError("the network must have channels that may go, but all are its outputs or kept")
    facts = {layer.name: layer for layer in examine(model, sample).layers}
    worth = {group.root: importance(group, contributions) for group in groups}
    price = {group.root: 1.0 if options.uniform else cost(group, facts, options.price) for group in groups}

    def smaller(removed: Mapping[str, np.ndarray]) -> nn.Module:
        return cut_channels(model, sample, removed)

    def cycles(removed: Mapping[str, np.ndarray]) -> int:
        return CycleModel(smaller(removed), image, config).dense

    choices: list[tuple[ChannelQueue, int]] = []
    reasons: dict[str, None] = {}
    for multiple in options.multiples:
        queue = ChannelQueue(groups, facts, worth, price, multiple, options.floor, is_uniform=options.uniform)
        try:
            choices.append((queue, queue.search(goal.weights, goal.cycles, cycles)))
        except PruneError as error:
            reasons[str(error)] = None
    if not choices:
        raise UnreachableError("; ".join(reasons))
    queue, taken = max(choices, key=lambda choice: choice[0].kept_share(choice[1]))  # the first of equal ones
    removed = queue.removed(taken)
    result = smaller(removed)
    return SmallerModel(
        model=result,
        kept={maker.layer: maker.index[~np.isin(maker.channel, removed[group.root])] for group in groups for maker in group.makers},
        weights=prunable_weights(result, image),
        cycles=None if goal.cycles is None else CycleModel(result, image, config).dense,
        kept_share=queue.kept_share(taken),
        multiple=queue.multiple,
    )


def importance(group: ChannelGroup, contributions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what each channel of a group is worth, float64 [channels]: |what all its readers contribute|, in the mean of all batches."""
    total = np.zeros((1, group.size))
    for reader in group.readers:
        known = contributions.get(reader.layer)
        if known is None or known.ndim != 2 or known.shape[1] <= reader.index.max():
            shape = None if known is None else known.shape
            raise PruneError(f"{reader.layer}: contributions must be [batches, inputs] of this network, not {shape}; measure them again")
        part = np.zeros((group.size, len(known)))
        np.add.at(part, reader.channel, known[:, reader.index].T)
        total = total + part.T
    return np.abs(total).mean(axis=0)
