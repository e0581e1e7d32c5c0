import dataclasses
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console
from tests.sw.experiment.small import PATH, small, table
from tests.sw.small import ROOT, striped_dataset

from crisp.arch import Config
from crisp.arch.errors import OutputError
from crisp.experiment import ExperimentError, ExperimentOptions, command, expand, pool, pruned, run_experiment, runner
from crisp.experiment.file import read_experiment
from crisp.experiment.locks import try_lock
from crisp.experiment.pool import run_all
from crisp.experiment.state import State
from crisp.models import accuracy, load_checkpoint, select_classes
from crisp.prune import PruneError, PruneOptions, prune

METHODS = ["unstructured", "nm", "block", "channel", "crisp", "crisp-random", "crisp-published", "hybrid-random", "hybrid"]
DATA = striped_dataset(side=16)
#: Networks that tests of this file train are trained once.
FOLDER = "experiments"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp(FOLDER)


def run(monkeypatch, folder, experiment, **options):
    """Run an experiment; return its records and what was printed."""
    monkeypatch.setattr(command, "load_experiment", lambda path: experiment)
    console = Console(file=io.StringIO(), width=200)
    records = run_experiment(ExperimentOptions(file=PATH, folder=folder, **options), console, dataset=DATA)
    return records, console.file.getvalue()


def grid(*methods, **levels):
    cells = {"networks": ["net"], "classes": ["two"], "methods": list(methods), "seeds": [1], **levels}
    return read_experiment({**table(), "grid": [cells]}, PATH)


def test_every_method_at_one_level(monkeypatch, folder):
    experiment = grid(*METHODS, sparsities=[0.7])
    records, text = run(monkeypatch, folder, experiment, output=folder / "output")
    by_method = {record["method"]: record for record in records}
    assert list(by_method) == sorted(["dense", *METHODS])
    assert json.loads((folder / "output/pruning.json").read_text()) == records
    assert "10 records" in text
    dense = by_method["dense"]
    (path,) = (folder / "networks").glob("*.safetensors")
    base = select_classes(load_checkpoint(path)[0], (3, 1))
    for record in records:
        assert record["classes"] == ["stripe 3", "stripe 1"]
        assert record["top1_base"] == accuracy(base, DATA.test.select((3, 1)))
        assert record["top1_dense"] == dense["top1_float"]
        assert record["cycles_dense"] == dense["cycles"]
        assert {"commit", "command", "seed", "seconds", "config", "split"} <= record.keys()
        assert 0 <= record["top1_int8"] <= 1
        assert record["method"] == "channel" or 0 < record["kept_share"] <= 1
    assert (dense["sparsity"], dense["macs_kept"], dense["pattern"]) == (0, 1, "dense")
    patterns = {"unstructured": "unstructured", "nm": "1:4", "block": "4:4", "crisp": "2:4"}
    assert {name: by_method[name]["pattern"] for name in patterns} == patterns
    for name in METHODS:
        assert by_method[name]["sparsity"] >= 0.7 - 1e-6
        assert by_method[name]["cycles"] <= dense["cycles"]
        assert by_method[name]["macs_kept"] < 0.8
    assert by_method["channel"]["pattern"] == "channels"
    kept = [[layer["kept_blocks"] for layer in by_method[name]["layers"]] for name in ("nm", "crisp")]
    assert kept[0] == [layer["blocks"] for layer in by_method["nm"]["layers"]]
    assert sum(kept[1]) < sum(kept[0])


@pytest.mark.parametrize("text", ['{"key": 1', "\xff", "[]", '{"options": []}'])
def test_record_of_a_run_that_is_none(tmp_path, text):
    state, run = State(tmp_path), expand(small(), DATA)[0]
    path = state.record_path(run)
    path.parent.mkdir()
    path.write_text(text, "latin-1")
    with pytest.raises(ExperimentError) as caught:
        state.read(run)
    assert str(caught.value) == f"{path}: must be the record of a run, not something damaged; delete it, and the run is done again"


