"""Where images come from: the first of several places that has them."""

import os
from collections.abc import Callable
from pathlib import Path

from .dataset import Dataset
from .errors import DownloadError
from .fashion_mnist import load_fashion_mnist, missing_files
from .fetch import DEBIAN_FOLDER, FETCH_FOLDER, fetch_debian_package, fetch_original
from .mnist_subset import load_mnist_subset

__all__ = ["FETCH_FOLDER", "load_dataset"]

#: Environment variable that names the folder with the data.
VARIABLE = "CRISP_DATA"

INSTALLED = Path("/") / DEBIAN_FOLDER


def load_dataset(
    folder: str | Path | None = None, *, fetch_folder: Path = FETCH_FOLDER, tell: Callable[[str], None] = lambda text: None
) -> Dataset:
    """Load Fashion-MNIST, or what can be had in its place.

    In this order: ``folder``, or the folder that ``CRISP_DATA`` names; Debian's installed package; what was fetched before; Debian's
    package, fetched without root; the authors' files; 5,000 digits of MNIST, with a notice in the data set.

    Parameters
    ----------
    folder : str or Path, optional
        Folder with the four files. When it is given, or ``CRISP_DATA`` is set, no other place is tried.
    fetch_folder : Path
        Where fetched files go.
    tell : callable
        Called with a line of text for everything that takes time or does not work.

    Raises
    ------
    DataError
        When the named folder lacks a file, a file is damaged, or no place has data.
    """
    if named := folder or os.environ.get(VARIABLE):
        return load_fashion_mnist(Path(named))
    if not missing_files(INSTALLED):
        return load_fashion_mnist(INSTALLED)
    target = fetch_folder / "fashion-mnist"
    for fetch in (fetch_debian_package, fetch_original):
        if missing_files(target):
            tell(f"fetching Fashion-MNIST to {target}")
            try:
                fetch(target)
            except DownloadError as error:
                tell(f"did not work: {error}")
    if not missing_files(target):
        return load_fashion_mnist(target)
    dataset = load_mnist_subset(fetch_folder)
    tell(dataset.notice)
    return dataset
