"""CIFAR-10 and CIFAR-100: 60,000 coloured pictures of 32 x 32 pixels, of 10 or of 100 classes (in 20 groups).

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Read from the authors' archives, the binary ones or
those for Python, or from the folders that they unpack to.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .archive import GET_AGAIN, read_files
from .cifar_pickle import array_of, read_pickle
from .dataset import Dataset, Split
from .errors import DamagedDataError, DataError, MissingDataError
from .normalization import Normalization

__all__ = ["COUNTS", "LAYOUTS", "Layout", "find_layouts", "load_cifar"]

SIDE, PIXELS = 32, 3 * 32 * 32
#: Largest shift of a training image, in pixels.
SHIFT = 4
COUNTS = {"train": 50_000, "test": 10_000}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """How an archive is laid out.

    Parameters
    ----------
    name : str
        The data set.
    folder : str
        Folder in the archive.
    train, test : tuple of str
        Files with images.
    names : dict
        By kind of label: file with the names of classes, and what a pickle calls them.
    labels : dict
        By kind of label: byte in front of each image, what a pickle calls them, and number of classes.
    pickled : bool
        Whether files are pickles.
    normalization : Normalization
        Means and deviations of the training images.
    """

    name: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: dict[str, tuple[str, str]]
    labels: dict[str, tuple[int, str, int]]
    pickled: bool
    normalization: Normalization

    @property
    def files(self) -> tuple[str, ...]:
        """All files, with their folder before them."""
        return tuple(
            f"{self.folder}/{file}" for file in dict.fromkeys((*self.train, *self.test, *(file for file, _ in self.names.values())))
        )


TEN = Normalization((125.307, 122.95, 113.865), (62.993, 62.089, 66.705))
HUNDRED = Normalization((129.304, 124.07, 112.434), (68.17, 65.392, 70.418))
TEN_LABELS = {"fine": (0, "labels", 10)}
HUNDRED_LABELS = {"fine": (1, "fine_labels", 100), "coarse": (0, "coarse_labels", 20)}

LAYOUTS = (
    Layout(
        name="CIFAR-10",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        names={"fine": ("batches.meta.txt", "")},
        labels=TEN_LABELS,
        pickled=False,
        normalization=TEN,
    ),
    Layout(
        name="CIFAR-10",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        names={"fine": ("batches.meta", "label_names")},
        labels=TEN_LABELS,
        pickled=True,
        normalization=TEN,
    ),
    Layout(
        name="CIFAR-100",
        folder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        names={"fine": ("fine_label_names.txt", ""), "coarse": ("coarse_label_names.txt", "")},
        labels=HUNDRED_LABELS,
        pickled=False,
        normalization=HUNDRED,
    ),
    Layout(
        name="CIFAR-100",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        names={"fine": ("meta", "fine_label_names"), "coarse": ("meta", "coarse_label_names")},
        labels=HUNDRED_LABELS,
        pickled=True,
        normalization=HUNDRED,
    ),
)


def find_layouts(folder: Path) -> list[Layout]:
    """Return the layouts of which ``folder`` holds a file or the unpacked folder."""
    return [layout for layout in LAYOUTS if (folder / layout.folder).is_dir() or folder.name == layout.folder]


def load_cifar(path: Path, labels: str = "fine", counts: Mapping[str, int] | None = None) -> Dataset:
    """Load CIFAR-10 or CIFAR-100, whichever ``path`` is.

    Parameters
    ----------
    path : Path
        An archive, ``cifar-10-binary.tar.gz``, ``cifar-10-python.tar.gz`` or the same of 100; or the folder that it unpacks to, or one with
        that in it.
    labels : str
        ``fine``, or ``coarse`` for the 20 groups of CIFAR-100.
    counts : mapping, optional
        Images that ``"train"`` and ``"test"`` must have; 50,000 and 10,000 by default.

    Raises
    ------
    MissingDataError
        When a file is absent.
    DamagedDataError
        When the archive or a file is damaged, has another number of images, or labels that name no class.
    DataError
        When the data set has no such kind of labels, or the folder holds several data sets.
    """
    content = read_files(path, {file for layout in LAYOUTS for file in layout.files})
    layouts = [layout for layout in LAYOUTS if any(file in content for file in layout.files)]
    if not layouts:
        value = "without one"
        raise MissingDataError(path, rule="must hold CIFAR-10 or CIFAR-100", value=value, remedy="name the authors' archive or its folder")
    if len(layouts) > 1:
        several = " and ".join(layout.folder for layout in layouts)
        raise DataError(path, rule="must hold one data set", value=several, remedy="name the folder of one of them")
    layout = layouts[0]
    if absent := [file for file in layout.files if file not in content]:
        raise MissingDataError(path, rule=f"must hold the files of {layout.name}", value=f"without {', '.join(absent)}", remedy=GET_AGAIN)
    if labels not in layout.labels:
        raise DataError(path, rule=f"labels must be one of {', '.join(layout.labels)}", value=repr(labels), remedy="choose one of them")
    classes = read_names(path, layout, labels, content)
    counts = counts or COUNTS
    splits = {
        part: read_split(path, layout, labels, {name: content[f"{layout.folder}/{name}"] for name in files}, counts[part])
        for part, files in (("train", layout.train), ("test", layout.test))
    }
    return Dataset(layout.name, str(path), classes, splits["train"], splits["test"])


def read_names(path: Path, layout: Layout, labels: str, content: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the names of the classes."""
    file, key = layout.names[labels]
    source, count = f"{path}:{file}", layout.labels[labels][2]
    if layout.pickled:
        found = read_pickle(source, content[f"{layout.folder}/{file}"]).get(key)
        lines = list(found) if isinstance(found, list) and all(isinstance(name, bytes | str) for name in found) else []
    else:
        lines = content[f"{layout.folder}/{file}"].split(b"\n")
    names = [(line.decode("utf-8", "replace") if isinstance(line, bytes) else str(line)).strip() for line in lines]
    names = [name for name in names if name]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DamagedDataError(source, rule="must name each class once", value=f"{repeated} twice", remedy=GET_AGAIN)
    if len(names) != count:
        raise DamagedDataError(source, rule=f"must name {count} classes", value=len(names), remedy=GET_AGAIN)
    return tuple(names)


