"""A pruned network, and how it came about."""

import dataclasses

from torch import nn

from crisp.arch import Pattern

from .options import PruneOptions

__all__ = ["Iteration", "PrunedModel"]


@dataclasses.dataclass(frozen=True)
class Iteration:
    """What one iteration did.

    Parameters
    ----------
    sparsity : float
        Share of the weights of the pruned layers that the masks hide.
    kept_share : float
        Share of all saliency that the kept weights have.
    changed_share : float
        Share of the weights seen before the iteration that it hid or showed; 0 in the first.
    validation_accuracy : float
        On the user's classes, after fine-tuning.
    seconds : float
        Time it took.
    images : int
        Images it trained on.
    saliency_seconds, selection_seconds, training_seconds : float
        Where its time went: to measure saliency, to choose masks, to train; the rest is judging.
    """

    sparsity: float
    kept_share: float
    changed_share: float
    validation_accuracy: float
    seconds: float
    images: int = 0
    saliency_seconds: float = 0.0
    selection_seconds: float = 0.0
    training_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrunedModel:
    """A pruned network: dense weights with zeros, and the pattern that they obey.

    Parameters
    ----------
    model : Module
        Network with an output for each user class, or with a full head for each class of the data set; in evaluation mode, on the CPU.
    patterns : dict
        Pattern of each pruned layer, by its name, of the matrix that `crisp.golden.convolution.to_matrix` makes of its weight.
    shapes : dict
        Shape that the weight of a pruned layer has in the machine, where it is another: that of a linear layer behind a flattened image.
        It takes it before it becomes that matrix.
    classes : tuple of int
        The user's classes: labels of the data set, in the order of the outputs where the head is reduced.
    class_names : tuple of str
        Their names.
    data : str
        Name of the data set.
    source : str
        SHA-256 of the weights before pruning, outputs cut down to the classes; see `crisp.prune.state.hash_model`.
    options : PruneOptions
        Settings.
    dense_validation_accuracy : float
        Of the network before pruning, on the user's classes.
    history : tuple of Iteration
        What happened.
    """

    model: nn.Module
    patterns: dict[str, Pattern]
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    classes: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    data: str = ""
    source: str = ""
    options: PruneOptions
    dense_validation_accuracy: float
    history: tuple[Iteration, ...]

    @property
    def sparsity(self) -> float:
        """Share of zeros in the weights of the pruned layers."""
        weights = [self.model.get_submodule(name).get_parameter("weight") for name in self.patterns]
        return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)

    @property
    def seconds(self) -> float:
        """Time that pruning took."""
        return sum(iteration.seconds for iteration in self.history)
