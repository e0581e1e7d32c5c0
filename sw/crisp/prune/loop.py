"""The pruning loop: iterations that ramp the sparsity up, each choosing all masks anew, with fine-tuning between.

Each iteration measures the saliency of all weights, hidden ones included, chooses N:M masks, then blocks, checks the contract, and trains
behind the masks with a straight-through estimator, so that the next may choose otherwise. After the last the masks stay, and the network
recovers. Source: arXiv 2311.14272, algorithm 1.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from crisp.arch import Pattern, check
from crisp.data import Dataset
from crisp.golden.convolution import to_matrix
from crisp.models import accuracy, channels_last, select_classes
from crisp.progress import Report, silent

from .errors import PruneError
from .finetune import Trainer
from .layers import mask_from_matrix, prunable_layers, weight_matrix
from .masks import choose_masks
from .options import PruneOptions
from .saliency import measure_saliency
from .selection import Selector
from .ste import dense_weight, hide, reveal, seen_weight
from .survey import survey

__all__ = ["Iteration", "PrunedModel", "prune"]


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
    """

    sparsity: float
    kept_share: float
    changed_share: float
    validation_accuracy: float
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrunedModel:
    """A pruned network: dense weights with zeros, and the pattern that they obey.

    Parameters
    ----------
    model : Module
        Network with an output for each user class, in evaluation mode.
    patterns : dict
        Pattern of each pruned layer, by its name; `crisp.golden.convolution.to_matrix` gives the matrix it speaks of.
    classes : tuple of int
        The user's classes: labels of the data set, in the order of the outputs.
    options : PruneOptions
        Settings.
    dense_validation_accuracy : float
        Of the network before pruning, among the user's classes.
    history : tuple of Iteration
        What happened.
    """

    model: nn.Module
    patterns: dict[str, Pattern]
    classes: tuple[int, ...]
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


def prune(
    model: nn.Module,
    data: Dataset,
    classes: Sequence[int],
    options: PruneOptions | None = None,
    progress: Report = silent,
    *,
    selector: Selector = choose_masks,
) -> PrunedModel:
    """Prune ``model`` for ``classes``.

    Parameters
    ----------
    model : Module
        Trained network whose outputs are the data set's classes; it is left as it is.
    data : Dataset
        Images. Only the training part is used: eleven twelfths to learn from, the rest to say how far it has come.
    classes : sequence of int
        Labels of the classes that the user meets, at least two.
    options : PruneOptions, optional
        Settings.
    progress : callable
        Called after every step.
    selector : Selector
        What chooses masks.

    Raises
    ------
    DataError
        When the classes are not labels of the data set.
    PruneError
        When an option asks for what the network does not have.
    """
    options = options or PruneOptions()
    chosen = data.check_classes(classes)
    training, validation = (split.select(chosen) for split in data.training_and_validation())
    if len(training) < options.batch:
        raise PruneError(f"batch must be at most the {len(training)} training images of the classes, not {options.batch}")
    pruned = channels_last(select_classes(model, chosen))
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    image = torch.from_numpy(training.take(slice(1)).inputs())
    layers = prunable_layers(pruned, options.keep_dense, image)
    facts, goals = survey(pruned, layers, image, options)
    exists = {name: fact.exists for name, fact in facts.items()}
    random = np.random.default_rng(options.seed)
    dense_accuracy = accuracy(pruned, validation)
    trainer = Trainer(pruned, training, options)
    masks: dict[str, np.ndarray] = {}
    patterns: dict[str, Pattern] = {}
    history = []
    for number, goal in enumerate(goals, 1):
        started = time.monotonic()
        last, stage = number == options.iterations, f"prune {number}/{options.iterations}"
        scores = measure(pruned, layers, trainer, options)
        before, selection = masks, selector(contest(scores, masks, options.comeback), facts, goal, options, random)
        masks, patterns = selection.masks, selection.patterns
        for name, layer in layers.items():
            hide(layer, mask_from_matrix(masks[name], dense_weight(layer), options.group), options.ste_decay)
            check(weight_matrix(seen_weight(layer), options.group), patterns[name], layer=name)
        trainer.train(options.final_images if last else options.iteration_images, stage, progress, final=last)
        history.append(
            Iteration(
                sparsity=1 - count(masks) / count(exists),
                kept_share=sum(float(scores[name][masks[name]].sum()) for name in masks)
                / sum(float(score.sum()) for score in scores.values()),
                changed_share=sum(int((before[name] ^ masks[name]).sum()) for name in before) / max(count(before), 1),
                validation_accuracy=accuracy(pruned, validation),
                seconds=time.monotonic() - started,
            )
        )
    for name, layer in layers.items():
        reveal(layer)
        check(weight_matrix(dense_weight(layer), options.group), patterns[name], layer=name)
    return PrunedModel(
        model=pruned.eval(),
        patterns=patterns,
        classes=chosen,
        options=options,
        dense_validation_accuracy=dense_accuracy,
        history=tuple(history),
    )


def measure(model: nn.Module, layers: Mapping[str, nn.Module], trainer: Trainer, options: PruneOptions) -> dict[str, np.ndarray]:
    """Return the saliency of every weight of ``layers`` as matrices [O, K]."""
    batches = trainer.take(options.saliency_images)
    saliency = measure_saliency(model, layers, batches, options.saliency, options.gradient_floor)
    return {name: to_matrix(score, options.group) for name, score in saliency.items()}


def contest(scores: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], comeback: float) -> Mapping[str, np.ndarray]:
    """Return the scores that weights compete by: those of hidden weights count for less, so that masks settle."""
    return {name: np.where(masks[name], score, comeback * score) if name in masks else score for name, score in scores.items()}


def count(masks: Mapping[str, np.ndarray]) -> int:
    """Return how many weights ``masks`` let through."""
    return sum(int(mask.sum()) for mask in masks.values())
