"""Networks before pruning: loaded, or trained once for all runs that need them."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from crisp.data import Dataset, Images, load_dataset
from crisp.models import ModelSpec, find_head, load_checkpoint, load_model
from crisp.models.checkpoint import read_tensors
from crisp.progress import Report, silent
from crisp.train import TrainOptions, train

from .errors import ExperimentError
from .locks import lock
from .spec import DataChoice, NetworkChoice

__all__ = ["load_data", "load_network"]

#: Draws the images of a part of a data set.
PART_SEED = 0


def load_data(choice: DataChoice, tell: Callable[[str], None] = lambda text: None) -> Dataset:
    """Load the images of an experiment; ``tell`` is told what takes time, does not work, or stands in where no source is named.

    Raises
    ------
    DataError
        When they are absent or damaged.
    """
    dataset = load_dataset(choice.source or None, size=choice.size, channels=choice.channels, labels=choice.labels, tell=tell)
    return dataclasses.replace(dataset, train=part(dataset.train, choice.train_images), test=part(dataset.test, choice.test_images))


def part(images: Images, count: int) -> Images:
    """Return ``count`` of the images, or all for 0; which ones does not depend on how often it is asked."""
    if not 0 < count < len(images):
        return images
    return images.take(np.sort(np.random.default_rng(PART_SEED).permutation(len(images))[:count]))


def load_network(choice: NetworkChoice, dataset: Dataset, folder: Path, progress: Report = silent) -> nn.Module:
    """Return a network in evaluation mode; train it first where there is no checkpoint.

    What was trained is kept in ``folder`` by what it was trained with. Other processes that need it meanwhile wait; interrupted, the next
    one goes on where it stopped.

    Raises
    ------
    ExperimentError
        When a checkpoint is for another number of classes.
    CheckpointError, ModelError, TrainError
        When a checkpoint is absent or damaged, or there can be no such network.
    """
    height, _, channels = dataset.shape
    if choice.checkpoint:
        model = open_checkpoint(Path(choice.checkpoint), choice, len(dataset.classes), height, channels)
        outputs = find_head(model)[1].out_features
        if outputs != len(dataset.classes):
            raise ExperimentError(
                f"{choice.checkpoint}: the network must have an output for each of the {len(dataset.classes)} classes of {dataset.name}, "
                f"not {outputs}; name another"
            )
    else:
        options = TrainOptions(
            epochs=choice.epochs,
            batch=choice.batch,
            learning_rate=choice.learning_rate,
            seed=choice.seed,
            architecture=choice.architecture,
            width=choice.width,
        )
        made_of = [dataclasses.asdict(options), dataset.describe()]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
        name = re.sub(r"[^a-z0-9.]+", "-", f"{choice.architecture} x{choice.width:g} {dataset.name}".lower())
        path = folder / f"{name}-{digest}.safetensors"
        with lock(path.with_suffix(".lock")):
            if not path.is_file():
                state = path.with_suffix(".pt")
                train(dataset, path, options, state=state, command="crisp experiment", progress=progress)
        model = load_checkpoint(path)[0]
    return model


def open_checkpoint(path: Path, choice: NetworkChoice, classes: int, size: int, channels: int) -> nn.Module:
    """Return the network of a checkpoint of ours, which says what it is, or of weights of others for the architecture."""
    is_ours = path.suffix == ".safetensors" and "architecture" in read_tensors(path)[1]
    if not is_ours:
        return load_model(path, ModelSpec(choice.architecture, classes, size, channels, choice.width))
    model, metadata = load_checkpoint(path)
    wanted = {"architecture": choice.architecture, "width": f"{choice.width:g}", "num_classes": str(classes)}
    found = {**metadata, "width": f"{float(metadata.get('width', '1')):g}"}
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ExperimentError(
                f"{path}: {name} must be {value}, which the experiment and its data are for, not {found.get(name)}; name another"
            )
    return model
