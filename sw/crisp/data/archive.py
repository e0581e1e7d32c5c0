"""Files out of a tar archive, or of the folder that it was unpacked to, read into memory: nothing is ever written.

An archive may come from anywhere: it is read as a stream, so much at most, and one that names a place outside of itself is refused.
"""

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Protocol

from .errors import DamagedDataError, MissingDataError

__all__ = ["MAX_ARCHIVE_BYTES", "MAX_FILE_BYTES", "MAX_MEMBERS", "read_files"]

#: Limits: CIFAR-100's training images, the largest file that is read, have 154 million bytes, and CIFAR's archives 185 million unpacked.
MAX_FILE_BYTES = 1 << 28
MAX_ARCHIVE_BYTES = 1 << 29
MAX_MEMBERS = 1000

GET_AGAIN = "get the archive from its authors again"
GZIP_MAGIC = b"\x1f\x8b"


def read_files(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of those of ``names`` that there are.

    Parameters
    ----------
    path : Path
        A tar archive, plain or compressed with gzip, or a folder.
    names : collection of str
        Names with the folder before them, such as ``cifar-10-batches-bin/test_batch.bin``. In a folder they are looked for below it; where
        it has the name of their own folder, in it.

    Raises
    ------
    MissingDataError
        When there is no such file or folder.
    DamagedDataError
        When the archive is damaged or cut off, holds what no sound one does, or is too large.
    """
    if path.is_dir():
        return read_folder(path, names)
    if not path.is_file():
        raise MissingDataError(path, rule="must be an archive or a folder", value="absent", remedy="name the one that holds the data")
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    return read_archive(path, Bounded(path, unpacked), names)
            return read_archive(path, Bounded(path, file), names)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise DamagedDataError(path, rule="must be a whole tar archive", value=f"damaged ({error})", remedy=GET_AGAIN) from error


class Readable(Protocol):
    """Whatever bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes."""


class Bounded:
    """A binary file of which at most `MAX_ARCHIVE_BYTES` are read."""

    def __init__(self, path: Path, file: Readable) -> None:
        self.path, self.file, self.left = path, file, MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes.

        Raises
        ------
        DamagedDataError
            When the archive is too large.
        """
        content = self.file.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise DamagedDataError(self.path, rule=f"must unpack to at most {MAX_ARCHIVE_BYTES} bytes", value="more", remedy=GET_AGAIN)
        return content


def read_archive(path: Path, stream: Bounded, names: Collection[str]) -> dict[str, bytes]:
    """Return those of ``names`` that the archive holds; it is read to its end, so that its checksum is known to be right."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for number, member in enumerate(archive):
            place = PurePosixPath(member.name)
            if number >= MAX_MEMBERS:
                raise DamagedDataError(path, rule=f"must hold at most {MAX_MEMBERS} files", value="more", remedy=GET_AGAIN)
            if place.is_absolute() or ".." in place.parts:
                raise DamagedDataError(path, rule="names must stay inside the archive", value=repr(member.name), remedy=GET_AGAIN)
            if not (member.isfile() or member.isdir()):
                raise DamagedDataError(
                    path, rule="must hold only files and folders", value=f"a link or device {member.name!r}", remedy=GET_AGAIN
                )
            if member.size > MAX_FILE_BYTES:
                rule = f"{member.name} must have at most {MAX_FILE_BYTES} bytes"
                raise DamagedDataError(path, rule=rule, value=member.size, remedy=GET_AGAIN)
            if str(place) not in names or not member.isfile():
                continue
            if str(place) in found:
                raise DamagedDataError(path, rule="must hold each file once", value=f"{place} twice", remedy=GET_AGAIN)
            content = archive.extractfile(member)
            found[str(place)] = content.read() if content else b""
    while stream.read(1 << 16):
        pass
    return found


def read_folder(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return those of ``names`` that lie in ``path``."""
    found = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        place = path / file if path.name == folder else path / name
        if place.is_file():
            if place.stat().st_size > MAX_FILE_BYTES:
                rule = f"must have at most {MAX_FILE_BYTES} bytes"
                raise DamagedDataError(place, rule=rule, value=place.stat().st_size, remedy="get it from its authors again")
            found[name] = place.read_bytes()
    return found
