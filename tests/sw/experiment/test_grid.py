import dataclasses

import numpy as np
import pytest
from tests.sw.experiment.small import small
from tests.sw.small import striped_dataset

from crisp.data import DataError, Normalization
from crisp.experiment import ExperimentError, expand, filter_runs
from crisp.experiment.methods import METHODS
from crisp.prune import PruneOptions


def words(run):
    return run.network, run.class_set, run.method, run.level_text, run.seed


def test_every_combination_is_there_once():
    runs = expand(small(), striped_dataset())
    wanted = {("net", "two-1", "crisp", "sparsity-0.6", 1), ("net", "two-1", "crisp", "sparsity-0.8", 1)}
    wanted |= {("net", "two-1", "nm", "sparsity-0.6", 1), ("net", "two-1", "nm", "sparsity-0.8", 1)}
    for seed in (1, 2):
        for name in ("two-1", "drawn-1", "drawn-2"):
            wanted |= {("net", name, "dense", "whole", seed), ("net", name, "mine", "cycles-of-0.6", seed)}
    assert {words(run) for run in runs} == wanted
    assert len(runs) == len(wanted) == len({run.key for run in runs})
    assert {run.labels for run in runs if run.class_set == "two-1"} == {(3, 1)}


def test_dense_comes_first_and_seeds_go_round_slowest():
    runs = [words(run) for run in expand(small(), striped_dataset())]
    assert runs[0] == ("net", "two-1", "dense", "whole", 1)
    seeds = [run[-1] for run in runs]
    assert seeds == sorted(seeds)


def test_grid_with_a_dense_network_of_its_own_has_no_other():
    experiment = small("methods.dense-full", {"base": "dense", "options": {"head": "full"}})
    grid = dataclasses.replace(experiment.grids[0], methods=("crisp", "dense-full"))
    runs = expand(dataclasses.replace(experiment, grids=(grid,)), striped_dataset())
    assert [run.method for run in runs] == ["dense-full", "crisp", "crisp"]


def test_axes_that_a_method_does_not_have_make_no_more_runs():
    runs = expand(small("grid.0.blocks", [16, 32]), striped_dataset())
    assert sum(run.method == "dense" and words(run)[1:2] == ("two-1",) and run.seed == 1 for run in runs) == 1
    assert sum(run.method == "crisp" for run in runs) == 4


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("split", "validation"),
        ("calibration_images", 32),
        ("config", "edge"),
        ("options.learning_rate", 0.03),
        ("networks.net.epochs", 2),
        ("networks.net.seed", 2),
    ],
)
def test_whatever_determines_a_run_is_in_its_key(path, value):
    plain, changed = (next(run.key for run in expand(experiment, striped_dataset())) for experiment in (small(), small(path, value)))
    assert plain != changed
    assert plain.rpartition("-")[0] == changed.rpartition("-")[0]


def test_a_method_that_comes_to_mean_something_else_is_done_again_alone(monkeypatch):
    before = {run.method: run.key for run in expand(small(), striped_dataset())}
    monkeypatch.setitem(METHODS, "nm", dataclasses.replace(METHODS["nm"], revision=METHODS["nm"].revision + 1))
    after = {run.method: run.key for run in expand(small(), striped_dataset())}
    assert {name for name in before if before[name] != after[name]} == {"nm"}


def test_data_is_in_the_key_and_what_does_not_matter_is_not():
    key = expand(small(), striped_dataset())[0].key
    assert expand(small(), striped_dataset(count=200))[0].key != key
    data, pixels = striped_dataset(), striped_dataset().train.images.copy()
    pixels[5, 3, 3] ^= 1
    for change in (
        {"name": "others"},
        {"classes": ("a", "b", "c", "stripe 3")},
        {"train": dataclasses.replace(data.train, images=pixels)},
        {"train": dataclasses.replace(data.train, normalization=Normalization((1.0,), (2.0,)))},
        {"test": data.test.relabel(data.test.labels[::-1].copy())},
        {"validation": data.test},
        {"train": dataclasses.replace(data.train, images=np.pad(data.train.images, ((0, 0), (2, 2), (2, 2))))},
    ):
        experiment = small("classes.two.sets", [[3, 1]])
        assert expand(experiment, dataclasses.replace(data, **change))[0].key != expand(experiment, data)[0].key, change
    assert expand(small("options.weight_decay", PruneOptions().weight_decay), striped_dataset())[0].key == key
    assert expand(dataclasses.replace(small(), name="other"), striped_dataset())[0].key == key


def test_filters():
    runs = expand(small(), striped_dataset())
    assert {words(run)[2:4] for run in filter_runs(runs, ["method=crisp", "level=*-0.8"])} == {("crisp", "sparsity-0.8")}
    assert {run.method for run in filter_runs(runs, ["method=n?", "method=dense", "seed=1"])} == {"nm", "dense"}
    assert filter_runs(runs, []) == runs
    with pytest.raises(ExperimentError, match=r"a filter must be name=value with one of network, .*, not 'methud=a'; did you"):
        filter_runs(runs, ["methud=a"])
    with pytest.raises(ExperimentError, match=r"filters must fit at least one run, but method=x fit none; there are method: dense, crisp"):
        filter_runs(runs, ["method=x"])


def test_classes_that_do_not_exist():
    with pytest.raises(DataError, match="classes must be numbers or names"):
        expand(small("classes.two.sets", [["sock", 1]]), striped_dataset())
    with pytest.raises(DataError, match="number of user classes must be from 1 to 4"):
        expand(small("classes.drawn.count", 5), striped_dataset())


def test_checkpoint_must_be_there(tmp_path):
    with pytest.raises(ExperimentError, match=r"checkpoint must be a file, but none\.pth is none"):
        expand(small("networks.net.checkpoint", "none.pth"), striped_dataset())
