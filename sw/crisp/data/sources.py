"""Where images come from: what a name or a path means, and the first of several places that has Fashion-MNIST.

What is asked for by name or path is never replaced by something else. Only where nothing is named may another data set stand in.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from .arrays import load_arrays
from .cifar import find_layouts, load_cifar
from .dataset import Dataset
from .errors import DownloadError, MissingDataError
from .fashion_mnist import FILES, load_fashion_mnist, missing_files
from .fetch import DEBIAN_FOLDER, DEBIAN_PACKAGE, FETCH_FOLDER, NAME_A_FOLDER, fetch_debian_package, fetch_original
from .folder import load_folder
from .mnist_subset import load_mnist_subset

__all__ = ["DEFAULT_DATA", "FETCH_FOLDER", "NAMES", "VARIABLE", "load_dataset"]

#: Environment variable that names the folder with the data.
VARIABLE = "CRISP_DATA"

INSTALLED = Path("/") / DEBIAN_FOLDER

FASHION_MNIST = "fashion-mnist"
#: Names of the data sets that `load_dataset` may find without a name, unless the variable names another place.
DEFAULT_DATA = ("Fashion-MNIST", "MNIST subset")
#: Data sets that have a name: what the archives and the folders of those that cannot be fetched are called.
NAMES: dict[str, tuple[str, ...]] = {
    FASHION_MNIST: (),
    "cifar-10": ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", "cifar-10-python.tar.gz", "cifar-10-batches-py"),
    "cifar-100": ("cifar-100-binary.tar.gz", "cifar-100-binary", "cifar-100-python.tar.gz", "cifar-100-python"),
}
ARCHIVES = (".tar.gz", ".tgz", ".tar")
GET_FASHION_MNIST = f"install Debian's package {DEBIAN_PACKAGE}, or {NAME_A_FOLDER}"
WHAT = "Fashion-MNIST's four files, CIFAR's archive or folder, train/ and val/ with a folder of pictures for each class, or a .npz file"


def say(text: str) -> None:
    """Print a line where it does not mix with results."""
    print(text, file=sys.stderr)


def load_dataset(
    name_or_path: str | Path | None = None,
    *,
    size: int = 224,
    channels: int = 3,
    labels: str = "fine",
    fetch_folder: Path = FETCH_FOLDER,
    tell: Callable[[str], None] = say,
) -> Dataset:
    """Load a data set by its name or from where it lies; what it is is seen from what is there.

    Without a name or path, it is what lies where ``CRISP_DATA`` says; where that is not set, Fashion-MNIST or what can be had in its place.
    In this order: Debian's installed package; what was fetched before; Debian's package, fetched without root; the authors' files; 5,000
    digits of MNIST, which ``tell`` is told and the data set's notice says.

    Parameters
    ----------
    name_or_path : str or Path, optional
        One of `NAMES`, or a folder or file: Fashion-MNIST's four files, CIFAR-10 or CIFAR-100 as `load_cifar` takes them, a folder of
        pictures as `load_folder` does, a ``.npz`` file as `load_arrays` does. A path is the only place that is tried. A name is looked for
        where ``CRISP_DATA`` says, then in the usual places; nothing else stands in for it.
    size, channels : int
        Of a folder of pictures: pixels a side and channels of what a network sees.
    labels : str
        Of CIFAR-100: ``fine`` or ``coarse``.
    fetch_folder : Path
        Where fetched files go, and archives are looked for.
    tell : callable
        Called with a line of text for everything that takes time, does not work, stands in, or is left out; by default it is printed.

    Raises
    ------
    DataError
        When the place holds no data set, a file is absent or damaged, or no place has data.
    """
    variable = os.environ.get(VARIABLE)
    if name_or_path is not None and str(name_or_path) in NAMES and not Path(name_or_path).exists():
        named = [Path(variable)] if variable else []
        if str(name_or_path) != FASHION_MNIST:
            return load_cifar(find_named(str(name_or_path), [*named, fetch_folder]), labels)
        return find_fashion_mnist([*named, INSTALLED], fetch_folder, tell)
    if name_or_path:
        return load_path(Path(name_or_path), size, channels, labels, tell)
    if variable:
        return load_path(Path(variable), size, channels, labels, tell)
    try:
        return find_fashion_mnist([INSTALLED], fetch_folder, tell)
    except MissingDataError:
        dataset = load_mnist_subset(fetch_folder)
    tell(dataset.notice)
    return dataset


def load_path(path: Path, size: int, channels: int, labels: str, tell: Callable[[str], None]) -> Dataset:
    """Load the data set that lies at ``path``.

    Raises
    ------
    DataError
        When it holds none that is known, or a damaged one.
    """
    if path.suffix == ".npz":
        return load_arrays(path)
    if path.name.endswith(ARCHIVES):
        return load_cifar(path, labels)
    if len(missing_files(path)) < sum(len(pair) for pair in FILES.values()):
        return load_fashion_mnist(path)
    if find_layouts(path):
        return load_cifar(path, labels)
    if (path / "train").is_dir():
        dataset = load_folder(path, size=size, channels=channels)
        if dataset.notice:
            tell(dataset.notice)
        return dataset
    value = "something else" if path.exists() else "absent"
    raise MissingDataError(path, rule=f"must hold a data set: {WHAT}", value=value, remedy="name another place")


def find_named(name: str, folders: list[Path]) -> Path:
    """Return the archive or folder of the data set ``name`` in the first of ``folders`` that has one."""
    for folder in folders:
        for candidate in (folder, *(folder / file for file in NAMES[name])):
            if candidate.name in NAMES[name] and candidate.exists():
                return candidate
    rule = f"must hold {NAMES[name][0]}"
    remedy = f"put it there, or name its place; its authors have it at https://www.cs.toronto.edu/~kriz/{NAMES[name][0]}"
    raise MissingDataError(folders[-1], rule=rule, value="without it", remedy=remedy)


def find_fashion_mnist(folders: list[Path], fetch_folder: Path, tell: Callable[[str], None]) -> Dataset:
    """Load Fashion-MNIST from the first of ``folders`` that has it, else from where it is fetched to.

    Raises
    ------
    MissingDataError
        When none has it and it cannot be fetched; it says what was tried.
    """
    target, failures = fetch_folder / FASHION_MNIST, []
    for folder in folders:
        if not missing_files(folder):
            return load_fashion_mnist(folder)
    for fetch in (fetch_debian_package, fetch_original):
        if missing_files(target):
            tell(f"fetching Fashion-MNIST to {target}")
            try:
                fetch(target)
            except DownloadError as error:
                tell(f"did not work: {error}")
                failures.append(f"{error.file}: {error.rule}, not {error.value}")
    if not missing_files(target):
        return load_fashion_mnist(target)
    value = f"absent from {', '.join(map(str, [*folders, target]))} (fetching: {'; '.join(failures)})"
    raise MissingDataError(FASHION_MNIST, rule="its four files must be found or fetched", value=value, remedy=GET_FASHION_MNIST)
