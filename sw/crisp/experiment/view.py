"""A network and images as a user of some classes sees them, with a reduced or a full head."""

import dataclasses
from collections.abc import Sequence

from torch import nn

from crisp.data import Dataset, Images
from crisp.models import Head, adapt_head

__all__ = ["View"]


@dataclasses.dataclass(frozen=True)
class View:
    """What is left of a network and a data set for the user's classes.

    Parameters
    ----------
    dense : Module
        Network before pruning, in evaluation mode.
    training, validation, test : Images
        Images of the classes, labelled as the network answers.
    """

    dense: nn.Module
    training: Images
    validation: Images
    test: Images

    @classmethod
    def of(cls, base: nn.Module, dataset: Dataset, labels: Sequence[int], head: Head) -> "View":
        """Return the view of ``labels``.

        Parameters
        ----------
        base : Module
            Network whose outputs are the data set's classes; it is left as it is.
        dataset : Dataset
            Images.
        labels : sequence of int
            The user's classes.
        head : Head
            Whether the network keeps all its outputs.
        """
        parts = (*dataset.training_and_validation(), dataset.test)
        return cls(adapt_head(base, labels, head).eval(), *(head.select(part, labels) for part in parts))
