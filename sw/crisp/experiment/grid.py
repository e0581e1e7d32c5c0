"""From an experiment to its runs: every combination once, each with a key that everything which determines it goes into."""

import dataclasses
import fnmatch
import functools
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crisp.arch import Config
from crisp.data import Dataset, choose_classes, draw_classes
from crisp.prune import PruneOptions

from .errors import ExperimentError
from .fields import nearest
from .levels import Level
from .methods import DENSE
from .spec import ClassSets, Experiment, Grid

__all__ = ["Run", "expand", "filter_runs"]

#: What a filter may name.
FILTERS = ("network", "classes", "method", "level", "pattern", "block", "seed")

#: Raised when a run comes to mean something else, so that what was done before is done again.
REVISION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One network, pruned once.

    Parameters
    ----------
    network, class_set, method : str
        Names.
    labels : tuple of int
        The user's classes.
    level : Level, optional
        How far it is pruned; none where it is not.
    options : PruneOptions
        Settings, but for the level.
    seed : int
        Source of everything random.
    description : dict
        All that determines the result, as JSON has it.
    """

    network: str
    class_set: str
    labels: tuple[int, ...]
    method: str
    level: Level | None
    options: PruneOptions
    seed: int
    description: dict[str, Any]

    @property
    def key(self) -> str:
        """Name of its files: what a reader knows it by, and a digest."""
        digest = hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.network}-{self.class_set}-{self.method}-{self.level_text}-{self.seed}-{digest}"

    @property
    def level_text(self) -> str:
        """The level in a word."""
        return "whole" if self.level is None else str(self.level)

    @property
    def pattern_text(self) -> str:
        """N:M of its options."""
        return f"{self.options.n}:{self.options.group}"

    @property
    def words(self) -> dict[str, str]:
        """What filters look at."""
        values = (self.network, self.class_set, self.method, self.level_text, self.pattern_text, str(self.options.block), str(self.seed))
        return dict(zip(FILTERS, values, strict=True))

    def __str__(self) -> str:
        return f"{self.network}, {self.class_set}, {self.method}, {self.level_text}, seed {self.seed}"


def expand(experiment: Experiment, dataset: Dataset) -> list[Run]:
    """Return the runs of an experiment, each once, in an order in which what belongs together comes together.

    Seeds and class sets go round slowest, so that an experiment that is stopped early has all methods for some of them; the dense network,
    with which the others are compared, comes first, and is there also where no grid names it.

    Raises
    ------
    DataError
        When the data set has no such classes.
    ExperimentError
        When settings contradict each other.
    """
    data = dataset.describe()
    found: dict[str, Run] = {}
    order: dict[str, tuple[int, int, int]] = {}
    for number, grid in enumerate(experiment.grids):
        for seed_number, seed in enumerate(grid.seeds):
            for set_number, (class_set, labels) in enumerate(sets_of(experiment, grid, dataset)):
                for run in cells(experiment, grid, data, seed, class_set, labels):
                    if run.key not in found:
                        found[run.key], order[run.key] = run, (seed_number, set_number, number)
    return sorted(found.values(), key=lambda run: order[run.key])


def sets_of(experiment: Experiment, grid: Grid, dataset: Dataset) -> list[tuple[str, tuple[int, ...]]]:
    """Return the sets of classes of a grid, with their names; the first of every kind come first."""
    each = [name_sets(experiment.classes[name], dataset) for name in grid.classes]
    return [found for row in itertools.zip_longest(*each) for found in row if found is not None]


def name_sets(classes: ClassSets, dataset: Dataset) -> list[tuple[str, tuple[int, ...]]]:
    """Return the labels of sets of classes, with their names."""
    explicit = [(str(number), choose_classes(words, dataset)) for number, words in enumerate(classes.sets, 1)]
    drawn = [(str(seed), draw_classes(dataset, classes.count, seed)) for seed in classes.seeds]
    return [(f"{classes.name}-{suffix}", labels) for suffix, labels in explicit + drawn]


def cells(experiment: Experiment, grid: Grid, data: dict[str, Any], seed: int, class_set: str, labels: tuple[int, ...]) -> Iterator[Run]:
    """Yield the runs of one seed and one set of classes."""
    for network in grid.networks:
        for method in with_dense(experiment, grid):
            has_level = experiment.method(method).method.has_level
            axes = itertools.product(grid.patterns or (None,), grid.blocks or (None,), grid.levels if has_level else (None,))
            for pattern, block, level in axes:
                options = experiment.prune_options(network, method, pattern, block, seed)
                if len(labels) < options.head.least_classes:
                    raise ExperimentError(f"{class_set} must have two classes at least with a reduced head, not one; ask for head = 'full'")
                yield Run(
                    network=network,
                    class_set=class_set,
                    labels=labels,
                    method=method,
                    level=level,
                    options=options,
                    seed=seed,
                    description=describe(experiment, data, network, labels, method, level, options),
                )


def with_dense(experiment: Experiment, grid: Grid) -> list[str]:
    """Return the methods of a grid, the dense ones first; with the library's where it has none."""
    dense = [name for name in grid.methods if experiment.method(name).method is DENSE]
    return list(dict.fromkeys((*(dense or [DENSE.name]), *grid.methods)))


