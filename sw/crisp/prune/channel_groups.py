"""Channels that can only go together: what a layer puts out, all that carries it on, and all that reads it.

What two layers put out and a sum adds must have the same channels; a batch norm or a depthwise convolution has those of its input; a linear
layer behind a flattened image reads as many features of a channel as that has pixels. Torch-Pruning finds this in the graph that autograd
records, and cuts. Source: G. Fang et al., "DepGraph: Towards Any Structural Pruning", arXiv 2301.12900.
"""

import copy
import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
import torch_pruning
from torch import nn

from crisp.models.prunable import Verdict

from .errors import PruneError
from .layers import examine

__all__ = ["ChannelGroup", "Ends", "cut_channels", "find_groups"]


@dataclasses.dataclass(frozen=True, eq=False)
class Ends:
    """Which entries of an axis of a layer's weight belong to which channel of a group.

    Parameters
    ----------
    layer : str
        Name of a convolution or linear layer.
    index : ndarray
        int64: entries of the axis.
    channel : ndarray
        int64 of the same length: channel of the group that each belongs to.
    """

    layer: str
    index: np.ndarray
    channel: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that go from all of these layers or from none.

    Parameters
    ----------
    root : str
        Layer in whose output channels they are counted.
    size : int
        Their number.
    makers : tuple of Ends
        Layers that put them out: the first axis of their weights. Depthwise convolutions too.
    readers : tuple of Ends
        Layers that sum over them: the second axis.
    """

    root: str
    size: int
    makers: tuple[Ends, ...]
    readers: tuple[Ends, ...]


def find_groups(model: nn.Module, image: torch.Tensor, keep: tuple[str, ...] = ()) -> list[ChannelGroup]:
    """Find the groups of channels of a network that may go, in the order of its layers.

    Not among them are the network's outputs, channels of convolutions in groups that are not depthwise, and what the layers of ``keep``
    put out.

    Parameters
    ----------
    model : Module
        Network; it is left as it is.
    image : Tensor
        float32 [1, C, H, W].
    keep : tuple of str
        Names of layers.

    Raises
    ------
    PruneError
        When the network does not take the image, or ``keep`` names no layer of it.
    """
    report = examine(model, image)
    verdicts = {layer.name: layer.verdict for layer in report.layers}
    for name in keep:
        if name not in verdicts:
            raise PruneError(f"keep must name layers of the network, which are {', '.join(verdicts)}, not {name!r}")
    whole = {*keep, *(name for name, verdict in verdicts.items() if verdict is Verdict.LAST)}
    whole |= {name for name, verdict in verdicts.items() if verdict is Verdict.GROUPED and not is_depthwise(model.get_submodule(name))}
    copied, graph = trace_dependencies(model, image)
    names = {module: name for name, module in copied.named_modules()}
    groups = []
    for found in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]):
        group = read_group(found, graph, names)
        touched = {end.layer for end in (*group.makers, *group.readers)}
        grouped = {name for name in touched if verdicts[name] is Verdict.GROUPED} & whole
        is_output = any(isinstance(item.dep.target.module, torch_pruning.ops._OutputOp) for item in found.items)
        if group.readers and not is_output and not grouped and not whole & {maker.layer for maker in group.makers}:
            groups.append(group)
    order = list(verdicts)
    return sorted(groups, key=lambda group: order.index(group.root))


def trace_dependencies(model: nn.Module, image: torch.Tensor) -> tuple[nn.Module, torch_pruning.DependencyGraph]:
    """Return a copy of a network, and what depends on what in it."""
    copied = copy.deepcopy(model).eval()
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    with torch.enable_grad():
        # In a tuple: a tensor by itself would first be tried as if its images were arguments.
        return copied, torch_pruning.DependencyGraph().build_dependency(copied, (image,), verbose=False)


def read_group(found: torch_pruning.Group, graph: torch_pruning.DependencyGraph, names: Mapping[nn.Module, str]) -> ChannelGroup:
    """Return what we need of a group."""
    makers: list[Ends] = []
    readers: list[Ends] = []
    for item in found.items:
        module = item.dep.target.module
        if isinstance(module, nn.Conv2d | nn.Linear):
            ends = Ends(names[module], np.array(item.idxs), np.array(item.root_idxs))
            is_maker = is_depthwise(module) or graph.is_out_channel_pruning_fn(item.dep.handler)
            known = makers if is_maker else readers
            if all(ends.layer != other.layer for other in known):  # a depthwise convolution is found from both sides
                known.append(ends)
    return ChannelGroup(names[found[0].dep.target.module], len(found[0].idxs), tuple(makers), tuple(readers))


def is_depthwise(module: nn.Module) -> bool:
    """Tell whether a layer treats every channel by itself."""
    return isinstance(module, nn.Conv2d) and module.groups > 1 and module.groups == module.in_channels == module.out_channels


def cut_channels(model: nn.Module, image: torch.Tensor, removed: Mapping[str, np.ndarray]) -> nn.Module:
    """Return a smaller network, with the same module names.

    Parameters
    ----------
    model : Module
        Network; it is left as it is.
    image : Tensor
        float32 [1, C, H, W].
    removed : mapping
        By the root of a group: the channels that go.

    Returns
    -------
    Module
        In evaluation mode. Its parameters are new ones, so that an optimizer must be made for them.

    Raises
    ------
    PruneError
        When the network does not run without them.
    """
    copied, graph = trace_dependencies(model, image)
    for root, channels in removed.items():
        if len(channels):
            layer = copied.get_submodule(root)
            graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, channels.tolist()).prune()
    for name, parameter in copied.named_parameters():
        parameter.requires_grad_(model.get_parameter(name).requires_grad)
        parameter.grad = None
    try:
        with torch.no_grad():
            copied(image)
    except RuntimeError as error:
        raise PruneError(f"the network must run with fewer channels, but does not: {error}; name layers to keep") from error
    return copied
