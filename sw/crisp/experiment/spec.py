"""What an experiment is: images, networks, classes, methods, and the grids of what is run with what."""

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crisp.prune import PruneError, PruneOptions

from .errors import ExperimentError
from .levels import Level
from .methods import Method, find_method

__all__ = ["ClassSets", "DataChoice", "Experiment", "Grid", "MethodChoice", "NetworkChoice"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataChoice:
    """Which images.

    Parameters
    ----------
    source, size, channels, labels
        As `crisp.data.load_dataset` takes them; an empty source looks in the usual places.
    train_images, test_images : int
        Use only so many, drawn by a fixed seed; 0 for all.
    """

    source: str = ""
    size: int = 224
    channels: int = 3
    labels: str = "fine"
    train_images: int = 0
    test_images: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkChoice:
    """A network, and where its weights come from.

    Parameters
    ----------
    name : str
        What records call it.
    architecture : str
        One of `crisp.models.ARCHITECTURES`.
    width : float
        Factor of its channels.
    checkpoint : str
        Checkpoint of ours, or weights of others for the architecture; empty where the experiment trains it.
    epochs, batch, learning_rate, seed
        How it is trained where there is no checkpoint; see `crisp.train.TrainOptions`.
    options : mapping
        Settings of pruning for this network, whatever the method.
    """

    name: str
    architecture: str
    width: float = 1.0
    checkpoint: str = ""
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 0.2
    seed: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassSets:
    """Sets of user classes with a name in common.

    Parameters
    ----------
    name : str
        Name; its sets are called ``name-1``, ``name-2``, ..., or of drawn ones by their seeds.
    sets : tuple
        Explicit sets: names or numbers of classes.
    count : int
        Classes of a drawn set.
    seeds : tuple of int
        A drawn set for each.
    """

    name: str
    sets: tuple[tuple[str | int, ...], ...] = ()
    count: int = 0
    seeds: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodChoice:
    """A method as the experiment has it.

    Parameters
    ----------
    name : str
        What records call it.
    method : Method
        What it is.
    options : mapping
        Settings of pruning that differ from the method's.
    networks : mapping
        By network: settings that differ for that one besides.
    """

    name: str
    method: Method
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """What is run with what: all with all.

    Parameters
    ----------
    networks, classes, methods : tuple of str
        Names.
    levels : tuple of Level
        How far methods prune.
    seeds : tuple of int
        A run for each.
    patterns : tuple of tuple
        N and M of methods that have an N:M; empty takes the method's.
    blocks : tuple of int
        B of methods that have blocks; empty takes the method's.
    """

    networks: tuple[str, ...]
    classes: tuple[str, ...]
    methods: tuple[str, ...]
    levels: tuple[Level, ...]
    seeds: tuple[int, ...]
    patterns: tuple[tuple[int, int], ...] = ()
    blocks: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment.

    Parameters
    ----------
    name : str
        Name of its folder below ``build/experiments``.
    path : Path
        Its file.
    data : DataChoice
        Images.
    config : str
        Machine whose cycles are predicted: a preset, or a file.
    split : str
        Images that accuracy is measured on: ``validation`` to choose settings by, ``test`` for results.
    calibration_images : int
        Training images of the user's classes that int8 ranges are taken from.
    options : mapping
        Settings of pruning that all methods share, above all how they train.
    networks, classes, methods : mapping
        By name.
    grids : tuple of Grid
        What is run.
    """

    name: str
    path: Path
    data: DataChoice
    config: str
    split: str
    calibration_images: int
    options: Mapping[str, Any]
    networks: Mapping[str, NetworkChoice]
    classes: Mapping[str, ClassSets]
    methods: Mapping[str, MethodChoice]
    grids: tuple[Grid, ...]

    def method(self, name: str) -> MethodChoice:
        """Return a method of a grid: one of the file's, or one that it does not change."""
        return self.methods[name] if name in self.methods else MethodChoice(name=name, method=find_method(name, str(self.path)))

    def prune_options(self, network: str, method: str, pattern: tuple[int, int] | None, block: int | None, seed: int) -> PruneOptions:
        """Return the settings of a run without its level.

        Later ones count: the library's, the experiment's, the network's, the method's, what the file says of the method, and of the method
        for this network; then the grid's.

        Raises
        ------
        ExperimentError
            When one does not exist or breaks a rule.
        """
        choice = self.method(method)
        layers = (self.options, self.networks[network].options, choice.method.options, choice.options, choice.networks.get(network, {}))
        settings = dict(itertools.chain.from_iterable(layer.items() for layer in layers))
        settings |= {"config": self.config, "seed": seed}
        settings |= {} if pattern is None else {"n": pattern[0], "group": pattern[1]}
        settings |= {} if block is None else {"block": block}
        try:
            return choice.method.finish(PruneOptions.from_dict(settings))
        except PruneError as error:
            raise ExperimentError(f"{self.path}: {method} for {network}: {error}") from error
