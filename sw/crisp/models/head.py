"""Cutting a classifier down to the classes that its user meets."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["select_classes"]


def select_classes(model: nn.Module, classes: Sequence[int]) -> nn.Module:
    """Return a copy of ``model`` whose last layer ``fc`` has only the outputs of ``classes``, in that order.

    What it answers is the original's answer among those classes: the argmax over the outputs that are left.
    """
    copied = copy.deepcopy(model)
    index = torch.tensor(list(classes))
    head = nn.Linear(copied.fc.in_features, len(classes), bias=copied.fc.bias is not None)
    with torch.no_grad():
        head.weight.copy_(copied.fc.weight[index])
        if copied.fc.bias is not None:
            head.bias.copy_(copied.fc.bias[index])
    copied.fc = head
    return copied
