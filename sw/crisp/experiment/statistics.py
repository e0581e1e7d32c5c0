"""What differences between methods mean: paired by class set and seed, with intervals that hold the true mean 95 times of 100.

A pair is one class set and one seed: both methods began with the same weights, saw the same images in the same order (channels excepted,
each of whose iterations is a training of its own), and were judged by the same images; so what class set and seed do to both cancels out.
Four intervals of the mean difference answer two questions. Is one method better for these class sets, whatever the seed?

- ``seeds``: class sets taken as they are, each with a mean and a spread of its own: the mean of the sets' means, ``+- t(f) sqrt(v)`` with
  ``v = sum v_i``, ``v_i = s_i^2 / (n_i k^2)`` for k sets of n_i pairs with standard deviation s_i, and F. E. Satterthwaite's degrees of
  freedom, ``f = v^2 / sum (v_i^2 / (n_i - 1))``, Biometrics Bulletin 2 (1946); B. L. Welch, Biometrika 34 (1947). Nothing is assumed of how
  sets differ. Claims of this project rest on it.

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
#: Of the quadrature: places in -1 to 1, and their weights.
NODES = np.polynomial.legendre.leggauss(64)


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


def t_quantile(degrees: float, level: float = LEVEL) -> float:
    """Return the number that Student's t stays between, plus and minus, with probability ``level``; infinity with less than one degree.

    By halving of `t_probability`.
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


def t_probability(angle: float, degrees: float) -> float:
    """Return the probability that t lies between plus and minus tan(angle) sqrt(degrees).

    Which is ``2 G((f + 1) / 2) / (sqrt(pi) G(f / 2))`` times the integral of cos^(f - 1) from 0 to the angle, for f degrees of freedom and
    Euler's gamma function G; by Gauss's quadrature.
    """
    places, weights = NODES
    integral = angle / 2 * float(weights @ np.cos(angle / 2 * (places + 1)) ** (degrees - 1))
    return 2 / math.sqrt(math.pi) * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) * integral


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
    """Return the mean of the means of class sets that are taken as they are, with the interval of what seeds do; see the module."""
    sets = [np.array(values) for values in by_cluster(samples).values()]
    mean = t_interval([float(values.mean()) for values in sets]).mean
    if any(len(values) < 2 for values in sets):
        return Interval(mean, -math.inf, math.inf)
    parts = [float(values.var(ddof=1)) / len(values) / len(sets) ** 2 for values in sets]
    if not any(parts):
        return Interval(mean, mean, mean)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, sets, strict=True))
    half = t_quantile(freedom) * math.sqrt(sum(parts))
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


def comparison_key(record: Record) -> tuple[Any, ...]:
    """Return what two records have in common that are a pair: the cell, classes, seed, and what else decides what there is to lose."""
    return cell_key(record), pair_key(record)


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
        When there is no pair, or a method has several runs of one.
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
    found: dict[tuple[Any, ...], Record] = {}
    for record in records:
        key = comparison_key(record)
        if key in found:
            raise ExperimentError(
                f"a method must have one run for the same network, level, classes and seed, but {record['method']} has several; "
                f"tell those of different patterns apart by `crisp.experiment.records.separate`"
            )
        found[key] = record
    return found
