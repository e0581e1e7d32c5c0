"""One run: load the network, prune it, judge it in float and in int8, predict its cycles, and say all of that in a record."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crisp.arch import Config, Pattern
from crisp.data import Dataset, Images
from crisp.models import accuracy
from crisp.progress import Report, silent
from crisp.prune import PruneOptions
from crisp.prune.cycles import CycleModel
from crisp.prune.masks import choose_uniform_mask
from crisp.quantize import judge, quantize, to_network
from crisp.report import provenance

from .base import load_network
from .errors import ExperimentError
from .grid import Run
from .levels import LevelKind
from .macs import count_macs
from .pruned import Pruned, layer_matrices, prune_by, reason_against
from .spec import Experiment
from .view import View

__all__ = ["execute"]

#: Of the machine for which a uniform pattern is the measure of cycles: blocks of 16, N half of M.
REFERENCE_BLOCK = 16


def execute(run: Run, experiment: Experiment, dataset: Dataset, folder: Path, progress: Report = silent) -> dict[str, Any]:
    """Do a run.

    Parameters
    ----------
    run : Run
        Which.
    experiment : Experiment
        What it belongs to.
    dataset : Dataset
        Its images.
    folder : Path
        Folder of all experiments: networks that they have trained, and states of runs that were interrupted.
    progress : callable
        Called after every step.

    Returns
    -------
    dict
        Record, as JSON has it. Of a level that the method cannot reach it says so in ``note``, and has no accuracies.

    Raises
    ------
    CrispError
        When data, network or settings are wrong.
    """
    torch.manual_seed(run.seed)
    base = load_network(experiment.networks[run.network], dataset, folder / "networks", progress)
    method = experiment.method(run.method).method
    view = View.of(base, dataset, run.labels, run.options.head)
    dense, training = view.dense, view.training
    judged = view.validation if experiment.split == "validation" else view.test
    if not len(judged):
        raise ExperimentError(f"{dataset.name}: {experiment.split} images of the classes must be there to judge by, but none is; take more")
    image = training.take(slice(1)).inputs()
    config = Config.load(experiment.config)
    machine = CycleModel(dense, image, config, run.options.block)
    options = with_level(run, dense, image, machine, config)
    record = {
        "network": run.network,
        "data": dataset.name,
        "classes": [dataset.classes[label] for label in run.labels],
        "class_set": run.class_set,
        "method": run.method,
        "base_method": method.name,
        "level": None if run.level is None else {"kind": run.level.kind.value, "value": run.level.value},
        "pattern": method.pattern,
        "block": options.block,
        "sparsity": None,
        "macs_kept": None,
        "cycles": None,
        "cycles_dense": machine.dense,
        "cycles_asked": options.cycles,
        "config": experiment.config,
        "seed": run.seed,
        "split": experiment.split,
        "images": len(judged),
        "top1_base": accuracy(dense, judged),
        "top1_dense": None,
        "top1_float": None,
        "top1_int8": None,
        "kept_share": None,
        "layers": None,
        "seconds": 0.0,
        "note": "",
        "options": options.to_dict(),
    }

    def finish(pruned: Pruned) -> None:
        calibration = training.take(np.random.default_rng(run.seed).permutation(len(training))[: experiment.calibration_images])
        record.update(
            pruned.figures,
            macs_kept=count_macs(pruned.model, image) / count_macs(dense, image),
            top1_float=accuracy(pruned.model, judged),
            top1_int8=judge_int8(pruned, calibration, judged, config),
            seconds=round(pruned.seconds, 1),
        )

    record["note"] = reason_against(method, dense, training, options, machine)
    if not record["note"]:
        prune_by(method, base, dataset, run.labels, options, machine, progress, folder / "states" / f"{run.key}.pt", finish)
    if not method.has_level:
        record["top1_dense"] = record["top1_float"]
    return record | provenance(command(run, experiment), run.seed)


def command(run: Run, experiment: Experiment) -> str:
    """Return the command that does this run alone."""
    words = {name: run.words[name] for name in ("network", "classes", "method", "level", "pattern", "block", "seed")}
    return f"crisp experiment {shlex.quote(str(experiment.path))} --only {','.join(f'{name}={value}' for name, value in words.items())}"


def with_level(run: Run, dense: nn.Module, image: np.ndarray, machine: CycleModel, config: Config) -> PruneOptions:
    """Return the settings of a run with the goal that its level is."""
    if run.level is None:
        return run.options
    share = None
    if run.level.kind is LevelKind.UNIFORM:
        share = machine.predict(uniform_patterns(dense, image, run.level.value, config.group_size)) / machine.dense
    return run.level.apply(run.options, share)


def uniform_patterns(dense: nn.Module, image: np.ndarray, sparsity: float, group: int) -> dict[str, Pattern]:
    """Return the patterns of all layers cut alike: N half of M, in blocks of 16, by magnitude; as sparse as whole blocks allow in each."""
    options = PruneOptions(n=group // 2, group=group, block=REFERENCE_BLOCK, per_block=False)
    matrices = layer_matrices(dense, image, options)
    return {name: choose_uniform_mask(score, layer.exists, min(1 - sparsity, 0.5), options)[1] for name, (score, layer) in matrices.items()}


def judge_int8(pruned: Pruned, calibration: Images, judged: Images, config: Config) -> float:
    """Return the accuracy of the int8 network."""
    quantized = quantize(pruned.model, calibration.inputs(), name="pruned")
    return judge(to_network(quantized, config, pruned.patterns), judged)
