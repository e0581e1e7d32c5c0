"""Experiment files: TOML in, frozen settings out, every key checked before anything is trained."""

import itertools
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from crisp.arch import Config, ConfigError
from crisp.models import ARCHITECTURES
from crisp.prune import PruneError, PruneOptions

from .errors import ExperimentError
from .fields import Fields, nearest
from .levels import Level, LevelKind
from .methods import DENSE, find_method
from .spec import ClassSets, DataChoice, Experiment, Grid, MethodChoice, NetworkChoice

__all__ = ["load_experiment", "read_experiment"]

#: Settings that the grid decides, so that no table of options may.
DECIDED = ("sparsity", "cycles", "config", "seed")
SPLITS = ("validation", "test")

#: Keys of a grid that list levels, and what such a level counts.
LEVELS = {"sparsities": LevelKind.SPARSITY, "cycles": LevelKind.CYCLES, "cycles_of_sparsity": LevelKind.UNIFORM}


def load_experiment(path: Path) -> Experiment:
    """Read an experiment file.

    Raises
    ------
    ExperimentError
        When it is absent or no TOML, or a key or a value breaks a rule.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ExperimentError(
            f"{path}: must be an experiment file, but cannot be read ({error.strerror}); see docs/experiments.md"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path}: must be TOML, but {error}") from error
    return read_experiment(table, path)


def read_experiment(table: Mapping[str, Any], path: Path) -> Experiment:
    """Check what an experiment file says; see `load_experiment`."""
    fields = Fields(dict(table), str(path))
    name = fields.take("name", str, None, lambda text: text.replace("-", "").replace("_", "").isalnum(), "letters, digits, - and _")
    config = fields.take("config", str, "default")
    try:
        machine = Config.load(config)
    except ConfigError as error:
        raise ExperimentError(f"{path}: {error}") from error
    options = read_options(fields, {})
    networks = {key: read_network(key, each, options) for key, each in fields.take_tables("networks").items()}
    classes = {key: read_classes(key, each) for key, each in fields.take_tables("classes").items()}
    methods = {key: read_method(key, each, networks, options) for key, each in fields.take_tables("methods").items()}
    grids = fields.take("grid", list, None, bool, "a list of at least one table, [[grid]]")
    experiment = Experiment(
        name=name,
        path=path,
        data=read_data(Fields(fields.take("data", dict, {}), f"{path}: data")),
        config=config,
        split=fields.take("split", str, None, lambda text: text in SPLITS, f"one of {', '.join(SPLITS)}"),
        calibration_images=fields.take("calibration_images", int, 512, at_least(1), "at least 1"),
        options=options,
        networks=networks,
        classes=classes,
        methods=methods,
        grids=tuple(read_grid(Fields(each, f"{path}: grid {number}"), networks, classes, methods) for number, each in enumerate(grids, 1)),
    )
    fields.finish()
    for grid in experiment.grids:
        axes = itertools.product(grid.networks, (*grid.methods, DENSE.name), grid.patterns or (None,), grid.blocks or (None,))
        for network, method, pattern, block in axes:
            group = experiment.prune_options(network, method, pattern, block, grid.seeds[0]).group
            if group != machine.group_size:
                raise ExperimentError(
                    f"{path}: {method} for {network}: M must be that of the machine {config!r}, {machine.group_size}, not {group}; "
                    f"choose another pattern, group or config"
                )
    return experiment


def read_data(fields: Fields) -> DataChoice:
    """Read which images."""
    data = DataChoice(
        source=fields.take("source", str, ""),
        size=fields.take("size", int, 224, at_least(1), "at least 1"),
        channels=fields.take("channels", int, 3, lambda number: number in (1, 3), "1 or 3"),
        labels=fields.take("labels", str, "fine", lambda text: text in ("fine", "coarse"), "fine or coarse"),
        train_images=fields.take("train_images", int, 0, at_least(0), "0 for all images, or their number"),
        test_images=fields.take("test_images", int, 0, at_least(0), "0 for all images, or their number"),
    )
    fields.finish()
    return data


def read_network(name: str, fields: Fields, shared: Mapping[str, Any]) -> NetworkChoice:
    """Read a network."""
    network = NetworkChoice(
        name=name,
        architecture=fields.take("architecture", str, name, lambda text: text in ARCHITECTURES, f"one of {', '.join(ARCHITECTURES)}"),
        width=fields.take("width", float, 1.0, lambda number: number > 0, "above 0"),
        checkpoint=fields.take("checkpoint", str, ""),
        epochs=fields.take("epochs", int, 10, at_least(1), "at least 1"),
        batch=fields.take("batch", int, 128, at_least(1), "at least 1"),
        learning_rate=fields.take("learning_rate", float, 0.2, lambda number: number > 0, "above 0"),
        seed=fields.take("seed", int, 1, at_least(0), "at least 0"),
        options=read_options(fields, shared),
    )
    fields.finish()
    return network


def read_classes(name: str, fields: Fields) -> ClassSets:
    """Read sets of classes: explicit, or drawn."""
    sets = fields.take("sets", list, [], lambda sets: all(isinstance(each, list) and each for each in sets), "a list of lists of classes")
    count = fields.take("count", int, 0, at_least(1), "at least 1")
    seeds = fields.take_list("seeds", int, (), at_least(0), "a seed of at least 0")
    fields.finish()
    if bool(sets) == bool(count) or bool(seeds) != bool(count):
        raise ExperimentError(f"{fields.place} must have either sets, or count and seeds")
    for each in sets:
        if not all(type(word) in (str, int) for word in each):
            raise ExperimentError(f"{fields.place}: sets must have names or numbers of classes, not {each!r}")
    return ClassSets(name=name, sets=tuple(tuple(each) for each in sets), count=count, seeds=seeds)


def read_method(name: str, fields: Fields, networks: Mapping[str, NetworkChoice], shared: Mapping[str, Any]) -> MethodChoice:
    """Read what differs in a method, or a new one that is based on it."""
    method = find_method(fields.take("base", str, name), fields.place)
    options, by_network = read_options(fields, {**shared, **method.options}), {}
    for network, each in fields.take_tables("networks").items():
        check_names((network,), networks, f"{fields.place}: networks")
        by_network[network] = check_options(each.left, each.place, {**shared, **networks[network].options, **method.options, **options})
    choice = MethodChoice(name=name, method=method, options=options, networks=by_network)
    fields.finish()
    return choice


def read_options(fields: Fields, before: Mapping[str, Any]) -> dict[str, Any]:
    """Read settings of pruning that come after those of ``before``."""
    return check_options(fields.take("options", dict, {}), f"{fields.place}: options", before)


def check_options(options: dict[str, Any], place: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings of pruning, together with those of ``before``, over which they count."""
    for name in options:
        if name in DECIDED:
            raise ExperimentError(
                f"{place}: {name} must not be among the options, since the grid or the experiment decides it; leave it out"
            )
    try:
        PruneOptions.from_dict({**before, **options})
    except PruneError as error:
        raise ExperimentError(f"{place}: {error}") from error
    return options


