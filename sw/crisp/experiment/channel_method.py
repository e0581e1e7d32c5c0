"""Channel pruning as a method of experiments: `crisp.prune.channels` with the schedule and the training of all others.

The network loses channels in as many iterations, on the same ramp, as others lose weights; after each it is trained on as many images by
the same trainer, as a dense network, which is what it is. A smaller network has other parameters, so each iteration is a training of its
own: momentum, warm-up and the order of images begin anew, and the learning rate falls to 0 at the end of each, not only of the last.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import nn

from crisp.arch import Config
from crisp.data import Dataset, Images
from crisp.models import Head
from crisp.progress import Report, silent
from crisp.prune import Goal, Price, PruneOptions, prune
from crisp.prune.channels import ChannelGoal, ChannelOptions, measure_channels, prunable_weights, remove_channels
from crisp.prune.schedule import plan_goals

from .methods import all_of_group
from .view import View

__all__ = ["prune_channels", "try_channels"]


def prune_channels(
    model: nn.Module,
    data: Dataset,
    classes: Sequence[int],
    options: PruneOptions,
    dense_cycles: int,
    progress: Report = silent,
) -> nn.Module:
    """Return a network for ``classes`` with fewer channels, as few as the goal of ``options`` takes.

    Parameters
    ----------
    model : Module
        Trained network whose outputs are the data set's classes; it is left as it is.
    data : Dataset
        Images.
    classes : sequence of int
        The user's classes.
    options : PruneOptions
        Goal, ramp and training; what speaks of patterns has no meaning here.
    dense_cycles : int
        Predicted cycles of the network cut down to the classes.
    progress : callable
        Called after every step.

    Raises
    ------
    PruneError
        When the goal is out of reach.
    """
    view = View.of(model, data, classes, options.head)
    network, images = view.dense, view.training
    # A reduced head's outputs are the classes of a data set that has no others.
    chosen, labels = (data.select(classes), range(len(classes))) if options.head is Head.REDUCED else (data, classes)
    image = images.take(slice(1)).inputs()
    weights = prunable_weights(network, image)
    whole = all_of_group(options)
    for number, goal in enumerate(plan_goals(whole, dense_cycles), 1):
        last = number == options.iterations
        contributions = measure_channels(network, batches(images, options, number))
        smaller = remove_channels(
            network, image, contributions, channel_goal(goal, weights), Config.load(options.config), channel_options(options)
        )
        training = dataclasses.replace(
            whole,
            sparsity=0.0,
            cycles=None,
            price=Price.NONE,
            iterations=1,
            final_images=options.final_images if last else options.iteration_images,
            seed=1000 * options.seed + number,
        )
        stage = f"channels {number}/{options.iterations}"
        network = prune(smaller.model, chosen, labels, training, renamed(progress, stage), teacher=view.dense).model
    return network


def try_channels(network: nn.Module, images: Images, options: PruneOptions, dense_cycles: int) -> None:
    """Try whether the goal of ``options`` is within reach of a network that is cut down to its classes.

    Raises
    ------
    PruneError
        When it is not.
    """
    image = images.take(slice(1)).inputs()
    contributions = measure_channels(network, images.take(slice(options.batch)).batches(options.batch))
    goal = Goal(sparsity=options.sparsity, cycles=None if options.cycles is None else int(options.cycles * dense_cycles))
    wanted = channel_goal(goal, prunable_weights(network, image))
    remove_channels(network, image, contributions, wanted, Config.load(options.config), channel_options(options))


def channel_goal(goal: Goal, weights: int) -> ChannelGoal:
    """Return the goal of an iteration, of a network that had so many ``weights``."""
    return ChannelGoal(weights=int(weights * (1 - goal.sparsity) + 1e-6) if goal.cycles is None else None, cycles=goal.cycles)


def channel_options(options: PruneOptions) -> ChannelOptions:
    """Return the settings of channel pruning: channels compete by what the goal counts."""
    return ChannelOptions(price=Price.WEIGHTS if options.cycles is None else Price.MACS, keep=options.keep_dense)


def batches(images: Images, options: PruneOptions, number: int) -> list[Images]:
    """Return the batches that the importance of channels is measured on in an iteration."""
    random = np.random.default_rng([options.seed, number])
    chosen = images.take(random.permutation(len(images))[: options.saliency_images])
    return list(chosen.batches(options.batch))


def renamed(progress: Report, stage: str) -> Report:
    """Return a report that calls every stage ``stage``."""
    return lambda _, done, total, note: progress(stage, done, total, note)
