"""Bringing Fashion-MNIST to a folder: Debian's package without root, or the authors' files.

Whatever is fetched is written under another name in the target folder and renamed when it is whole and checked, so that an
interrupted fetch never leaves a file that looks finished.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from .errors import DownloadError
from .fashion_mnist import FILES, missing_files

__all__ = ["FETCH_FOLDER", "MD5", "fetch_debian_package", "fetch_file", "fetch_original"]

#: Where fetched data is kept, below the current folder.
FETCH_FOLDER = Path("build/data")

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")
ORIGINAL_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

#: Checksums that the authors publish. Debian's files hold the same arrays, compressed anew, so these do not apply to them.
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}

#: A file that is larger than this is none of ours.
MAX_DOWNLOAD_BYTES = 1 << 26
TIMEOUT_SECONDS = 20
NAME_A_FOLDER = "download Fashion-MNIST by other means and name its folder with --data or CRISP_DATA"


def fetch_debian_package(folder: Path) -> None:
    """Fill ``folder`` from Debian's package, by ``apt-get download`` and ``dpkg-deb``; needs no root and installs nothing.

    Raises
    ------
    DownloadError
        When the programs are missing, fail, or the package does not hold the files.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DownloadError(DEBIAN_PACKAGE, rule="needs apt-get and dpkg-deb", value="found", remedy=NAME_A_FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as name:
        scratch = Path(name)
        run(["apt-get", "download", DEBIAN_PACKAGE], scratch)
        archives = sorted(scratch.glob("*.deb"))
        if not archives:
            raise DownloadError(DEBIAN_PACKAGE, rule="apt-get download must leave a package", value="nothing", remedy=NAME_A_FOLDER)
        run(["dpkg-deb", "-x", archives[0].name, "tree"], scratch)
        unpacked = scratch / "tree" / DEBIAN_FOLDER
        if absent := missing_files(unpacked):
            raise DownloadError(
                archives[0].name, rule="must hold the four Fashion-MNIST files", value=f"without {', '.join(absent)}", remedy=NAME_A_FOLDER
            )
        for pair in FILES.values():
            for file in pair:
                os.replace(unpacked / file, folder / file)


def run(command: list[str], folder: Path) -> None:
    """Run ``command`` in ``folder``; raise `DownloadError` with its last line when it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30 * TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(" ".join(command), rule="must succeed", value=str(error), remedy=NAME_A_FOLDER) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(" ".join(command), rule="must succeed", value=f"exit code {done.returncode}: {last}", remedy=NAME_A_FOLDER)


def fetch_original(folder: Path, address: str = ORIGINAL_ADDRESS) -> None:
    """Fill ``folder`` with the authors' files.

    Raises
    ------
    DownloadError
        When a file cannot be fetched or its checksum is another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in missing_files(folder):
        fetch_file(f"{address}/{name}", folder / name, MD5[name])


def fetch_file(address: str, target: Path, md5: str) -> None:
    """Fetch ``address`` to a temporary file beside ``target``, check it, and rename it to ``target``.

    Raises
    ------
    DownloadError
        When the address does not answer, the file is larger than `MAX_DOWNLOAD_BYTES`, or its MD5 checksum is not ``md5``.
    """
    with tempfile.NamedTemporaryFile(prefix=".fetch-", dir=target.parent, delete=False) as file:
        temporary = Path(file.name)
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
                body = answer.read(MAX_DOWNLOAD_BYTES + 1)
            if len(body) > MAX_DOWNLOAD_BYTES:
                raise DownloadError(address, rule=f"must be at most {MAX_DOWNLOAD_BYTES} bytes", value="larger", remedy=NAME_A_FOLDER)
            digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if digest != md5:
                raise DownloadError(address, rule=f"MD5 checksum must be {md5}", value=digest, remedy=NAME_A_FOLDER)
            file.write(body)
            file.flush()
            os.replace(temporary, target)
        except (urllib.error.URLError, OSError) as error:
            raise DownloadError(address, rule="must be reachable", value=str(error), remedy=NAME_A_FOLDER) from error
        finally:
            temporary.unlink(missing_ok=True)
