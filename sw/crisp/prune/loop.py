"""The pruning loop: iterations that ramp the sparsity up, each choosing all masks anew, with fine-tuning between.

Each iteration measures the saliency of all weights, hidden ones included, lets a selector choose masks, checks the contract, and trains
behind the masks with a straight-through estimator, so that the next may choose otherwise. After the last the masks stay, and the network
recovers. Source: arXiv 2311.14272, algorithm 1. Where nothing is to be pruned, the same loop fine-tunes the dense network.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from crisp.arch import Pattern, check
from crisp.arch.config import is_power_of_two
from crisp.data import Dataset, Images
from crisp.golden.convolution import to_matrix
from crisp.models import Head, accuracy, adapt_head, channels_last, find_head
from crisp.progress import Report, silent

from .errors import PruneError, UnreachableError
from .layers import prunable_layers
from .masks import choose_masks
from .options import PruneOptions
from .processes import Processes
from .pruned import Iteration, PrunedModel
from .saliency import measure_saliency
from .selection import Goal, Layer, Selection, Selector
from .state import RunState, StateFile, describe_run, hash_model
from .ste import dense_weight, hide, reveal, seen_weight
from .steps import Draw, Steps, random_for
from .survey import magnitudes, survey
from .trainer import Trainer, choose_device

__all__ = ["prune", "stage_steps"]

#: Seconds between writings of the state of a run.
STATE_SECONDS = 60.0


def prune(
    model: nn.Module,
    data: Dataset,
    classes: Sequence[int],
    options: PruneOptions | None = None,
    progress: Report = silent,
    *,
    selector: Selector = choose_masks,
    teacher: nn.Module | None = None,
    state: Path | None = None,
    state_seconds: float = STATE_SECONDS,
    write: Callable[[PrunedModel], None] = lambda pruned: None,
) -> PrunedModel:
    """Prune ``model`` for ``classes``.

    Parameters
    ----------
    model : Module
        Trained network whose outputs are the data set's classes; it is left as it is.
    data : Dataset
        Images. Only the training part is used: eleven twelfths to learn from, the rest to say how far it has come.
    classes : sequence of int
        Labels of the classes that the user meets: at least two with a reduced head, one with a full one.
    options : PruneOptions, optional
        Settings.
    progress : callable
        Called after every step, in the first process.
    selector : Selector
        What chooses masks.
    teacher : Module, optional
        Network to learn from where the options ask for distillation; its outputs are the data set's classes, or those that the pruned
        network has. By default the network before pruning.
    state : Path, optional
        File that keeps the state of the run. Where it exists the run goes on from it and ends with the same bits as one that was never
        interrupted; it is deleted at the end.
    state_seconds : float
        Time between writings of the state; it is also written when masks are chosen, and at the end of an iteration.
    write : callable
        Called with the result, in the first process, before the state is deleted: to write it to disk.

    Raises
    ------
    DataError
        When the classes are not labels of the data set.
    PruneError
        When an option asks for what the network does not have, the state cannot be written or belongs to another run, or another process
        has failed.
    """
    options = options or PruneOptions()
    chosen = data.check_classes(classes, options.head.least_classes)
    training, validation = (options.head.select(split, chosen) for split in data.training_and_validation())
    check_network(model, data, validation)
    device = choose_device(options.device)
    processes = Processes.find(device)
    options = dataclasses.replace(options, microbatch=microbatch(options, processes))
    steps = Steps(training, options.batch, options.microbatch, options.seed)
    pruned = adapt_head(model, chosen, options.head).cpu()
    if options.channels_last:
        pruned = channels_last(pruned)
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)
    image = torch.from_numpy(training.take(slice(1)).inputs())
    layers = prunable_layers(pruned, options.keep_dense, image)
    facts, goals = survey(pruned, layers, image, options)
    first = magnitudes(layers, facts, options.group)
    source = hash_model(pruned)
    taught_by = find_teacher(model if teacher is None else teacher, data, chosen, options).to(device) if options.distillation else None
    trainer = Trainer(pruned.to(device), steps, options, taught_by, processes)
    run = RunState(pruned, layers, {name: fact.shape for name, fact in facts.items()}, trainer, options)
    told = describe_run(options, data, training, chosen, source, taught_by, selector)
    file = StateFile(state, told, state_seconds, processes)
    processes.check_same("options, data and network", repr(told).encode())
    if not run.restore(file.read()):
        if selector is choose_masks and not options.is_dense:  # a goal that is out of reach is told before any training
            choose_masks(first, facts, goals[-1], options)
        run.dense_accuracy = judge(pruned, validation, processes)
    report, totals = progress if processes.is_first else silent, stage_steps(options)
    for number in range(len(run.history), options.iterations):
        stage, total = list(totals.items())[number]
        if run.current is None and not options.is_dense:
            choose(run, number, facts, goals[number], selector, processes, first)
            file.write(run.pack)
        started = time.monotonic() - run.spent

        def after(done: int, started: float = started) -> None:
            run.stage_step, run.spent = done, time.monotonic() - started
            if file.is_due:
                file.write(run.pack)

        trainer.train(stage, run.stage_step, total, report, final=number == options.iterations - 1, after=after)
        run.finish(judge(pruned, validation, processes), total * options.batch)
        file.write(run.pack)
    for name, layer in layers.items():
        reveal(layer)
        if options.is_dense:
            run.patterns[name] = Pattern.dense(run.matrix(name, dense_weight(layer)).shape, options.block, options.group)
        check(run.matrix(name, dense_weight(layer)), run.patterns[name], layer=name)
    result = PrunedModel(
        model=pruned.eval().cpu(),
        patterns=run.patterns,
        classes=chosen,
        shapes={name: shape for name, shape in run.shapes.items() if shape != tuple(dense_weight(layers[name]).shape)},
        class_names=tuple(data.classes[label] for label in chosen),
        data=data.name,
        source=source,
        options=options,
        dense_validation_accuracy=run.dense_accuracy,
        history=tuple(run.history),
    )
    if processes.is_first:
        write(result)
    file.delete()
    return result


def check_network(model: nn.Module, data: Dataset, validation: Images) -> None:
    """Refuse a network that does not answer with the data set's classes, and classes without an image to judge by."""
    outputs = find_head(model)[1].out_features
    if outputs != len(data.classes):
        raise PruneError(
            f"the network must have an output for each of the {len(data.classes)} classes of {data.name}, not {outputs}; "
            f"choose the data that it was trained on"
        )
    if not len(validation):
        raise PruneError(f"{data.name}: the user's classes must have images to judge by besides those to learn from; add some")


