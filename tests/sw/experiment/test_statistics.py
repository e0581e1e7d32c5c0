import dataclasses
import math

import numpy as np
import pytest
from tests.sw.experiment.made import made_records

from crisp.experiment import ExperimentError
from crisp.experiment.records import separate
from crisp.experiment.statistics import (
    Sample,
    bootstrap_interval,
    clustered_interval,
    compare,
    drops,
    seed_interval,
    t_interval,
    t_quantile,
)

#: From tables: W. S. Gosset's t, two-sided.
QUANTILES = {
    (1, 0.95): 12.7062,
    (2, 0.95): 4.3027,
    (3, 0.95): 3.1824,
    (8, 0.95): 2.3060,
    (26, 0.95): 2.0555,
    (120, 0.95): 1.9799,
    (5, 0.99): 4.0321,
}


@pytest.mark.parametrize(("degrees", "level"), QUANTILES)
def test_quantiles_are_those_of_tables(degrees, level):
    assert t_quantile(degrees, level) == pytest.approx(QUANTILES[degrees, level], abs=5e-5)


@pytest.mark.parametrize("degrees", [1.5, 2.5, 7.25])
def test_quantiles_between_those_of_tables(degrees):
    """By sums over the density of Student's t."""
    places = np.linspace(0, t_quantile(degrees), 200_001)
    scale = math.gamma((degrees + 1) / 2) / math.gamma(degrees / 2) / math.sqrt(degrees * math.pi)
    assert 2 * scale * np.trapezoid((1 + places**2 / degrees) ** (-(degrees + 1) / 2), places) == pytest.approx(0.95, abs=1e-6)


def test_too_few_values_tell_nothing():
    assert t_quantile(0) == math.inf
    assert t_interval([3.0]).low == -math.inf
    assert not t_interval([3.0]).is_clear
    assert bootstrap_interval([Sample(("a",), 1.0), Sample(("a",), 2.0)]).high == math.inf
    with pytest.raises(ExperimentError, match="a mean must be of at least one value, not none"):
        t_interval([])


def test_interval_of_a_few_numbers():
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert not interval.is_clear


def draw(random, sets, seeds, between, within):
    return [
        Sample((number,), shift + random.normal(scale=within))
        for number in range(sets)
        for shift in [1 + random.normal(scale=between)]
        for _ in range(seeds)
    ]


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    """With class sets that differ, 95 of 100 clustered intervals hold it; Student's over all pairs are too narrow."""
    random = np.random.default_rng(1)
    draws = [draw(random, sets=4, seeds=3, between=1.0, within=0.2) for _ in range(400)]
    clustered, plain = ([holds(interval(samples)) for samples in draws] for interval in (clustered_interval, pairs_interval))
    assert 0.92 < np.mean(clustered) < 0.98
    assert np.mean(plain) < 0.85
    alike = [draw(random, sets=4, seeds=3, between=0.0, within=1.0) for _ in range(400)]
    assert 0.92 < np.mean([holds(pairs_interval(samples)) for samples in alike]) < 0.98


