"""What single settings are worth: an experiment's own variants of ours, each compared with the defaults it differs from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .methods import METHODS, OURS
from .records import Record, by, reached
from .state import changed_settings, settings_words
from .statistics import Comparison, compare, comparison_key

__all__ = ["Trial", "find_trials"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A variant of ours.

    Parameters
    ----------
    network, name : str
        Network, and what the experiment calls the variant.
    changes : mapping
        Settings that differ from the defaults, by name.
    gain : Comparison
        Points that it is ahead of the defaults, over all class sets.
    by_classes : mapping
        The same for each class set by itself.
    speedup, sparsity : float
        Of the networks that came out, mean: how many times as fast as dense, and the share of the pruned layers' weights that is zero.
    """

    network: str
    name: str
    changes: Mapping[str, Any]
    gain: Comparison
    by_classes: Mapping[tuple[str, ...], Comparison]
    speedup: float
    sparsity: float

    @property
    def text(self) -> str:
        """The settings that differ, as an experiment file has them."""
        return ", ".join(settings_words(self.changes))


def find_trials(records: Sequence[Record]) -> list[Trial]:
    """Return the variants of ours, the best of each network first.

    Parameters
    ----------
    records : sequence of mapping
        Records, as `crisp.experiment.records.collect` gives them. Only those are compared that have a run of the defaults with the same
        network, level, classes and seed.
    """
    found = []
    for network, cell in by(reached(records), lambda record: record["network"]).items():
        methods = by((record for record in cell if record["base_method"] == OURS), lambda record: record["method"])
        defaults = methods.pop(OURS, [])
        pairs = {comparison_key(record) for record in defaults}
        for name, every in methods.items():
            mine = [record for record in every if comparison_key(record) in pairs]
            if name not in METHODS and mine:
                found.append(trial(network, name, mine, defaults))
    return sorted(found, key=lambda trial: (trial.network, -trial.gain.seeds.mean))


def trial(network: str, name: str, mine: Sequence[Record], defaults: Sequence[Record]) -> Trial:
    """Compare a variant with the defaults."""

    def against(chosen: Sequence[Record]) -> Comparison:
        return compare([*chosen, *defaults], lambda record: record["method"] == name, lambda record: record["method"] == OURS)

    return Trial(
        network=network,
        name=name,
        changes=changed_settings(mine[0]["options"], defaults[0]["options"]),
        gain=against(mine),
        by_classes={classes: against(cell) for classes, cell in sorted(by(mine, class_set).items())},
        speedup=float(np.mean([record["cycles_dense"] / record["cycles"] for record in mine])),
        sparsity=float(np.mean([record["sparsity"] for record in mine])),
    )


def class_set(record: Record) -> tuple[str, ...]:
    """Return the classes of a record."""
    return tuple(record["classes"])
