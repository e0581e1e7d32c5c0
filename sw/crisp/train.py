"""Training a network: the one that the demonstration prunes, or any other by name.

Stochastic gradient descent with Nesterov momentum and a one-cycle learning rate (L. Smith, N. Topin, "Super-Convergence",
arXiv 1708.07120) on mirrored and shifted images. After every epoch the whole state is written, so that an interrupted run goes on
where it stopped and ends with the same bits.
"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from crisp.arch.errors import CrispError
from crisp.arch.files import replacing
from crisp.data import Dataset
from crisp.models import ARCHITECTURES, ModelSpec, accuracy, channels_last, save_checkpoint
from crisp.progress import Report, silent

__all__ = ["TrainError", "TrainOptions", "fitting_batch", "train"]


class TrainError(CrispError):
    """Options of a training run break a rule, or its saved state belongs to another run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Settings of a training run.

    Parameters
    ----------
    epochs : int
        Passes over the training images.
    batch : int
        Images a step.
    learning_rate : float
        Peak of the one-cycle schedule.
    weight_decay : float
        L2 decay of all parameters.
    label_smoothing : float
        Share of the target spread over all classes.
    seed : int
        Source of initial weights, order and augmentation.
    limit : int
        Use only so many training images; 0 for all.
    architecture : str
        One of `crisp.models.ARCHITECTURES`.
    width : float
        Factor of the network's channels.
    """

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 0.2
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    seed: int = 1
    limit: int = 0
    architecture: str = "resnet20"
    width: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise TrainError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise TrainError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.seed < 0:
            raise TrainError(f"seed must be at least 0, not {self.seed}")
        if self.limit < 0:
            raise TrainError(f"limit must be 0 for all images, or their number, not {self.limit}")
        if self.architecture not in ARCHITECTURES:
            raise TrainError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {self.architecture!r}")


#: Steps that an epoch has at least, where nobody says how large a batch is.
LEAST_STEPS = 8


def fitting_batch(images: int) -> int:
    """Return the images of a step where nobody says it: as many as by default, fewer where an epoch would have less than eight steps."""
    return min(TrainOptions.batch, max(2, images // LEAST_STEPS))


@dataclasses.dataclass
class Run:
    """Everything that changes while a network trains."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0
    seconds: float = 0.0


def train(
    dataset: Dataset,
    output: Path,
    options: TrainOptions | None = None,
    *,
    state: Path | None = None,
    command: str = "crisp train",
    progress: Report = silent,
) -> dict[str, str]:
    """Train a network on ``dataset`` and write it to ``output``.

    Parameters
    ----------
    dataset : Dataset
        Images. The validation part of its training images is not learnt from.
    output : Path
        Checkpoint to write, safetensors.
    options : TrainOptions, optional
        Settings.
    state : Path, optional
        File that keeps the state of the run after every epoch. Where it exists and belongs to the same options and data, the run goes
        on from it; it is deleted at the end.
    command : str
        What the metadata say the network was made with.
    progress : callable
        Called after every step.

    Returns
    -------
    dict
        The metadata of the checkpoint, accuracies included.

    Raises
    ------
    TrainError
        When there are fewer images than a batch has or none to judge by, they are not square, or ``state`` belongs to another run.
    ModelError
        When the network cannot have such images or such a width.
    """
    options = options or TrainOptions()
    training, validation = dataset.training_and_validation()
    if options.limit:
        training = training.take(np.random.default_rng(options.seed).permutation(len(training))[: options.limit])
    if len(training) < options.batch:
        raise TrainError(f"batch must be at most the {len(training)} training images, not {options.batch}; choose a smaller one")
    for part, images in (("validation", validation), ("test", dataset.test)):
        if not len(images):
            raise TrainError(f"{dataset.name}: there must be {part} images to judge by, but there are none; add some")
    steps = len(training) // options.batch
    height, width, channels = dataset.shape
    if height != width:
        raise TrainError(f"images must be square, not {height} x {width}; crop or pad them")
    spec = ModelSpec(options.architecture, len(dataset.classes), height, channels, options.width)
    run = start_run(options, spec, steps)
    told = "" if state is None else json.dumps({"data": dataset.describe(), **dataclasses.asdict(options)})
    if state is not None and state.is_file():
        restore_run(state, run, told)
    loss_function = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    for epoch in range(run.epoch, options.epochs):
        started = time.monotonic()
        random = np.random.default_rng([options.seed, epoch])
        torch.manual_seed(options.seed + epoch)  # for dropout
        run.model.train()
        for step, batch in enumerate(training.batches(options.batch, random), 1):
            inputs = torch.from_numpy(batch.inputs(random))
            loss = loss_function(run.model(inputs), torch.from_numpy(batch.labels))
            run.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            run.optimizer.step()
            run.schedule.step()
            progress(f"epoch {epoch + 1}/{options.epochs}", step, steps, f"loss {float(loss.detach()):.3f}")
        run.epoch, run.seconds = epoch + 1, run.seconds + time.monotonic() - started
        if state is not None:
            keep_run(state, run, told)
    metadata = {
        **spec.metadata(),
        "classes": json.dumps(dataset.classes),
        "normalization": dataset.normalization.to_json(),
        "data": f"{dataset.name}, {len(training)} training images",
        "command": command,
        "options": json.dumps(dataclasses.asdict(options)),
        "seed": str(options.seed),
        "epochs": str(options.epochs),
        "torch": str(torch.__version__),
        "training_seconds": f"{run.seconds:.0f}",
        "validation_accuracy": f"{accuracy(run.model, validation):.4f}",
        "test_accuracy": f"{accuracy(run.model, dataset.test):.4f}",
    }
    save_checkpoint(output, run.model, metadata)
    if state is not None:
        state.unlink(missing_ok=True)
    return metadata


def start_run(options: TrainOptions, spec: ModelSpec, steps: int) -> Run:
    """Make the network and its optimizer for ``steps`` steps an epoch."""
    model = channels_last(spec.build(options.seed))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=options.learning_rate, momentum=0.9, nesterov=True, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        options.learning_rate,
        total_steps=options.epochs * steps,
        pct_start=0.5 if options.epochs * steps == 4 else 0.25,  # a quarter of four steps has no length, which the library divides by
        cycle_momentum=False,
    )
    return Run(model, optimizer, schedule)


def keep_run(path: Path, run: Run, told: str) -> None:
    """Write the state of ``run``, which is ``told`` apart from others by its options and data, to ``path``."""
    state = {
        "run": told,
        "epoch": run.epoch,
        "seconds": run.seconds,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
    }
    with replacing(path, TrainError, RuntimeError) as temporary:
        torch.save(state, temporary)


def restore_run(path: Path, run: Run, told: str) -> None:
    """Fill ``run`` from ``path``, if that is of a run that is ``told`` so.

    Raises
    ------
    TrainError
        When the file is damaged or belongs to other options or data.
    """
    try:
        state = torch.load(path, weights_only=True)
        described = state["run"]
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise TrainError(f"{path}: must be the state of a training run, not something damaged ({error}); delete it") from error
    if described != told:
        raise TrainError(f"{path}: must belong to the run {told}, not {described}; delete it or name another")
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.schedule.load_state_dict(state["schedule"])
    run.epoch, run.seconds = state["epoch"], state["seconds"]
