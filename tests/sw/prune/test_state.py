import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from tests.sw.small import ROOT, little_room, small_net, striped_dataset

from crisp.arch import Config
from crisp.prune import PruneError, PruneOptions, prune
from crisp.prune.state import hash_model

CLASSES = (3, 1)
OPTIONS = PruneOptions(
    sparsity=0.8, iterations=3, iteration_images=64, final_images=128, saliency_images=32, batch=16, learning_rate=0.05, microbatch=8
)


class Dropping(torch.nn.Module):
    """With dropout, whose random numbers must not hang on where a run was killed."""

    def __init__(self):
        super().__init__()
        self.network = small_net()
        self.network.pool = torch.nn.Sequential(self.network.pool, torch.nn.Dropout(0.2))

    def forward(self, x):
        return self.network(x)


class Killed(Exception):
    pass


def run(state=None, kill_after=None, options=OPTIONS, **keywords):
    told = []

    def progress(*step):
        told.append(step)
        if len(told) == kill_after:
            raise Killed

    try:
        return prune(Dropping(), striped_dataset(), CLASSES, options, progress, state=state, state_seconds=0.0, **keywords), told
    except Killed:
        return None, told


@pytest.fixture(scope="module")
def whole():
    return run()[0]


def same(first, second):
    tensors = zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True)
    return first.patterns == second.patterns and all(torch.equal(tensor, other) for (_, tensor), other in tensors)


def facts(pruned):
    return [(step.sparsity, step.kept_share, step.changed_share, step.validation_accuracy, step.images) for step in pruned.history]


@pytest.mark.parametrize("seed", range(4))
def test_killed_anywhere_a_run_ends_with_the_same_bits(tmp_path, whole, seed):
    """Steps are 4 + 4 + 8; killed two times at random."""
    state, random = tmp_path / "run.pt", np.random.default_rng(seed)
    first = run(state, kill_after=int(random.integers(1, 9)))
    assert first[0] is None
    assert state.is_file()
    second = run(state, kill_after=int(random.integers(1, 8)))
    assert second[0] is None
    pruned, told = run(state)
    assert len(told) < 16
    assert same(pruned, whole)
    assert facts(pruned) == facts(whole)
    assert not state.exists()
    assert list(tmp_path.iterdir()) == []


def test_killed_while_masks_are_chosen(tmp_path, whole, monkeypatch):
    state, calls = tmp_path / "run.pt", []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed
        return measure(*arguments)

    measure = sys.modules["crisp.prune.loop"].measure_saliency
    monkeypatch.setattr("crisp.prune.loop.measure_saliency", fail)
    assert run(state)[0] is None
    pruned, told = run(state)
    assert told[0][:2] == ("prune 2/3", 1)
    assert same(pruned, whole)


def test_killed_before_the_result_is_written(tmp_path, whole):
    state = tmp_path / "run.pt"

    def write(pruned):
        raise Killed

    assert run(state, write=write)[0] is None
    written = []
    pruned, told = run(state, write=written.append)
    assert told == []
    assert written == [pruned]
    assert same(pruned, whole)


def test_dense_run_resumes_too(tmp_path):
    options = dataclasses.replace(OPTIONS, sparsity=0.0, n=4)
    plain = run(options=options)[0]
    run(tmp_path / "run.pt", kill_after=6, options=options)
    assert same(run(tmp_path / "run.pt", options=options)[0], plain)


PROGRAM = """
import sys, time
from pathlib import Path
from tests.sw.prune.test_state import CLASSES, OPTIONS, Dropping, striped_dataset, torch
from crisp.prune import prune

def progress(*step):
    print(*step[:2], flush=True)
    time.sleep(0.05)

pruned = prune(Dropping(), striped_dataset(), CLASSES, OPTIONS, progress, state=Path(sys.argv[1]), state_seconds=0.0)
torch.save(pruned.model.state_dict(), sys.argv[2])
"""


