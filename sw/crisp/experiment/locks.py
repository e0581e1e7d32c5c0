"""Locks that several processes share the work by: one that died leaves none behind."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["holder", "lock", "try_lock"]

#: Times that a lock is tried again, and after how long: it may be `holder` that has it, for a moment.
GLANCES, GLANCE_SECONDS = 3, 0.01


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock ``path`` while the context lasts, if nobody else does; tell whether.

    The file says who holds it, but what counts is the kernel's lock on it, which ends with the process: so a file that a killed process
    left is taken over by whoever comes next, and never by two.

    Parameters
    ----------
    path : Path
        File; its folder is made. It is gone afterwards.
    """
    file = acquire(path, wait=False)
    try:
        yield file is not None
    finally:
        release(path, file)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock ``path`` while the context lasts, after whoever holds it now."""
    file = acquire(path, wait=True)
    try:
        yield
    finally:
        release(path, file)


def acquire(path: Path, *, wait: bool) -> int | None:
    """Return the locked file; none when somebody else has it and nobody wants to wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    glances = GLANCES
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            if not glances:
                return None
            glances -= 1
            time.sleep(GLANCE_SECONDS)
            continue
        except BaseException:
            os.close(file)
            raise
        if is_at(file, path):
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
            return file
        os.close(file)


def is_at(file: int, path: Path) -> bool:
    """Tell whether the open ``file`` is the one at ``path``: who held it before may have removed it, and then it is the lock of nothing."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def release(path: Path, file: int | None) -> None:
    """Give a lock back."""
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)


def holder(path: Path) -> str:
    """Return the number of the process that holds the lock ``path``; empty where none does."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(file, 32).decode().strip() or "unknown"
    finally:
        os.close(file)
    return ""
