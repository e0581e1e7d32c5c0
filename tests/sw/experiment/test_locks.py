import fcntl
import multiprocessing
import os
import signal
import time

from crisp.experiment.locks import holder, lock, try_lock


def hold(path, ready, end):
    with try_lock(path) as is_ours:
        ready.put(is_ours)
        end.get()


def test_only_one_has_it(tmp_path):
    path = tmp_path / "locks/a.lock"
    assert holder(path) == ""
    with try_lock(path) as first, try_lock(path) as second:
        assert (first, second) == (True, False)
        assert holder(path) == str(os.getpid())
    assert not path.exists()
    with lock(path):
        assert path.exists()


def test_who_only_looks_does_not_take_it(tmp_path, monkeypatch):
    """`holder` has a shared lock for a moment; whoever wants the lock just then tries again."""
    path = tmp_path / "a.lock"
    path.touch()
    file = os.open(path, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_SH)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            os.close(file)

    monkeypatch.setattr("time.sleep", wait)
    with try_lock(path) as is_ours:
        assert is_ours
    assert waits == [0.01, 0.01]


def test_lock_of_a_process_that_was_killed_is_taken_over(tmp_path):
    path, context = tmp_path / "a.lock", multiprocessing.get_context("spawn")
    ready, end = context.Queue(), context.Queue()
    process = context.Process(target=hold, args=(path, ready, end))
    process.start()
    assert ready.get(timeout=60)
    assert holder(path) == str(process.pid)
    with try_lock(path) as is_ours:
        assert not is_ours
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert path.exists()
    with try_lock(path) as is_ours:
        assert is_ours
        assert path.read_text() == f"{os.getpid()}\n"


def add_slowly(path, counter):
    for _ in range(5):
        with lock(path):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def test_waiting_processes_take_turns(tmp_path):
    counter, context = tmp_path / "counter", multiprocessing.get_context("spawn")
    counter.write_text("0")
    processes = [context.Process(target=add_slowly, args=(tmp_path / "a.lock", counter)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.read_text() == "10"
