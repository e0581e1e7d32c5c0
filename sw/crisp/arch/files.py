"""Files that are written whole or not at all, and places that are tried before a long run."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import CrispError, OutputError

__all__ = ["check_place", "replacing", "state_beside", "write_text"]


@contextlib.contextmanager
def replacing(path: Path, kind: type[CrispError] = OutputError, failure: type[Exception] = OSError) -> Iterator[Path]:
    """Give the path of a temporary file; what is written to it while the context lasts takes the place of ``path``, once it is on the disk.

    When that fails, the temporary file is removed and ``path`` is as it was. The folder is made; a link stays, what it names is replaced.

    Parameters
    ----------
    path : Path
        File to write.
    kind : type
        Error to raise.
    failure : type
        What the library that writes raises in the place of the system's error.

    Raises
    ------
    CrispError
        Of ``kind``, when the folder cannot be made or the file not be written, for want of room, or of leave; or when there is a device,
        which would be replaced as well.
    """
    shown, path = path, Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # so that two processes do not write into one
    try:
        refuse_device(shown, "what is written", kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, failure) as error:
        raise kind(f"{shown}: must be written, but cannot be ({reason(error)}); make room, or name another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a file of text, whole or not at all; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_place(path: Path, what: str, kind: type[CrispError]) -> None:
    """Find out whether a file can be written, by making its folder and an empty file there, which is removed.

    Parameters
    ----------
    path : Path
        File.
    what : str
        What messages call it.
    kind : type
        Error to raise.

    Raises
    ------
    CrispError
        Of ``kind``, when it cannot.
    """
    try:
        if path.is_dir():
            raise kind(f"{path}: {what} must be a file, not a folder; name a file")
        refuse_device(path, what, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part"):
            pass
    except OSError as error:
        raise kind(f"{path}: {what} must be a file that can be written, but it cannot ({reason(error)}); name another place") from error


def state_beside(output: Path) -> Path:
    """Return the file beside ``output`` that keeps the state of the run which makes it, where nobody names another."""
    return output.with_name(f".{output.name}.state")


def refuse_device(path: Path, what: str, kind: type[CrispError]) -> None:
    """Raise ``kind`` where a path is neither a file nor a folder nor free."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise kind(f"{path}: {what} must be a file, not a device or a pipe; name a file")


def reason(error: Exception) -> str:
    """Return what the system says, also where a library's error hides it."""
    cause = error if isinstance(error, OSError) else error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
