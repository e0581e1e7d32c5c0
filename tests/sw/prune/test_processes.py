"""Two processes over gloo against one that does all micro-batches."""

import dataclasses
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from rich.console import Console
from tests.sw.small import ROOT, small_net, striped_dataset, striped_split
from torch import distributed

from crisp.models import ModelSpec, accuracy, save_checkpoint
from crisp.prune import PruneError, PruneOptions, Saliency, load_pruned, prune
from crisp.prune.command import PruneFileOptions, prune_file
from crisp.prune.loop import judge, microbatch
from crisp.prune.processes import PairwiseSum, Processes, join_processes

CLASSES = (3, 1)
OPTIONS = PruneOptions(
    sparsity=0.8,
    iterations=2,
    iteration_images=64,
    final_images=64,
    saliency_images=64,
    batch=16,
    microbatch=8,
    learning_rate=0.05,
    distillation=0.3,
)


def test_pairwise_sum_is_a_binary_tree():
    terms = [torch.tensor([value], dtype=torch.float32) for value in (1e8, 1.0, 1.0, -1e8, 3.0, 5.0, 7.0)]
    sums = PairwiseSum()
    for term in terms:
        sums.add(term.clone())
    a, b, c, d, e, f, g = terms
    assert len(sums.parts) == 3
    assert torch.equal(sums.total(), ((a + b) + (c + d)) + ((e + f) + g))


def test_sum_hangs_on_terms_alone_whoever_adds_them():
    random = np.random.default_rng(0)
    terms = [torch.from_numpy(random.normal(size=5).astype(np.float32)) for _ in range(16)] + [torch.zeros(5)]

    def tree(items):
        sums = PairwiseSum()
        for item in items:
            sums.add(item.clone())
        return sums.total()

    for number in range(1, 17):
        for count in range(2, 9):
            shares = [Processes(rank, count).share(terms[:number]) for rank in range(count)]
            assert torch.equal(tree([tree(share or terms[16:]) for share in shares]), tree(terms[:number])), (number, count)


@pytest.mark.parametrize(("count", "items"), [(2, 7), (3, 8), (4, 2), (1, 5), (4, 16)])
def test_shares_are_all_items_once(count, items):
    shares = [list(Processes(rank, count).share(range(items))) for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(items))
    assert max(map(len, shares)) < 2 * items / count + 1


def test_alone_there_is_nothing_to_send():
    alone = Processes()
    assert alone.send(b"data") == b"data"
    assert alone.send(None) is None
    assert alone.count_all(3) == 3
    alone.check_same("nothing", b"")
    images = striped_split(20, 4, 12, 0)
    assert judge(small_net(), images, alone) == accuracy(small_net(), images)


def test_microbatches_are_shared_equally():
    assert microbatch(PruneOptions(batch=64), Processes(0, 4)) == 16
    assert microbatch(PruneOptions(batch=64, microbatch=8), Processes(0, 4)) == 8
    with pytest.raises(PruneError, match="batch / microbatch must be a power of two for each process, of which there are 3, not 64 / all"):
        microbatch(PruneOptions(batch=64), Processes(0, 3))
    with pytest.raises(PruneError, match="batch / microbatch must be a power of two for each process, of which there are 4, not 64 / 32"):
        microbatch(PruneOptions(batch=64, microbatch=32), Processes(0, 4))
    assert microbatch(PruneOptions(batch=24, microbatch=4), Processes(0, 3)) == 4
    with pytest.raises(PruneError, match="of which there are 2, not 24 / 4; choose another batch or microbatch"):
        microbatch(PruneOptions(batch=24, microbatch=4), Processes(0, 2))


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda:0", "nccl")])
def test_tensors_are_carried_as_the_device_that_was_asked_for_needs(monkeypatch, device, backend):
    joined = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda **settings: joined.append(settings["backend"]))
    assert join_processes(torch.device(device))
    assert joined == [backend]


PROGRAM = """
import dataclasses, os, sys
from pathlib import Path
import torch
from tests.sw.prune.test_processes import CLASSES, OPTIONS, Saliency, small_net, striped_dataset
from crisp.prune import PruneError, prune
from crisp.prune.processes import Processes, join_processes, leave_processes

torch.set_num_threads(1)
assert join_processes(torch.device("cpu"))
assert not join_processes(torch.device("cpu"))  # there is nothing left to join, and so nothing to leave
rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])
if sys.argv[2] == "fail":
    if rank == 1:
        sys.exit("rank 1 gives up")
    prune(small_net(), striped_dataset(), CLASSES, OPTIONS)
try:
    prune(small_net(), striped_dataset(), CLASSES, dataclasses.replace(OPTIONS, seed=rank))
    sys.exit("other options were not noticed")
except PruneError as error:
    assert "options, data and network must be the same in all 2 processes, but differ" in str(error), error

processes = Processes.find(torch.device("cpu"))
assert processes.send(b"of the first" if rank == 0 else b"of another") == b"of the first"
assert processes.send(None if rank == 0 else b"of another") is None
assert processes.count_all(rank + 1) == 3
assert torch.equal(processes.total(torch.arange(5.0) * (rank + 1)), torch.arange(5.0) * 3)

told = []
state = folder / "run.pt"
for kind in (Saliency.ABSOLUTE, Saliency.ACTIVATION):
    options = dataclasses.replace(OPTIONS, saliency=kind)
    pruned = prune(small_net(), striped_dataset(), CLASSES, options, lambda *step: told.append(step), state=state, state_seconds=0)
    torch.save((pruned.model.state_dict(), [step.validation_accuracy for step in pruned.history]), folder / f"{kind.value}-{rank}.pt")
assert bool(told) == (rank == 0)
assert rank or not state.exists()
leave_processes()
"""


