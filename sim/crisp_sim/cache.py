"""Builds by content: what is made of the same bytes with the same flags and tools is made once."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .errors import BuildError

__all__ = ["build_cached", "cache_folder"]

#: Part of every key; raise it when a change of the build code itself must not meet older builds.
FORMAT = 1


def cache_folder() -> Path:
    """Return the folder of all builds: ``$CRISP_BUILD`` or ``build`` of the source tree, in it ``sim``."""
    if "CRISP_BUILD" in os.environ:
        return Path(os.environ["CRISP_BUILD"]).resolve() / "sim"
    tree = Path(__file__).resolve().parents[2]
    if (tree / "sim" / "crisp_sim").is_dir():
        return tree / "build" / "sim"
    return Path.home() / ".cache" / "crisp" / "sim"  # installed without its source tree


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes for the length of a ``with`` block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_cached(name: str, parts: Sequence[str | bytes], build: Callable[[Path], None]) -> Path:
    """Return the folder that ``build`` fills, from the cache if it was built before.

    Safe when many processes ask at once: one builds in a folder of its own and renames it when complete, the others wait.

    Parameters
    ----------
    name : str
        Begins the folder's name, for people who look.
    parts : sequence of str or bytes
        All that the build depends on: sources, flags, versions of tools.
    build : callable
        Called with an empty folder to fill; only when the cache lacks it.

    Raises
    ------
    BuildError
        From ``build``; what it left stays in ``<folder>.failed`` to be looked at.
    """
    digest = hashlib.sha256(str(FORMAT).encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    folder = cache_folder() / f"{name}-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    with locked(cache_folder() / ".locks" / folder.name):
        if folder.is_dir():
            return folder
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=cache_folder()))
        try:
            build(scratch)
        except BuildError as error:
            failed = folder.with_name(f"{folder.name}.failed")
            shutil.rmtree(failed, ignore_errors=True)
            scratch.rename(failed)
            raise BuildError(f"{error}\nleft in {failed}") from error
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        scratch.rename(folder)
    return folder
