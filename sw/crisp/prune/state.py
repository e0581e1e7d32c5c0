"""The state of a run on disk, so that one that was killed goes on where it stopped and ends with the same bits.

Nothing random is in it: that follows from the seed and the number of the step (`crisp.prune.steps`). A state says which run it belongs to,
and no other run takes it.
"""

import dataclasses
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crisp.arch import Config, Pattern
from crisp.arch.files import check_place, replacing
from crisp.data import Dataset, Images

from .errors import PruneError
from .layers import mask_from_matrix, weight_matrix
from .options import PruneOptions
from .processes import Processes
from .pruned import Iteration
from .ste import dense_weight, hide, straight_through
from .trainer import Trainer

__all__ = ["RunState", "StateFile", "describe_run", "hash_model"]

#: Of the form of the file: another is refused.
VERSION = 2


class RunState:
    """Everything that changes while a network is pruned.

    Parameters
    ----------
    model : Module
        Network, with masks before the weights of ``layers`` once they are chosen.
    layers : mapping
        Layers that are pruned, by name.
    shapes : mapping
        Shape of each layer's weight in the machine.
    trainer : Trainer
        Has the optimizer and counts steps.
    options : PruneOptions
        Settings.

    Attributes
    ----------
    patterns : dict
        What the masks obey, by layer.
    history : list of Iteration
        Iterations that are done.
    current : Iteration, optional
        What is known of the one that has its masks and trains.
    stage_step : int
        Steps it has trained.
    spent : float
        Seconds that it has trained.
    dense_accuracy : float
        Of the network before pruning.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, nn.Module],
        shapes: Mapping[str, tuple[int, ...]],
        trainer: Trainer,
        options: PruneOptions,
    ) -> None:
        self.model, self.layers, self.shapes, self.trainer, self.options = model, layers, dict(shapes), trainer, options
        self.patterns: dict[str, Pattern] = {}
        self.history: list[Iteration] = []
        self.current: Iteration | None = None
        self.stage_step = 0
        self.spent = 0.0
        self.dense_accuracy = 0.0

    def masks(self) -> dict[str, np.ndarray]:
        """Return the masks that lie before the weights, bool [O, K] by layer."""
        return {name: self.matrix(name, straight_through(self.layers[name]).mask) > 0 for name in self.patterns}

    def matrix(self, name: str, weight: torch.Tensor) -> np.ndarray:
        """Return a weight of a layer, or something of its shape, as the matrix [O, K] that the machine sees."""
        return weight_matrix(weight, self.options.group, self.shapes[name])

    def mask(self, name: str, matrix: np.ndarray) -> torch.Tensor:
        """Return a layer's mask, bool [O, K], in the shape of its weight."""
        return mask_from_matrix(matrix, dense_weight(self.layers[name]), self.options.group, self.shapes[name])

    def finish(self, accuracy: float, images: int) -> None:
        """Note that an iteration is done."""
        current = self.current or Iteration(0.0, 1.0, 0.0, 0.0, 0.0)
        self.history.append(
            dataclasses.replace(
                current,
                validation_accuracy=accuracy,
                seconds=current.saliency_seconds + current.selection_seconds + self.spent,
                training_seconds=self.spent,
                images=images,
            )
        )
        self.current, self.stage_step, self.spent = None, 0, 0.0

    def pack(self) -> dict[str, Any]:
        """Return it as tensors, numbers and text."""
        return {
            "model": self.model.state_dict(),
            "patterns": {name: torch.from_numpy(pattern.n.copy()) for name, pattern in self.patterns.items()},
            "optimizer": self.trainer.optimizer.state_dict(),
            "ste_decay": next((straight_through(self.layers[name]).decay for name in self.patterns), 0.0),
            "step": self.trainer.step,
            "stage_step": self.stage_step,
            "spent": self.spent,
            "history": [dataclasses.asdict(iteration) for iteration in self.history],
            "current": None if self.current is None else dataclasses.asdict(self.current),
            "dense_accuracy": self.dense_accuracy,
        }

    def restore(self, packed: Mapping[str, Any] | None) -> bool:
        """Take what `pack` returned; tell whether there is anything."""
        if packed is None:
            return False
        options = self.options
        for name, n in packed["patterns"].items():
            shape = self.matrix(name, dense_weight(self.layers[name])).shape
            self.patterns[name] = Pattern((shape[0], shape[1]), options.block, options.group, n.numpy())
            hide(self.layers[name], self.mask(name, np.ones(shape, bool)), packed["ste_decay"])
        self.model.load_state_dict(packed["model"])
        self.trainer.optimizer.load_state_dict(packed["optimizer"])
        self.trainer.step, self.stage_step, self.spent = packed["step"], packed["stage_step"], packed["spent"]
        self.history = [Iteration(**iteration) for iteration in packed["history"]]
        self.current = None if packed["current"] is None else Iteration(**packed["current"])
        self.dense_accuracy = packed["dense_accuracy"]
        return True