def test_images_that_stand_in_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr("crisp.experiment.base.load_dataset", lambda source, *, tell, **options: tell(f"{source}: digits instead") or DATA)
    monkeypatch.setattr(command, "load_experiment", lambda path: small())
    console = Console(file=io.StringIO(), width=200)
    run_experiment(ExperimentOptions(file=PATH, folder=tmp_path, listed=True), console)
    assert console.file.getvalue().startswith("None: digits instead\n")


def test_equal_cycles(monkeypatch, folder):
    methods = ("block", "channel", "crisp-random", "hybrid-random", "hybrid")
    experiment = grid(*methods, cycles=[0.5])
    records, _ = run(monkeypatch, folder, experiment, only=[f"method={method}" for method in methods])
    assert {*methods} <= {record["method"] for record in records}
    for record in (each for each in records if each["level"]):
        assert 0.4 < record["cycles"] / record["cycles_dense"] <= 0.5
        assert record["cycles_asked"] == 0.5


def test_level_of_a_uniform_pattern_costs_what_it_costs(monkeypatch, folder):
    experiment = grid("hybrid", cycles_of_sparsity=[0.5])
    (record,) = (each for each in run(monkeypatch, folder, experiment)[0] if each["method"] == "hybrid")
    assert 0.3 < record["cycles_asked"] < 0.9
    assert record["cycles"] <= record["cycles_asked"] * record["cycles_dense"]


def test_level_out_of_reach_is_a_record_and_no_error(monkeypatch, folder):
    records, text = run(monkeypatch, folder, grid("nm", sparsities=[0.9]))
    (record,) = (each for each in records if each["method"] == "nm")
    assert "N:M alone must not be asked for more than 1:4 takes" in record["note"]
    assert record["top1_float"] is None
    assert record["top1_dense"] is not None
    assert "out of reach" in text
    records, _ = run(monkeypatch, folder, grid("channel", cycles=[0.01]))
    (record,) = (each for each in records if each["method"] == "channel")
    assert "channels" in record["note"] or "cycles" in record["note"]


def test_what_is_done_is_not_done_again(monkeypatch, folder):
    experiment = grid("crisp", sparsities=[0.65])
    first, _ = run(monkeypatch, folder, experiment)
    monkeypatch.setattr(pool, "execute", lambda *args: pytest.fail("must not run"))
    again, text = run(monkeypatch, folder, experiment)
    assert again == first
    assert "none of the chosen runs left" in text


def test_records_from_elsewhere_count_as_done(monkeypatch, folder, tmp_path):
    experiment = grid("crisp", sparsities=[0.65])
    first, _ = run(monkeypatch, folder, experiment, output=tmp_path / "results")
    monkeypatch.setattr(pool, "execute", lambda *args: pytest.fail("must not run"))
    known = tmp_path / "results" / "pruning.json"
    _, text = run(monkeypatch, tmp_path / "elsewhere", experiment, known=known, listed=True)
    assert "2 of 2 runs done" in text
    assert not (tmp_path / "elsewhere").exists()
    again, text = run(monkeypatch, tmp_path / "elsewhere", experiment, known=known)
    assert again == first
    assert "2 runs taken over" in text
    _, text = run(monkeypatch, tmp_path / "elsewhere", experiment, known=known)
    assert "0 runs taken over" in text  # what is here stays


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "records must be in a file, but it cannot be read"),
        ("[{", "records must be JSON, but are not"),
        ('{"a": 1}', "records must be a list of those that crisp experiment writes"),
        ('[{"network": "net"}]', "records must be a list of those that crisp experiment writes"),
    ],
)
def test_records_from_elsewhere_that_are_none(monkeypatch, folder, tmp_path, text, message):
    if text is not None:
        (tmp_path / "known.json").write_text(text)
    with pytest.raises(ExperimentError, match=message):
        run(monkeypatch, folder, grid("crisp", sparsities=[0.65]), known=tmp_path / "known.json")