def describe(
    experiment: Experiment,
    data: dict[str, Any],
    network: str,
    labels: Sequence[int],
    method: str,
    level: Level | None,
    options: PruneOptions,
) -> dict[str, Any]:
    """Return all that determines a run, as JSON has it.

    Of settings those that are not the library's; `crisp.experiment.state` sees to the others.
    """
    defaults = PruneOptions().to_dict()
    choice, kind = experiment.networks[network], experiment.method(method).method
    return {
        "revision": REVISION,
        "data": data,
        "network": {name: value for name, value in dataclasses.asdict(choice).items() if name not in ("name", "options", "checkpoint")},
        "weights": digest(choice.checkpoint) if choice.checkpoint else "",
        "classes": list(labels),
        "method": kind.name,
        **({"method_revision": kind.revision} if kind.revision else {}),
        "level": None if level is None else [level.kind.value, level.value],
        "options": {name: value for name, value in options.to_dict().items() if defaults.get(name) != value and name != "config"},
        "config": dataclasses.asdict(Config.load(experiment.config)),
        "split": experiment.split,
        "calibration_images": experiment.calibration_images,
    }


@functools.lru_cache
def digest(checkpoint: str) -> str:
    """Return the digest of a file of weights.

    Raises
    ------
    ExperimentError
        When it is absent.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise ExperimentError(f"checkpoint must be a file, but {checkpoint} is none; put it there, or leave the key out and it is trained")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def filter_runs(runs: Sequence[Run], filters: Sequence[str]) -> list[Run]:
    """Return the runs that fit filters.

    Parameters
    ----------
    runs : sequence of Run
        Runs.
    filters : sequence of str
        ``name=value`` each, where the value may have * and ?. Of several with one name one must fit; of each name one must.

    Raises
    ------
    ExperimentError
        When a filter is none, or nothing fits.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        name, sign, value = text.partition("=")
        if not sign or name not in FILTERS:
            raise ExperimentError(f"a filter must be name=value with one of {', '.join(FILTERS)}, not {text!r}; {nearest(name, FILTERS)}")
        wanted.setdefault(name, []).append(value)
    chosen = [
        run for run in runs if all(any(fnmatch.fnmatchcase(run.words[name], value) for value in values) for name, values in wanted.items())
    ]
    if not chosen:
        seen = "; ".join(f"{name}: {', '.join(dict.fromkeys(run.words[name] for run in runs))}" for name in wanted)
        raise ExperimentError(f"filters must fit at least one run, but {', '.join(filters)} fit none; there are {seen}")
    return chosen
