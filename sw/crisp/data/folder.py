"""Folders of pictures, as ImageNet is unpacked: ``train/<class>/<picture>`` and ``val/<class>/<picture>``."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .dataset import Dataset
from .errors import DamagedDataError, DataError, MissingDataError
from .normalization import IMAGENET, Normalization
from .picture_files import PictureFiles

__all__ = ["NAME_FILES", "SUFFIXES", "load_folder", "read_names"]

#: Ends of the names of pictures; other files are left out, and that is told.
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
#: Kinds of files left out that are told.
MAX_KINDS = 5
#: Files beside ``train`` that may name the classes.
NAME_FILES = ("classes.txt", "LOC_synset_mapping.txt")
MAX_NAMES_BYTES = 1 << 24
#: ImageNet's mean and deviation without colours, in whole pixel values.
GREY = Normalization((116,), (58,))


def load_folder(
    path: Path,
    *,
    size: int = 224,
    channels: int = 3,
    names: Path | None = None,
    normalization: Normalization | None = None,
    workers: int | None = None,
) -> Dataset:
    """Load a folder of pictures; only names are read, pictures when they are used.

    Classes are the folders of ``train`` in alphabetical order. Test images are those of ``test``; where there is only ``val``, those of
    ``val``, and validation images are held out of the training images. Files that are no pictures are left out, which the data set's notice
    tells; those whose names begin with a dot are not spoken of.

    Parameters
    ----------
    path : Path
        Folder with ``train`` and ``val``, ``test`` or both.
    size : int
        Pixels a side of what a network sees.
    channels : int
        3 for colours, 1 for grey.
    names : Path, optional
        Names of the classes: a line for each, its folder, a space, and its name, of which what follows a comma is left out. By default one
        of `NAME_FILES` in ``path``, else folders are names.
    normalization : Normalization, optional
        How pixels become a network's input; ImageNet's by default, of grey ones its mean.
    workers : int, optional
        Threads that read files; by default one a core, and 8 at most.

    Raises
    ------
    MissingDataError
        When ``train``, ``val`` or a class is absent, or a class has no pictures.
    DamagedDataError
        When the file of names is none.
    DataError
        When the size or the number of channels or of threads cannot be.
    """
    for name, number, most in (("size", size, 10_000), ("workers", 1 if workers is None else workers, 64)):
        if not 1 <= number <= most:
            raise DataError(path, rule=f"{name} must be from 1 to {most}", value=number, remedy="choose another")
    if channels not in (1, 3):
        raise DataError(path, rule="channels must be 1, grey, or 3, coloured", value=channels, remedy="choose another")
    parts = [part for part in ("train", "val", "test") if (path / part).is_dir()]
    if parts[:1] != ["train"] or len(parts) < 2:
        value = f"only {', '.join(parts)}" if parts else "without them"
        raise MissingDataError(path, rule="must hold the folders train and val or test", value=value, remedy="name another folder")
    folders = class_folders(path / "train")
    normalization = normalization or (IMAGENET if channels == 3 else GREY)
    workers = workers or min(8, os.cpu_count() or 1)
    splits, left_out = {}, Counter[str]()
    for part in parts:
        files, labels = list_pictures(path / part, folders, left_out)
        splits[part] = PictureFiles(path / part, files, labels, size, channels, normalization, workers)
    names = names or next((path / name for name in NAME_FILES if (path / name).is_file()), None)
    named = read_names(names, folders) if names else {folder: folder for folder in folders}
    classes = distinct([named[folder] for folder in folders], folders)
    test = splits["test"] if "test" in splits else splits["val"]
    validation = splits["val"] if {"val", "test"} <= splits.keys() else None
    rule = f"since they are none of the pictures that are read ({', '.join(SUFFIXES)})"
    notice = f"{path}: {left_out.total()} entries are left out, {rule}: {describe(left_out)}" if left_out else ""
    return Dataset(path.resolve().name, str(path), classes, splits["train"], test, notice, validation)


def class_folders(path: Path) -> list[str]:
    """Return the names of the classes' folders, in alphabetical order."""
    folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise MissingDataError(
            path, rule="must hold a folder for each class", value="without one", remedy="put pictures into train/<class>"
        )
    return folders


def list_pictures(path: Path, folders: Sequence[str], left_out: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of all pictures below ``path``, bytes [N], and their labels, int64 [N]; count kinds of others in ``left_out``.

    Raises
    ------
    MissingDataError
        When a class is absent or has no pictures.
    DataError
        When there is a class that training images do not have.
    """
    present = set(class_folders(path))
    if unknown := sorted(present - set(folders)):
        rule = "must have only the classes of train"
        raise DataError(path, rule=rule, value=f"{', '.join(unknown[:5])} too", remedy="delete the folder, or add it to train")
    files: list[np.ndarray] = []
    counts = []
    for folder in folders:
        if folder not in present:
            raise MissingDataError(path, rule="must hold a folder for each class of train", value=f"without {folder}", remedy="add it")
        with os.scandir(path / folder) as entries:
            seen = [(entry.name, kind_of(entry)) for entry in entries if not entry.name.startswith(".")]
        names = sorted(name for name, kind in seen if kind in SUFFIXES)
        others = Counter(kind for _, kind in seen if kind not in SUFFIXES)
        if not names:
            rule, value = f"must hold pictures ({', '.join(SUFFIXES)})", f"only {describe(others)}" if others else "without one"
            raise MissingDataError(path / folder, rule=rule, value=value, remedy="add some, or delete the class everywhere")
        left_out.update(others)
        files.append(np.array([os.fsencode(f"{folder}/{name}") for name in names]))
        counts.append(len(names))
    return np.concatenate(files), np.repeat(np.arange(len(folders)), counts)


def kind_of(entry: os.DirEntry[str]) -> str:
    """Return the end of a file's name, in lower case, or what there is in its place."""
    return "folder" if entry.is_dir() else os.path.splitext(entry.name)[1].lower() or "no end"


def describe(kinds: Counter[str]) -> str:
    """Return kinds of files in words, the most frequent first."""
    listed = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{kind} ({count})" for kind, count in listed[:MAX_KINDS]) + (", ..." if len(listed) > MAX_KINDS else "")


def read_names(path: Path, folders: Sequence[str]) -> dict[str, str]:
    """Return the names of classes by their folders.

    Raises
    ------
    MissingDataError
        When the file is absent or lacks a class.
    DamagedDataError
        When it is no text, or too large.
    """
    if not path.is_file():
        raise MissingDataError(path, rule="must be a file", value="absent", remedy="name the file with the classes' names")
    content = path.read_bytes()[: MAX_NAMES_BYTES + 1]
    try:
        if len(content) > MAX_NAMES_BYTES:
            raise ValueError("too large")
        lines = content.decode("utf-8").splitlines()
    except ValueError as error:
        remedy = "write a line for each class: folder, space, name"
        raise DamagedDataError(path, rule="must be text", value=f"damaged ({error})", remedy=remedy) from error
    named = {}
    for line in lines:
        folder, _, name = line.strip().partition(" ")
        named[folder] = name.partition(",")[0].strip() or folder
    if absent := [folder for folder in folders if folder not in named]:
        raise MissingDataError(path, rule="must name every class", value=f"without {', '.join(absent[:5])}", remedy="add a line for each")
    return named


def distinct(names: Sequence[str], folders: Sequence[str]) -> tuple[str, ...]:
    """Return names that differ: those that several classes have (ImageNet has two cranes) get their folder behind them."""
    return tuple(f"{name} ({folder})" if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True))