def test_killed_process_ends_with_the_same_bits(tmp_path, whole):
    """The operating system kills it, in whatever it does just then."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run.pt"), str(tmp_path / "model.pt")]
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{ROOT}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(6)]
    assert lines[-1] == "prune 2/3 2\n"
    time.sleep(0.03)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    rest = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert rest[0] in ("prune 2/3 2", "prune 2/3 3", "prune 2/3 4", "prune 3/3 1")
    found = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(tensor, found[name]) for name, tensor in whole.model.state_dict().items())


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "run.pt"
    run(path, kill_after=5)
    return path


def test_state_of_another_run_is_refused(state):
    def refused(message, model=None, data=None, classes=CLASSES, options=OPTIONS, **keywords):
        with pytest.raises(PruneError, match=message):
            prune(model or Dropping(), data or striped_dataset(), classes, options, state=state, **keywords)

    refused(
        r"must belong to a run with sparsity 0\.7, not 0\.8; delete it or name another", options=dataclasses.replace(OPTIONS, sparsity=0.7)
    )
    refused(r"; classes \[1, 3\], not \[3, 1\]", classes=(1, 3))
    refused(r"with data stripes, 56 images \w+, not stripes, 110 images \w+", data=striped_dataset(count=120))
    changed = striped_dataset()
    changed.train.images[57, 3, 4] += 1
    refused(r"with data stripes, 110 images \w+, not stripes, 110 images \w+; delete it", data=changed)
    other = Dropping()
    other.network.conv1.weight.data[0, 0, 0, 0] += 1
    refused(r"model \w{16}, not \w{16}", model=other)
    refused("with selector other, not choose_masks", selector=other_selector)
    assert state.is_file()


def test_state_of_another_machine_is_refused(tmp_path):
    state, machine = tmp_path / "run.pt", tmp_path / "machine.toml"
    options = dataclasses.replace(OPTIONS, cycles=0.9, config=str(machine))
    tiny = dataclasses.asdict(Config.preset("tiny"))
    machine.write_text("\n".join(f"{name} = {value}" for name, value in tiny.items()))
    run(state, kill_after=5, options=options)
    machine.write_text("\n".join(f"{name} = {value}" for name, value in {**tiny, "activation_buffer_depth": 8192}.items()))
    with pytest.raises(PruneError, match=r"must belong to a run with machine \w{8}, not \w{8}; delete it"):
        run(state, options=options)


def test_time_of_an_interrupted_run_is_counted(tmp_path):
    state = tmp_path / "run.pt"

    def progress(*step):
        time.sleep(0.05)
        if step[:2] == ("prune 1/3", 3):
            raise Killed

    with pytest.raises(Killed):
        prune(Dropping(), striped_dataset(), CLASSES, OPTIONS, progress, state=state, state_seconds=0.0)
    assert run(state)[0].history[0].training_seconds > 0.1  # of two steps before, and of one after


def other_selector(*arguments):
    raise AssertionError


other_selector.__qualname__ = "other"


def test_state_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path):
    told = []
    with pytest.raises(PruneError, match="the state must be a file, not a folder; name a file"):
        prune(Dropping(), striped_dataset(), CLASSES, OPTIONS, lambda *step: told.append(step), state=tmp_path)
    assert not told


def test_damaged_state_is_told(state):
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(PruneError, match=r"run\.pt: must be the state of a pruning run, not something damaged \(.*\); delete it"):
        run(state)
    torch.save({"version": 99, "run": {}, "state": {}}, state)
    with pytest.raises(PruneError, match="must be of form 2, not 99; delete it, or go on with the version that wrote it"):
        run(state)
    torch.save(torch.nn.Linear(1, 1), state)  # would run code
    with pytest.raises(PruneError, match="must be the state of a pruning run, not something damaged"):
        run(state)


def test_nothing_half_written_is_left_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    run(path, kill_after=3)
    before = path.read_bytes()

    def fail(value, file):
        file.write(b"half")
        raise Killed

    monkeypatch.setattr("crisp.prune.state.torch.save", fail)
    run(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_state_that_has_no_room(tmp_path):
    path = tmp_path / "run.pt"
    with pytest.raises(PruneError) as caught, little_room(10_000):
        run(path)
    assert str(caught.value) == f"{path}: must be written, but cannot be (File too large); make room, or name another place"
    assert list(tmp_path.iterdir()) == []


def test_hash_of_a_network_hangs_on_every_weight():
    first, second = small_net(), small_net()
    assert hash_model(first) == hash_model(second)
    second.fc.bias.data[0] += 1e-3
    assert hash_model(first) != hash_model(second)
    assert hash_model(first.to(memory_format=torch.channels_last)) == hash_model(small_net())