def stage_steps(options: PruneOptions) -> dict[str, int]:
    """Return the training steps of each iteration, by the name that progress gives it."""
    count = options.iterations
    images = [options.iteration_images] * (count - 1) + [options.final_images]
    return {f"prune {number}/{count}": -(-each // options.batch) for number, each in enumerate(images, 1)}


def microbatch(options: PruneOptions, processes: Processes) -> int:
    """Return how many images are computed at a time, so that every process has equally many."""
    size = options.microbatch or options.batch // processes.count
    share = 0 if not size or options.batch % (size * processes.count) else options.batch // (size * processes.count)
    if not is_power_of_two(share):  # else sums would hang on who adds them
        raise PruneError(
            f"batch / microbatch must be a power of two for each process, of which there are {processes.count}, "
            f"not {options.batch} / {options.microbatch or 'all'}; choose another batch or microbatch"
        )
    return size


def find_teacher(model: nn.Module, data: Dataset, classes: Sequence[int], options: PruneOptions) -> nn.Module:
    """Return a copy of ``model`` that answers as the pruned network does.

    Raises
    ------
    PruneError
        When it has another number of outputs.
    """
    outputs, wanted = find_head(model)[1].out_features, len(classes) if options.head is Head.REDUCED else len(data.classes)
    if outputs == len(data.classes):
        found = adapt_head(model, classes, options.head)
    elif outputs == wanted:
        found = adapt_head(model, range(outputs), Head.FULL)
    else:
        raise PruneError(
            f"the teacher must have {len(data.classes)} outputs, or the pruned network's {wanted}, not {outputs}; give another"
        )
    return channels_last(found) if options.channels_last else found


def choose(
    run: RunState,
    number: int,
    facts: Mapping[str, Layer],
    goal: Goal,
    selector: Selector,
    processes: Processes,
    first: Mapping[str, np.ndarray],
) -> None:
    """Choose all masks anew, check that they obey their patterns, and put them before the weights.

    The least cycles that can be reached hang a little on which blocks stay. Where a budget is so near to them that it cannot be met by what
    is salient now, it is met by ``first``, the magnitudes before any training, by which it was seen to be within reach.
    """
    options, started = run.options, time.monotonic()
    batches = run.trainer.steps.measured(number, options.saliency_images)
    saliency = measure_saliency(run.model, run.layers, batches, options.saliency, options.gradient_floor, processes)
    scores = {name: to_matrix(score.reshape(facts[name].shape), options.group) for name, score in saliency.items()}
    check_scores(scores, options)
    measured, before = time.monotonic(), run.masks()

    def select(by: Mapping[str, np.ndarray]) -> Selection:
        return selector(by, facts, goal, options, random_for(Draw.SELECTION, options.seed, number))

    try:
        selection = select(contest(scores, before, options.comeback))
    except UnreachableError:
        if goal.cycles is None:
            raise
        selection = select(first)
    masks, run.patterns = selection.masks, selection.patterns
    processes.check_same("masks", b"".join(np.packbits(mask).tobytes() for mask in masks.values()))
    decay = options.ste_decay if number < options.iterations - 1 else 0.0  # what is hidden at last does not come back
    for name, layer in run.layers.items():
        hide(layer, run.mask(name, masks[name]), decay)
        check(run.matrix(name, seen_weight(layer)), run.patterns[name], layer=name)
    run.current = Iteration(
        sparsity=1 - count(masks) / sum(int(fact.exists.sum()) for fact in facts.values()),
        kept_share=sum(float(scores[name][masks[name]].sum()) for name in masks) / sum(float(score.sum()) for score in scores.values()),
        changed_share=sum(int((before[name] ^ masks[name]).sum()) for name in before) / max(count(before), 1),
        validation_accuracy=0.0,
        seconds=0.0,
        saliency_seconds=measured - started,
        selection_seconds=time.monotonic() - measured,
    )


def check_scores(scores: Mapping[str, np.ndarray], options: PruneOptions) -> None:
    """Refuse saliencies by which nothing can be chosen.

    Raises
    ------
    PruneError
        When one is not finite, or all are 0.
    """
    for name, score in scores.items():
        if not np.isfinite(score).all():
            raise PruneError(f"{name}: saliency must be finite, but {int((~np.isfinite(score)).sum())} are not; lower the learning rate")
    if not any(score.any() for score in scores.values()):
        raise PruneError(
            f"saliency must be above 0 somewhere, but {options.saliency.value} is 0 in all layers: the network is sure of every image; "
            f"choose magnitude or activation"
        )


def judge(model: nn.Module, images: Images, processes: Processes) -> float:
    """Return the share of ``images``, which the processes share, that the network names rightly."""
    if processes.count == 1:
        return accuracy(model, images)
    mine = images.take(np.array(processes.share(range(len(images))), dtype=np.int64))
    return processes.count_all(round(accuracy(model, mine) * len(mine)) if len(mine) else 0) / len(images)


def contest(scores: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], comeback: float) -> Mapping[str, np.ndarray]:
    """Return the scores that weights compete by: those of hidden weights count for less, so that masks settle."""
    return {name: np.where(masks[name], score, comeback * score) if name in masks else score for name, score in scores.items()}


def count(masks: Mapping[str, np.ndarray]) -> int:
    """Return how many weights ``masks`` let through."""
    return sum(int(mask.sum()) for mask in masks.values())