def test_interval_over_seeds_leaves_aside_how_hard_class_sets_are():
    random = np.random.default_rng(3)
    samples = draw(random, sets=3, seeds=3, between=10.0, within=1.0)
    shifts = {cluster: random.normal(scale=10.0) for cluster in {sample.cluster for sample in samples}}
    moved = [Sample(sample.cluster, sample.value + shifts[sample.cluster]) for sample in samples]
    assert seed_interval(moved).half == pytest.approx(seed_interval(samples).half)
    one_set = [Sample(("a",), value) for value in (1.0, 2.0, 4.0)]
    assert seed_interval(one_set).half == pytest.approx(t_interval([1.0, 2.0, 4.0]).half)
    assert seed_interval([Sample((number,), 1.0) for number in range(3)]).high == math.inf
    assert seed_interval([*one_set, Sample(("b",), 1.0)]).high == math.inf  # of one run no spread is known
    assert seed_interval([Sample((number // 2,), 3.0) for number in range(4)]).half == 0


def test_class_sets_count_alike_however_many_seeds_they_have():
    samples = [Sample(("a",), value) for value in (0.0, 0.2, 0.1)] + [Sample(("b",), value) for value in (10.0, 10.2)]
    assert seed_interval(samples).mean == pytest.approx(5.1)


@pytest.mark.parametrize(
    ("seeds", "spreads"), [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (0.1, 0.2, 3.0)), ((3, 3, 2), (0.1, 0.2, 3.0)), ((3, 3, 2), (0.2, 0.2, 0.6))]
)
def test_interval_over_seeds_holds_whatever_the_spreads(seeds, spreads):
    """With one spread for all class sets it would be 87 times of 100 in the second case, and 75 in the third."""
    random, inside = np.random.default_rng(4), []
    for _ in range(1000):
        values = [(number, random.normal(scale=spread)) for number, spread in enumerate(spreads) for _ in range(seeds[number])]
        interval = seed_interval([Sample((number,), value) for number, value in values])
        inside.append(interval.low <= 0 <= interval.high)
    assert np.mean(inside) > 0.9


def pairs_interval(samples):
    return t_interval([sample.value for sample in samples])


def holds(interval):
    return interval.low <= 1 <= interval.high


def test_bootstrap_knows_of_class_sets_and_repeats():
    random = np.random.default_rng(2)
    samples = draw(random, sets=20, seeds=3, between=1.0, within=0.1)
    boot = bootstrap_interval(samples)
    assert boot == bootstrap_interval(samples)
    assert boot.half == pytest.approx(clustered_interval(samples).half, rel=0.25)
    assert boot.half > 1.2 * pairs_interval(samples).half


def test_several_runs_of_one_method_are_not_compared():
    records = made_records(networks=("resnet20",), sizes=(3,), values=(0.9,))
    doubled = [*records, *({**record, "block": 32} for record in records if record["method"] == "hybrid")]
    with pytest.raises(ExperimentError, match="but hybrid has several; tell those of different patterns apart by"):
        compare(doubled, is_method("hybrid"), is_method("crisp"))
    assert compare(separate(doubled), is_method("hybrid"), is_method("crisp")) == compare(records, is_method("hybrid"), is_method("crisp"))
    assert compare(separate(doubled), is_method("hybrid B=32"), is_method("hybrid")).seeds.mean == 0


def is_method(name):
    return lambda record: record["method"] == name


def test_differences_are_paired():
    records = made_records(networks=("resnet20",), sizes=(3,), values=(0.9,))
    result = compare(records, is_method("hybrid"), is_method("crisp"))
    by_pair = {(record["class_set"], record["seed"], record["method"]): record["top1_float"] for record in records}
    differences = [100 * (value - by_pair[name, seed, "crisp"]) for (name, seed, method), value in by_pair.items() if method == "hybrid"]
    assert result.seeds.mean == pytest.approx(np.mean(differences))
    assert (result.pairs, result.sets) == (9, 3)
    assert result.seeds.is_clear
    assert compare(records, is_method("crisp"), is_method("hybrid")).seeds.mean == pytest.approx(-result.seeds.mean)


def test_drop_is_against_the_dense_network_of_the_same_classes_and_seed():
    records = made_records(networks=("resnet20",), sizes=(2,), values=(0.9,))
    dense = {(record["class_set"], record["seed"]): record["top1_float"] for record in records if record["method"] == "dense"}
    chosen = [record for record in records if record["method"] == "hybrid"]
    wanted = [100 * (dense[record["class_set"], record["seed"]] - record["top1_float"]) for record in chosen]
    assert [sample.value for sample in drops(chosen)] == pytest.approx(wanted)
    assert drops(record for record in records if record["method"] == "nm") == []


def test_methods_without_a_common_run():
    records = made_records(networks=("resnet20",), sizes=(2,), values=(0.9,))
    with pytest.raises(ExperimentError, match="methods must have a run in common"):
        compare(records, is_method("hybrid"), is_method("nm"))
    assert dataclasses.is_dataclass(compare(records, is_method("hybrid"), is_method("block")))
