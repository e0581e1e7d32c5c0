"""What differences between methods mean: paired by class set and seed, with intervals that hold the true mean 95 times of 100.

A pair is one class set and one seed: both methods began with the same weights, saw the same images in the same order, and were judged by
the same images; so what class set and seed do to both cancels out. Four intervals of the mean difference answer two questions. Is one
method better for these class sets, whatever the seed?

- ``seeds``: Student's, class sets taken as they are: ``mean +- t(n - k) s / sqrt(n)`` with n pairs and k sets, where ``s^2`` is the mean
  square of the differences from the means of their sets. Nothing is assumed of how sets differ. Claims of this project rest on it.

Is it better for users that one has not seen?

- ``over_pairs``: Student's, over all pairs: ``mean +- t(n - 1) s / sqrt(n)``. It takes pairs for independent. Those of one class set are
  not, as far as a method suits some classes better than others; then it is too narrow for this question, and too wide for the first.
- ``clustered``: Student's over the means of the class sets, as many as there are sets. It holds whatever seeds have in common within a
  set; with three sets it is wide, t(2) being 4.3.
- ``bootstrap``: class sets are drawn with replacement, then in each its pairs (A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their
  Application", 1997, section 3.8); the middle 95% of the means. Between the two where sets are many, too narrow where they are few.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import ExperimentError
from .records import Record, pair_key, reached

__all__ = [
    "Comparison",
    "Interval",
    "Sample",
    "bootstrap_interval",
    "cell_key",
    "clustered_interval",
    "compare",
    "drops",
    "seed_interval",
    "t_interval",
    "t_quantile",
]

#: Draws of the bootstrap, and their seed.
DRAWS, SEED = 2000, 0
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean and where it may truly lie.

    Parameters
    ----------
    mean : float
        Mean.
    low, high : float
        Ends of the interval; minus and plus infinity where there are too few values to tell.
    """

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether it does not hold zero."""
        return self.low > 0 or self.high < 0

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


@dataclasses.dataclass(frozen=True)
class Sample:
    """A value of one pair.

    Parameters
    ----------
    cluster : tuple
        What pairs that are not independent have in common: the class set.
    value : float
        Value.
    """

    cluster: tuple[Any, ...]
    value: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How much better one method is than another.

    Parameters
    ----------
    pairs, sets : int
        Pairs, and class sets that they are of.
    seeds, over_pairs, clustered, bootstrap : Interval
        Mean difference, with four intervals; see the module.
    """

    pairs: int
    sets: int
    seeds: Interval
    over_pairs: Interval
    clustered: Interval
    bootstrap: Interval


def t_quantile(degrees: int, level: float = LEVEL) -> float:
    """Return the number that Student's t stays between, plus and minus, with probability ``level``; infinity without a degree of freedom.

    By halving, of the closed form for whole degrees of freedom: M. Abramowitz, I. Stegun, "Handbook of Mathematical Functions", 26.7.3-4.
    """
    if degrees < 1:
        return math.inf
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(degrees)
    for _ in range(60):
        middle = (low + high) / 2
        if t_probability(middle, degrees) < level:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(degrees)


def t_probability(angle: float, degrees: int) -> float:
    """Return the probability that t lies between plus and minus tan(angle) sqrt(degrees)."""
    cosine, term, total = math.cos(angle) ** 2, 1.0, 0.0
    odd = degrees % 2
    for number in range(degrees // 2):
        total += term
        term *= cosine * (2 * number + 1 + odd) / (2 * number + 2 + odd)
    return 2 / math.pi * (angle + math.sin(angle) * math.cos(angle) * total) if odd else math.sin(angle) * total


def t_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values with Student's interval."""
    if not values:
        raise ExperimentError("a mean must be of at least one value, not none; do more runs")
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = t_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def clustered_interval(samples: Sequence[Sample]) -> Interval:
    """Return the mean of the class sets' means with Student's interval over class sets."""
    return t_interval([float(np.mean(values)) for values in by_cluster(samples).values()])


def seed_interval(samples: Sequence[Sample]) -> Interval:
    """Return the mean over class sets that are taken as they are, with the interval of what seeds do: ``mean +- t(n - k) s / sqrt(n)``.

    With k sets and n values, ``s^2`` is the mean square of the differences from the means of their sets, over n - k.
    """
    values = list(by_cluster(samples).values())
    mean, count = t_interval([value for found in values for value in found]).mean, sum(len(found) for found in values)
    freedom = count - len(values)
    if not freedom:
        return Interval(mean, -math.inf, math.inf)
    squares = sum(len(found) * float(np.var(found)) for found in values)
    half = t_quantile(freedom) * math.sqrt(squares / freedom / count)
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(samples: Sequence[Sample]) -> Interval:
    """Return the mean with the interval of the hierarchical bootstrap; seeded."""
    clusters = [np.array(values) for values in by_cluster(samples).values()]
    mean = float(np.mean([sample.value for sample in samples]))
    if len(clusters) < 2:
        return Interval(mean, -math.inf, math.inf)
    random = np.random.default_rng(SEED)
    means = []
    for _ in range(DRAWS):
        drawn = [clusters[number] for number in random.integers(0, len(clusters), len(clusters))]
        means.append(np.concatenate([values[random.integers(0, len(values), len(values))] for values in drawn]).mean())
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(low), float(high))


def by_cluster(samples: Iterable[Sample]) -> dict[tuple[Any, ...], list[float]]:
    """Return values by their class sets."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for sample in samples:
        found.setdefault(sample.cluster, []).append(sample.value)
    return found


def cell_key(record: Record) -> tuple[Any, ...]:
    """Return what records have in common that are one cell of a table but for method: network, machine, images and level."""
    level = record["level"]
    return record["network"], record["config"], record["split"], None if level is None else (level["kind"], level["value"])


def drops(records: Iterable[Record], field: str = "top1_float") -> list[Sample]:
    """Return by how many points accuracy is below that of the dense network fine-tuned for the same classes with the same seed."""
    return [Sample(tuple(record["classes"]), 100 * (record["top1_dense"] - record[field])) for record in reached(records)]


def compare(
    records: Iterable[Record], better: Callable[[Record], bool], worse: Callable[[Record], bool], field: str = "top1_float"
) -> Comparison:
    """Return by how many points one method is better than another at the same levels.

    Parameters
    ----------
    records : iterable of mapping
        Records.
    better, worse : callable
        Tell whether a record is of the one or of the other method.
    field : str
        Which accuracy.

    Raises
    ------
    ExperimentError
        When there is no pair.
    """
    usable = reached(records)
    one, other = (index(record for record in usable if choose(record)) for choose in (better, worse))
    samples = [Sample(tuple(one[key]["classes"]), 100 * (one[key][field] - other[key][field])) for key in one.keys() & other.keys()]
    samples.sort(key=lambda sample: (sample.cluster, sample.value))
    if not samples:
        raise ExperimentError(
            "methods must have a run in common, with the same network, level, classes and seed, but have none; do more runs"
        )
    return Comparison(
        pairs=len(samples),
        sets=len(by_cluster(samples)),
        seeds=seed_interval(samples),
        over_pairs=t_interval([sample.value for sample in samples]),
        clustered=clustered_interval(samples),
        bootstrap=bootstrap_interval(samples),
    )


def index(records: Iterable[Record]) -> Mapping[tuple[Any, ...], Record]:
    """Return records by cell and pair."""
    return {(cell_key(record), pair_key(record)): record for record in records}