def test_interrupted_experiment_goes_on(monkeypatch, folder):
    experiment, execute, begun = grid("crisp", "block", sparsities=[0.66]), pool.execute, []

    def interrupt(chosen, *args):
        begun.append(chosen.method)
        if chosen.method == "block":
            raise KeyboardInterrupt
        return execute(chosen, *args)

    monkeypatch.setattr(pool, "execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, folder, experiment)
    monkeypatch.setattr(pool, "execute", execute)
    done = begun[:-1]
    state = State(folder / "small")
    left = [each.method for each in expand(experiment, DATA) if state.read(each) is None]
    assert left == ["block"]
    assert "block" not in done
    records, _ = run(monkeypatch, folder, experiment)
    assert {record["method"] for record in records} == {"dense", "crisp", "block"}
    assert not list((folder / "small/locks").glob("*"))


def test_interrupted_run_goes_on_in_the_middle(monkeypatch, folder):
    experiment = grid("hybrid", sparsities=[0.69])
    stages = []

    def interrupt(*args, state, **settings):
        def stop(stage, done, total, note):
            stages.append(stage)
            if stage == "prune 2/2" and stages.count(stage) == 1 and len(stages) < 4:
                raise KeyboardInterrupt

        return prune(*args[:4], stop, state=state, **settings)

    monkeypatch.setattr(pruned, "prune", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, folder, experiment, only=["method=hybrid"])
    assert list((folder / "states").glob("*.pt"))
    before = len(stages)
    (record,) = (each for each in run(monkeypatch, folder, experiment, only=["method=hybrid"])[0] if each["method"] == "hybrid")
    assert "prune 1/2" not in stages[before:]
    assert not list((folder / "states").glob("*.pt"))
    monkeypatch.setattr(pruned, "prune", prune)
    (whole,) = (each for each in run(monkeypatch, folder / "whole", experiment)[0] if each["method"] == "hybrid")
    assert [record[name] for name in ("top1_float", "sparsity", "layers")] == [whole[name] for name in ("top1_float", "sparsity", "layers")]


def test_what_fails_after_training_does_not_train_again(monkeypatch, folder):
    experiment, stages = grid("hybrid", sparsities=[0.68]), []

    def seen(*args, **settings):
        return prune(*args[:4], lambda stage, *step: stages.append(stage), **settings)

    def fail(*args):
        raise RuntimeError("no scale")

    monkeypatch.setattr(pruned, "prune", seen)
    with monkeypatch.context() as context:
        context.setattr(runner, "judge_int8", fail)
        with pytest.raises(ExperimentError, match="RuntimeError: no scale"):
            run(monkeypatch, folder, experiment, only=["method=hybrid"])
    assert stages
    assert list((folder / "states").glob("*.pt"))
    stages.clear()
    (record,) = (each for each in run(monkeypatch, folder, experiment, only=["method=hybrid"])[0] if each["method"] == "hybrid")
    assert not stages
    assert record["top1_int8"] is not None
    assert record["seconds"] > 0
    assert not list((folder / "states").glob("*.pt"))


def test_record_that_cannot_be_written_does_not_keep_others_from_being_done(monkeypatch, folder):
    experiment, write = grid("crisp", "block", sparsities=[0.615]), State.write

    def fail(state, chosen, record):
        if chosen.method == "crisp":
            raise OutputError("no room")
        write(state, chosen, record)

    monkeypatch.setattr(State, "write", fail)
    with pytest.raises(ExperimentError, match=r"1 runs failed: net, two-1, crisp, sparsity-0.615, seed 1: no room"):
        run(monkeypatch, folder, experiment)
    state = State(folder / "small")
    assert [each.method for each in expand(experiment, DATA) if state.read(each) is None] == ["crisp"]


def test_classes_without_an_image_to_judge_by_are_told(tmp_path):
    less = dataclasses.replace(DATA, test=DATA.test.keep([0, 2]))
    experiment = grid("hybrid", sparsities=[0.65])
    (chosen,) = (each for each in expand(experiment, DATA) if each.method == "hybrid")
    with pytest.raises(ExperimentError, match="stripes: test images of the classes must be there to judge by, but none is; take more"):
        runner.execute(chosen, experiment, less, tmp_path)


def test_full_head(monkeypatch, folder):
    experiment = read_experiment(
        {
            **table("options.head", "full"),
            "classes": {"one": {"sets": [[2]]}},
            "grid": [{"networks": ["net"], "classes": ["one"], "methods": ["hybrid", "channel"], "sparsities": [0.6], "seeds": [1]}],
        },
        PATH,
    )
    records, _ = run(monkeypatch, folder, experiment)
    assert [record["classes"] for record in records] == [["stripe 2"]] * 3
    (path,) = (folder / "networks").glob("*.safetensors")
    assert {record["top1_base"] for record in records} == {accuracy(load_checkpoint(path)[0], DATA.test.keep([2]))}
    with pytest.raises(ExperimentError, match="one-1 must have two classes at least with a reduced head, not one"):
        expand(read_experiment({**table("classes.one", {"sets": [[2]]}), "grid": [{**table()["grid"][0], "classes": ["one"]}]}, PATH), DATA)


def test_run_that_fails_does_not_keep_others_from_being_done(monkeypatch, folder):
    experiment, execute = grid("crisp", "block", sparsities=[0.67]), pool.execute

    def fail(chosen, *args):
        if chosen.method == "crisp":
            raise PruneError("scores must be finite")
        return execute(chosen, *args)

    monkeypatch.setattr(pool, "execute", fail)
    with pytest.raises(ExperimentError, match=r"1 runs failed: net, two-1, crisp, sparsity-0.67, seed 1: scores must be finite"):
        run(monkeypatch, folder, experiment)
    state = State(folder / "small")
    assert [each.method for each in expand(experiment, DATA) if state.read(each) is None] == ["crisp"]


def test_what_nobody_foresaw_does_not_keep_others_from_being_done(monkeypatch, folder):
    def fail(chosen, *args):
        raise RuntimeError("of a library")

    monkeypatch.setattr(pool, "execute", fail)
    message = r"1 runs failed: net, two-1, crisp, sparsity-0.64, seed 1: RuntimeError: of a library \(test_run\.py, line \d+\)"
    with pytest.raises(ExperimentError, match=message):
        run(monkeypatch, folder, grid("crisp", sparsities=[0.64]), only=["method=crisp"])


def die_once(run, *args):
    """End the process, unless another one has done so."""
    if not Path(os.environ["DIED"]).exists():
        Path(os.environ["DIED"]).touch()
        os._exit(9)
    return pool.Outcome(run, {"run": str(run)})


def test_process_that_is_killed_does_not_keep_others_from_being_done(monkeypatch, tmp_path):
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setattr(pool, "attempt", die_once)
    experiment = grid("crisp", "block", sparsities=[0.6, 0.65, 0.7, 0.75])
    runs = expand(experiment, DATA)
    outcomes = run_all(runs, experiment, tmp_path, jobs=2, dataset=DATA)
    assert {str(outcome.run) for outcome in outcomes} == {str(run) for run in runs}
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    assert 1 <= len(failures) <= 2
    assert all("was ended from outside, as where memory is short; start again" in failure for failure in failures)


def test_run_of_another_process_is_left_to_it(monkeypatch, folder):
    experiment = grid("crisp", sparsities=[0.68])
    state = State(folder / "small")
    (mine,) = (each for each in expand(experiment, DATA) if each.method == "crisp")
    with try_lock(state.lock_path(mine)):
        _, listed = run(monkeypatch, folder, experiment, listed=True)
        _, text = run(monkeypatch, folder, experiment)
    assert "process" in listed
    assert "1 runs were being done by other processes" in text
    assert state.read(mine) is None


def test_changed_defaults_make_it_undone(folder, monkeypatch):
    experiment = grid("crisp", sparsities=[0.65])
    state = State(folder / "small")
    mine = next(each for each in expand(experiment, DATA) if each.method == "crisp")
    record = state.read(mine) or run(monkeypatch, folder, experiment)[0][0]
    state.write(mine, {**record, "options": {**record["options"], "weight_decay": 0.5}})
    assert state.read(mine) is None
    state.write(mine, {key: value for key, value in record.items() if key != "options"} | {"options": without(record, "weight_decay")})
    assert state.read(mine) is not None


def test_record_from_elsewhere_replaces_one_that_counts_no_longer(tmp_path):
    mine = next(each for each in expand(grid("crisp", sparsities=[0.65]), DATA) if each.method == "crisp")
    good, other = (
        {"key": mine.key, "options": {**mine.options.to_dict(), "weight_decay": decay}} for decay in (mine.options.weight_decay, 0.5)
    )
    state = State(tmp_path, [other])
    state.write(mine, other)
    assert state.read(mine) is None
    assert state.adopt([mine]) == 0
    assert State(tmp_path, [good]).adopt([mine]) == 1
    assert state.read(mine) == good


def without(record, name):
    return {key: value for key, value in record["options"].items() if key != name}


def test_time_limit(monkeypatch, folder):
    experiment = small()
    _, text = run(monkeypatch, folder, experiment, limit_seconds=1e-6, only=["classes=drawn-2"])
    assert "4 of the chosen runs left" in text


def test_several_processes_do_each_run_once(monkeypatch, folder):
    experiment = grid("crisp", "block", "hybrid", sparsities=[0.71])
    records, _ = run(monkeypatch, folder, experiment, jobs=2)
    alone, _ = run(monkeypatch, folder / "alone", experiment)
    timeless = [[{key: value for key, value in record.items() if key != "seconds"} for record in each] for each in (records, alone)]
    assert timeless[0] == timeless[1]


def test_listing_does_nothing(monkeypatch, folder):
    experiment = grid("crisp", "block", sparsities=[0.65, 0.72])
    records, text = run(monkeypatch, folder, experiment, listed=True)
    assert {record["method"] for record in records} <= {"dense", "crisp"}
    assert "to do" in text
    assert "left: about" in text


def test_smoke_file(tmp_path):
    options = ExperimentOptions(file=ROOT / "examples/experiments/smoke.toml", folder=tmp_path)
    records = run_experiment(options, Console(file=io.StringIO()), dataset=DATA)
    assert len(records) == 11
    assert {path.name for path in (tmp_path / "smoke").glob("pruning-*.png")} >= {"pruning-cycles.png", "pruning-sparsity.png"}


def test_progress_has_a_bar_for_each_worker(folder):
    experiment, seen = grid("crisp", "block", sparsities=[0.73]), []
    pool.run_all(expand(experiment, DATA), experiment, folder, dataset=DATA, progress=lambda *step: seen.append(step))
    assert {step[0] for step in seen} == {"worker 1"}
    assert any("net, two-1, crisp, sparsity-0.73, seed 1: prune 2/2, loss" in step[3] for step in seen)


def test_wrong_options():
    with pytest.raises(ExperimentError, match="jobs must be at least 1, not 0"):
        ExperimentOptions(file=PATH, jobs=0)
    with pytest.raises(ExperimentError, match="limit_seconds must be 0 for no limit, or seconds, not -1"):
        ExperimentOptions(file=PATH, limit_seconds=-1)


def test_machine_of_the_experiment_decides(monkeypatch, folder):
    experiment = grid("crisp", sparsities=[0.65])
    records, _ = run(monkeypatch, folder, experiment)
    other = dataclasses.replace(experiment, config="edge")
    others, _ = run(monkeypatch, folder, other)
    assert {record["config"] for record in others} == {"edge"}
    assert Config.load("edge") != Config.load("default")
    assert [record["top1_float"] for record in others] == [record["top1_float"] for record in records]
    assert PruneOptions.from_dict(others[0]["options"]).config == "edge"
