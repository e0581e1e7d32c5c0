"""Cutting a classifier down to the classes that its user meets."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from crisp.arch.errors import CrispError

__all__ = ["ModelError", "select_classes"]


class ModelError(CrispError):
    """A network does not have the parts that are asked of it."""


def select_classes(model: nn.Module, classes: Sequence[int]) -> nn.Module:
    """Return a copy of ``model`` whose last linear layer has only the outputs of ``classes``, in that order.

    What it answers is the original's answer among those classes: the argmax over the outputs that are left.

    Raises
    ------
    ModelError
        When the network has no linear layer or a class is none of its outputs.
    """
    copied = copy.deepcopy(model)
    linear = {name: module for name, module in copied.named_modules() if isinstance(module, nn.Linear)}
    name, whole = next(reversed(linear.items()), ("", None))
    if whole is None or not all(0 <= label < whole.out_features for label in classes):
        raise ModelError(f"classes must be outputs of the network's last linear layer, not {list(classes)} of {whole}")
    index = torch.tensor(list(classes))
    head = nn.Linear(whole.in_features, len(classes), bias=whole.bias is not None)
    with torch.no_grad():
        head.weight.copy_(whole.weight[index])
        if whole.bias is not None:
            head.bias.copy_(whole.bias[index])
    copied.set_submodule(name, head)
    return copied
