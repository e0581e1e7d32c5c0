"""Fashion-MNIST: 70,000 grey pictures of clothes, 28 x 28 pixels, ten classes, MIT licence.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv 1708.07747.
"""

from pathlib import Path

from .dataset import Dataset, Split
from .errors import DamagedDataError, MissingDataError
from .idx import FETCH_AGAIN, read_idx

__all__ = ["CLASSES", "FILES", "load_fashion_mnist", "missing_files"]

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

#: Images and labels of the two splits.
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}

COUNTS = {"train": 60_000, "test": 10_000}
SIDE = 28


def missing_files(folder: Path) -> list[str]:
    """Return the names of the data set's files that ``folder`` lacks."""
    return [name for pair in FILES.values() for name in pair if not (folder / name).is_file()]


def load_fashion_mnist(folder: Path, counts: dict[str, int] | None = None) -> Dataset:
    """Load Fashion-MNIST from the four gzip IDX files in ``folder``.

    Parameters
    ----------
    folder : Path
        Folder with the files of `FILES`.
    counts : dict, optional
        Images that ``"train"`` and ``"test"`` must have; 60,000 and 10,000 by default.

    Raises
    ------
    MissingDataError
        When a file is absent.
    DamagedDataError
        When a file is damaged, has another number of images than the data set, or its labels name no class.
    """
    if absent := missing_files(folder):
        raise MissingDataError(
            folder, rule="must hold the four Fashion-MNIST files", value=f"without {', '.join(absent)}", remedy="name another folder"
        )
    counts = counts or COUNTS
    return Dataset(
        "Fashion-MNIST", str(folder), CLASSES, load_split(folder, "train", counts["train"]), load_split(folder, "test", counts["test"])
    )


def load_split(folder: Path, split: str, count: int) -> Split:
    """Load the images and labels of ``split`` and check that they belong together."""
    image_file, label_file = (folder / name for name in FILES[split])
    images, labels = read_idx(image_file, rank=3), read_idx(label_file, rank=1)
    if images.shape != (count, SIDE, SIDE):
        raise DamagedDataError(image_file, rule=f"shape must be ({count}, {SIDE}, {SIDE})", value=images.shape, remedy=FETCH_AGAIN)
    if labels.shape != (count,):
        raise DamagedDataError(label_file, rule=f"shape must be ({count},)", value=labels.shape, remedy=FETCH_AGAIN)
    if count and labels.max() >= len(CLASSES):
        raise DamagedDataError(label_file, rule=f"labels must be below {len(CLASSES)}", value=int(labels.max()), remedy=FETCH_AGAIN)
    return Split(images, labels.astype("int64"))