def read_grid(fields: Fields, networks: Collection[str], classes: Collection[str], methods: Mapping[str, MethodChoice]) -> Grid:
    """Read what is run with what."""
    levels: list[Level] = []
    for name, kind in LEVELS.items():
        is_sparsity = kind is not LevelKind.CYCLES
        rule = "at least 0 and below 1" if is_sparsity else "above 0 and at most 1"
        check = (lambda value: 0 <= value < 1) if is_sparsity else (lambda value: 0 < value <= 1)
        levels += [Level(kind, value) for value in fields.take_list(name, float, (), check, rule)]
    patterns = fields.take_list("patterns", str, (), lambda text: len(numbers(text)) == 2, "N:M, such as 2:4")
    grid = Grid(
        networks=check_names(fields.take_list("networks", str), networks, f"{fields.place}: networks"),
        classes=check_names(fields.take_list("classes", str), classes, f"{fields.place}: classes"),
        methods=fields.take_list("methods", str),
        levels=tuple(levels),
        seeds=fields.take_list("seeds", int, None, at_least(0), "a seed of at least 0"),
        patterns=tuple((numbers(text)[0], numbers(text)[1]) for text in patterns),
        blocks=fields.take_list("blocks", int, (), lambda number: number in (16, 32, 64), "16, 32 or 64"),
    )
    fields.finish()
    for name in ("networks", "classes", "methods", "seeds"):
        if not getattr(grid, name):
            raise ExperimentError(f"{fields.place}: {name} must name at least one, not none")
    for name in grid.methods:
        method = methods[name].method if name in methods else find_method(name, fields.place)
        if method.has_level and not levels:
            raise ExperimentError(f"{fields.place} must have one of {', '.join(LEVELS)}, since {name} prunes to a level")
    return grid


def check_names(names: tuple[str, ...], known: Collection[str], place: str) -> tuple[str, ...]:
    """Return names that must be among those that the file defines."""
    for name in names:
        if name not in known:
            raise ExperimentError(
                f"{place} must be among {', '.join(known) or 'none'}, which the file defines, not {name!r}; {nearest(name, known)}"
            )
    return names


def numbers(text: str) -> list[int]:
    """Return the numbers between colons; none where something else is there."""
    parts = text.split(":")
    return [int(part) for part in parts] if all(part.isascii() and part.isdecimal() for part in parts) else []


def at_least(least: int) -> Any:
    """Return a check."""
    return lambda number: number >= least