def read_split(path: Path, layout: Layout, labels: str, files: Mapping[str, bytes], count: int) -> Split:
    """Return the images and labels of some files, checked."""
    byte, key, num_classes = layout.labels[labels]
    prefix = len(layout.labels)
    images, all_labels = [], []
    for name, content in files.items():
        source = f"{path}:{name}"
        if layout.pickled:
            batch = read_pickle(source, content)
            pixels, numbers = array_of(source, batch.get("data"), PIXELS), batch.get(key)
            if not isinstance(numbers, list) or not all(type(number) is int for number in numbers) or len(numbers) != len(pixels):
                raise DamagedDataError(source, rule=f"{key} must be {len(pixels)} numbers", value="others", remedy=GET_AGAIN)
            found = np.array([number if 0 <= number < num_classes else num_classes for number in numbers], np.int64)
        else:
            if len(content) % (prefix + PIXELS):
                rule = f"must hold images of {prefix + PIXELS} bytes each"
                raise DamagedDataError(source, rule=rule, value=f"{len(content)} bytes", remedy=GET_AGAIN)
            records = np.frombuffer(content, np.uint8).reshape(-1, prefix + PIXELS)
            pixels, found = records[:, prefix:], records[:, byte].astype(np.int64)
        if len(pixels) != count // len(files):
            raise DamagedDataError(source, rule=f"must hold {count // len(files)} images", value=len(pixels), remedy=GET_AGAIN)
        if found.max(initial=0) >= num_classes:
            raise DamagedDataError(source, rule=f"labels must be below {num_classes}", value=f"{num_classes} or more", remedy=GET_AGAIN)
        images.append(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        all_labels.append(found)
    whole = np.concatenate(all_labels)
    if absent := num_classes - len(np.unique(whole)):
        raise DamagedDataError(path, rule="every class must have images", value=f"{absent} classes without", remedy=GET_AGAIN)
    return Split(np.concatenate(images), whole, layout.normalization, SHIFT)