def start(words, port):
    environment = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    environment |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, *words]
    return [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(2)
    ]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def finish(processes):
    return [(process.communicate(timeout=60)[0], process.returncode) for process in processes]


def test_two_processes_get_the_bits_of_one(tmp_path):
    for text, code in finish(start(["-c", PROGRAM, str(tmp_path), "prune"], free_port())):
        assert code == 0, text
    for kind in (Saliency.ABSOLUTE, Saliency.ACTIVATION):
        one = prune(small_net(), striped_dataset(), CLASSES, dataclasses.replace(OPTIONS, saliency=kind))
        for rank in range(2):
            found, accuracies = torch.load(tmp_path / f"{kind.value}-{rank}.pt", weights_only=True)
            for name, tensor in one.model.state_dict().items():
                assert torch.equal(tensor, found[name]), name
            assert accuracies == [step.validation_accuracy for step in one.history]


def test_a_process_that_fails_does_not_keep_the_other(tmp_path):
    started = time.monotonic()
    (first, first_code), (second, second_code) = finish(start(["-c", PROGRAM, str(tmp_path), "fail"], free_port()))
    assert (first_code, second_code) == (1, 1)
    assert "PruneError: all processes must go on together, but one has stopped (" in first
    assert "rank 1 gives up" in second
    assert time.monotonic() - started < 45


@pytest.fixture
def trained(tmp_path):
    spec = ModelSpec("resnet20", 4, 12, 1, 0.5)
    save_checkpoint(tmp_path / "trained.safetensors", spec.build(1), spec.metadata())
    return tmp_path / "trained.safetensors"


QUICK = {"iterations": 1, "final_images": 32, "saliency_images": 16, "batch": 16, "microbatch": 8, "sparsity": 0.8}


def test_command_leaves_the_processes_of_its_caller_together(trained):
    distributed.init_process_group("gloo", init_method=f"file://{trained.parent}/meeting", rank=0, world_size=1)
    try:
        settings = PruneOptions.from_dict(QUICK)
        asked = PruneFileOptions(model=str(trained), output=trained.parent / "pruned.safetensors", classes=("1", "3"), settings=settings)
        prune_file(asked, Console(quiet=True), dataset=striped_dataset())
        assert distributed.is_initialized()
    finally:
        distributed.destroy_process_group()


def test_command_leaves_the_processes_that_it_joined(trained, monkeypatch):
    left = []
    monkeypatch.setattr("crisp.prune.command.join_processes", lambda device: device == torch.device("cpu"))
    monkeypatch.setattr("crisp.prune.command.leave_processes", lambda: left.append("left"))
    settings = PruneOptions.from_dict({**QUICK, "device": "cpu"})
    asked = PruneFileOptions(model=str(trained), output=trained.parent / "pruned.safetensors", classes=("1", "3"), settings=settings)
    prune_file(asked, Console(quiet=True), dataset=striped_dataset())
    assert left == ["left"]


def test_what_the_first_process_cannot_write_is_told_by_all(trained, tmp_path):
    """Nobody waits: the data, which would be looked for next, are not there either."""
    started = time.monotonic()
    words = ["prune", str(trained), "-o", str(tmp_path), "--data", str(tmp_path / "none.npz"), "--set", "device=cpu"]
    for text, code in finish(start(["-m", "crisp", *words], free_port())):
        assert code == 2, text
        assert f"crisp: {tmp_path}: the output must be a file, not a folder; name a file".split() == text.split()
    assert time.monotonic() - started < 45
    assert [path.name for path in tmp_path.iterdir()] == ["trained.safetensors"]


def test_command_shares_its_work(trained, tmp_path):
    """As torchrun starts it: only the first process writes, and what it writes is what one process does."""
    data = striped_dataset()
    arrays = {"x_train": data.train.images, "y_train": data.train.labels, "x_test": data.test.images, "y_test": data.test.labels}
    np.savez(tmp_path / "data.npz", **arrays)
    words = ["prune", str(trained), "-o", str(tmp_path / "two.safetensors"), "--classes", "1,3"]
    words += ["--data", str(tmp_path / "data.npz"), *(word for name, value in QUICK.items() for word in ("--set", f"{name}={value}"))]
    texts = finish(start(["-m", "crisp", *words], free_port()))
    assert [code for _, code in texts] == [0, 0], texts
    assert "two.safetensors: next,\n    crisp quantize" in texts[0][0]
    assert texts[1][0] == ""
    one = PruneFileOptions(
        model=str(trained),
        output=tmp_path / "one.safetensors",
        classes=("1", "3"),
        data=str(tmp_path / "data.npz"),
        settings=PruneOptions.from_dict(QUICK),
    )
    prune_file(one, Console(quiet=True))
    first, second = (load_pruned(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert first.patterns == second.patterns
    assert all(torch.equal(tensor, second.model.state_dict()[name]) for name, tensor in first.model.state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {"data.npz", "trained.safetensors", "one.safetensors", "two.safetensors"}
