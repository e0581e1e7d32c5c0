"""A checkpoint that is to be quantized, and whether data are those that it is for."""

import dataclasses
import itertools
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crisp.data import Dataset
from crisp.data.sources import DEFAULT_DATA, VARIABLE
from crisp.models import Head, load_checkpoint, open_model
from crisp.models.checkpoint import read_tensors
from crisp.models.user import make_model
from crisp.models.weights import is_safetensors
from crisp.prune.pruned import PrunedModel
from crisp.prune.storage import load_pruned

from .errors import QuantizeError
from .trace import trace

__all__ = ["OpenedCheckpoint", "open_checkpoint"]

#: What `crisp train` writes behind the name of the data set, and a number.
TRAINED = " training images"


@dataclasses.dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint that has been read.

    Parameters
    ----------
    path : Path
        Its file.
    model : Module
        Network.
    metadata : mapping
        What the file says.
    pruned : PrunedModel, optional
        Its patterns and classes, where it is pruned.
    """

    path: Path
    model: nn.Module
    metadata: Mapping[str, str]
    pruned: PrunedModel | None = None

    @property
    def data(self) -> str:
        """Name of the data set that the network was trained or pruned on; empty where that is not known."""
        said = self.metadata.get("data", "")
        if self.pruned is not None:
            return said
        name, _, images = said.rpartition(", ")
        return name if images.endswith(TRAINED) else ""

    @property
    def place(self) -> str:
        """What the command that made the file had behind ``--data``, after a space; empty where it had none."""
        try:
            words = shlex.split(self.metadata.get("command", ""))
        except ValueError:
            return ""
        return next((f" {shlex.quote(value)}" for name, value in itertools.pairwise(words) if name == "--data"), "")

    def fits(self, dataset: Dataset) -> bool:
        """Tell whether ``dataset`` has the name and the classes that the file names."""
        if self.pruned is None:
            return dataset.name == self.data and json.dumps(dataset.classes) == self.metadata.get("classes")
        names = [dataset.classes[label] if label < len(dataset.classes) else "" for label in self.pruned.classes]
        return dataset.name == self.data and tuple(names) == (self.pruned.class_names or tuple(names))

    def check_default(self) -> None:
        """Raise where data that are found without a name cannot be those that the network is for; nothing is fetched for it.

        Raises
        ------
        QuantizeError
            When the file names others.
        """
        if self.data not in ("", *DEFAULT_DATA) and not os.environ.get(VARIABLE):
            raise self.wrong_data("what is found without a name")

    def check_data(self, dataset: Dataset, labelled: bool) -> tuple[str, ...]:
        """Return the names of the network's outputs, none where they are not known, of data that it is for.

        Parameters
        ----------
        dataset : Dataset
            Data.
        labelled : bool
            Whether the network must have an output for each class, since labels are used, or since nobody has named the data.

        Raises
        ------
        QuantizeError
            When the file names other data or classes, or the network takes other images or has another number of outputs.
        """
        if self.data and not self.fits(dataset):
            raise self.wrong_data(f"{dataset.name}, whose classes are {listed(dataset.classes)}")
        image = torch.from_numpy(dataset.train.take(slice(1)).inputs())
        outputs = trace(self.model, image).run(image).shape[1]
        if self.pruned is None and labelled and outputs != len(dataset.classes):
            raise QuantizeError(
                f"{self.path}: the network must have an output for each of the {len(dataset.classes)} classes of {dataset.name}, "
                f"not {outputs}; name the data that it was trained on, --data"
            )
        reduced = self.pruned is not None and self.pruned.options.head is Head.REDUCED
        labels = self.pruned.classes if self.pruned is not None and reduced else range(len(dataset.classes))
        return tuple(printable(dataset.classes[label]) for label in labels) if len(labels) == outputs else ()

    def wrong_data(self, found: str) -> QuantizeError:
        """Return the error that data are not those that the network is for."""
        classes = "" if self.pruned is None else f" ({listed(self.pruned.class_names)})"
        rule = f"data must be what the network was trained on, {self.data}{classes}"
        return QuantizeError(f"{self.path}: {rule}, not {found}; name it with --data{self.place}")


def open_checkpoint(path: Path, model: str = "", arguments: Mapping[str, Any] | None = None) -> OpenedCheckpoint:
    """Read a checkpoint, trained or pruned.

    Parameters
    ----------
    path : Path
        File.
    model : str
        The user's ``module:function`` that makes the network; empty where the file says what it is of.
    arguments : mapping, optional
        Keyword arguments of that function.

    Raises
    ------
    CheckpointError
        When the file is absent or damaged, or of no known network and no function is named.
    ModelError
        When the function does not make a network.
    QuantizeError
        When it is no safetensors file and no function is named.
    """
    if path.is_file() and not is_safetensors(path):
        if not model:
            raise QuantizeError(f"{path}: must say what network it is of, but is no safetensors file; name its function with --model")
        return OpenedCheckpoint(path, open_model(model, weights=path, arguments=arguments), {})
    metadata = read_tensors(path)[1]
    if "history" in metadata:  # only pruned networks have one
        pruned = load_pruned(path, make_model(model, arguments) if model else None)
        return OpenedCheckpoint(path, pruned.model, metadata, pruned)
    network = open_model(model, weights=path, arguments=arguments) if model else load_checkpoint(path)[0]
    return OpenedCheckpoint(path, network, metadata)


def printable(name: str) -> str:
    """Return a class's name, which may be a folder's, without what is no text."""
    return "".join(character if character.isprintable() else "?" for character in name)


def listed(names: Sequence[str]) -> str:
    """Return the first few of ``names``, for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