class StateFile:
    """The file that keeps a run's state, or none. Only the first process touches the disk.

    Parameters
    ----------
    path : Path, optional
        File.
    run : mapping
        What the state must agree with; see `describe_run`.
    seconds : float
        Time after which it should be written again.
    processes : Processes
        Who shares the run.
    """

    def __init__(self, path: Path | None, run: Mapping[str, str], seconds: float, processes: Processes) -> None:
        self.path, self.run, self.seconds, self.processes = path, dict(run), seconds, processes
        self.written = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the state should be written again."""
        return self.path is not None and self.processes.is_first and time.monotonic() - self.written >= self.seconds

    def write(self, pack: Callable[[], Mapping[str, Any]]) -> None:
        """Write what ``pack`` returns, by way of a temporary file.

        Raises
        ------
        PruneError
            When it cannot be written; what was there before still is.
        """
        if self.path is None or not self.processes.is_first:
            return
        state = {"version": VERSION, "run": self.run, "state": pack()}
        with replacing(self.path, PruneError, RuntimeError) as temporary, temporary.open("wb") as file:
            torch.save(state, file)  # raises RuntimeError where it cannot write
        self.written = time.monotonic()

    def read(self) -> Mapping[str, Any] | None:
        """Return what was written, or none where there is no file.

        Raises
        ------
        PruneError
            When there is no place for the file, or it is damaged or belongs to another run; what differs is named.
        """
        self.processes.first(self.check_place)
        exists = self.path is not None and self.processes.is_first and self.path.is_file()
        data = self.processes.send(self.path.read_bytes() if self.path is not None and exists else None)
        if data is None:
            return None
        try:
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            version, run, state = found["version"], dict(found["run"]), found["state"]
        except Exception as error:  # torch.load raises whatever its unpickler meets
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise PruneError(f"{self.path}: must be the state of a pruning run, not something damaged ({first}); delete it") from error
        if version != VERSION:
            raise PruneError(f"{self.path}: must be of form {VERSION}, not {version}; delete it, or go on with the version that wrote it")
        names = [name for name in {**self.run, **run} if self.run.get(name) != run.get(name)]
        if names:
            differs = [f"{name} {self.run.get(name)}, not {run.get(name)}" for name in names]
            raise PruneError(f"{self.path}: must belong to a run with {'; '.join(differs)}; delete it or name another")
        packed: Mapping[str, Any] = state
        return packed

    def check_place(self) -> None:
        """Refuse a place where the file cannot be written."""
        if self.path is not None:
            check_place(self.path, "the state", PruneError)

    def delete(self) -> None:
        """Delete the file: the run is done."""
        if self.path is not None and self.processes.is_first:
            self.path.unlink(missing_ok=True)


def describe_run(
    options: PruneOptions,
    data: Dataset,
    training: Images,
    classes: Sequence[int],
    source: str,
    teacher: nn.Module | None,
    selector: Callable[..., Any],
) -> dict[str, str]:
    """Return what a saved state must agree with, by name."""
    machine = f"{Config.load(options.config).digest:08x}" if options.counts_cycles else "any"
    return {
        **{name: str(value) for name, value in options.to_dict().items()},
        "machine": machine,
        "data": f"{data.name}, {len(training)} images {training.digest()[:16]}",
        "inputs": f"{list(training.shape)} {data.normalization.to_json()}",
        "classes": str(list(classes)),
        "model": source[:16],
        "teacher": "none" if teacher is None else hash_model(teacher)[:16],
        "selector": getattr(selector, "__qualname__", type(selector).__qualname__),
    }


def hash_model(model: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers of ``model``, names and shapes included."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
