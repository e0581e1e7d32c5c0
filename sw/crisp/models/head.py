"""The last linear layer of a classifier: kept whole, or cut down to the classes that its user meets."""

import copy
import enum
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from crisp.arch.errors import CrispError
from crisp.data import Images

from .evaluate import evaluating
from .symbolic import computing_order

__all__ = ["Head", "ModelError", "adapt_head", "find_head", "select_classes"]


class ModelError(CrispError):
    """A network does not have the parts that are asked of it."""


class Head(enum.Enum):
    """What becomes of the outputs of classes that the user does not meet."""

    FULL = "full"  #: they stay: the network answers among all its classes, and labels are its own
    REDUCED = "reduced"  #: they go: it answers among the user's, labelled 0, 1, ... in their order

    @property
    def least_classes(self) -> int:
        """How many classes there must be: among fewer than two there is nothing to answer."""
        return 2 if self is Head.REDUCED else 1

    def select(self, images: Images, classes: Sequence[int]) -> Images:
        """Return the images of ``classes``, labelled as a network with this head answers."""
        return images.select(classes) if self is Head.REDUCED else images.keep(classes)


def find_head(model: nn.Module) -> tuple[str, nn.Linear]:
    """Return the name and the layer that puts out the logits: the linear layer that computes last.

    In a network that torch.fx cannot follow it is the one that is defined last.

    Raises
    ------
    ModelError
        When it has none.
    """
    with evaluating(model):
        order = computing_order(model, nn.Linear)
    if not order:
        raise ModelError("the network must end in a linear layer, but has none; end it in torch.nn.Linear")
    return order[-1], cast(nn.Linear, model.get_submodule(order[-1]))


def select_classes(model: nn.Module, classes: Sequence[int]) -> nn.Module:
    """Return a copy of ``model`` whose last linear layer has only the outputs of ``classes``, in that order.

    What it answers is the original's answer among those classes: the argmax over the outputs that are left.

    Raises
    ------
    ModelError
        When the network has no linear layer or a class is none of its outputs.
    """
    copied = copy.deepcopy(model)
    name, whole = find_head(copied)
    if not classes or not all(0 <= label < whole.out_features for label in classes):
        raise ModelError(f"classes must be outputs of the network's last linear layer, not {list(classes)} of {whole}")
    index = torch.tensor(list(classes))
    head = nn.Linear(whole.in_features, len(classes), bias=whole.bias is not None)
    with torch.no_grad():
        head.weight.copy_(whole.weight[index])
        if whole.bias is not None:
            head.bias.copy_(whole.bias[index])
    if not name:
        return head
    copied.set_submodule(name, head)
    return copied


def adapt_head(model: nn.Module, classes: Sequence[int], head: Head) -> nn.Module:
    """Return a copy of ``model`` with a full or a reduced head.

    Parameters
    ----------
    model : Module
        Network whose outputs are the data set's classes.
    classes : sequence of int
        The user's classes; with a full head only checked. `Head.select` gives images whose labels fit.
    head : Head
        Which one.

    Raises
    ------
    ModelError
        When the network has no linear layer or a class is none of its outputs.
    """
    reduced = select_classes(model, classes)
    return reduced if head is Head.REDUCED else copy.deepcopy(model)
