"""A user's own images in one ``.npz`` file of NumPy arrays; nothing in it is run."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from .dataset import Dataset, Split
from .errors import DamagedDataError, DataError, MissingDataError
from .normalization import Normalization, measure

__all__ = ["MAX_ARRAY_BYTES", "load_arrays"]

#: Largest array that is read into memory.
MAX_ARRAY_BYTES = 1 << 32
NEEDED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "class_names")
WRITE_AGAIN = "write it again with numpy.savez_compressed"
#: Share of an image's side that training images are shifted by, at most.
SHIFT = 1 / 14


def load_arrays(path: Path, normalization: Normalization | None = None) -> Dataset:
    """Load a data set from a ``.npz`` file.

    Parameters
    ----------
    path : Path
        File with ``x_train``, ``y_train``, ``x_test``, ``y_test``: images uint8 [N, H, W], or [N, H, W, C] with 1 or 3 channels, and
        labels, whole numbers [N] or [N, 1] from 0. It may have ``x_val`` and ``y_val`` too, and ``class_names``, text [classes].
    normalization : Normalization, optional
        How pixels become a network's input; measured on the training images by default.

    Raises
    ------
    MissingDataError
        When the file or an array is absent.
    DamagedDataError
        When the file is damaged, an array has another type or shape or more bytes than `MAX_ARRAY_BYTES`, or a class has no images.
    """
    arrays = read_arrays(path)
    if absent := [name for name in NEEDED if name not in arrays]:
        raise MissingDataError(path, rule=f"must hold {', '.join(NEEDED)}", value=f"without {', '.join(absent)}", remedy=WRITE_AGAIN)
    parts = ["train", "test", *(["val"] if "x_val" in arrays or "y_val" in arrays else [])]
    for name in (f"{letter}_{part}" for part in parts for letter in "xy"):
        if name not in arrays:
            raise MissingDataError(path, rule="must hold x_val and y_val, or none of them", value=f"without {name}", remedy=WRITE_AGAIN)
    images = {part: check_images(path, f"x_{part}", arrays[f"x_{part}"]) for part in parts}
    for part in parts:
        if images[part].shape[1:] != images["train"].shape[1:]:
            rule = f"images of x_{part} must have shape {images['train'].shape[1:]} as those of x_train"
            raise DamagedDataError(path, rule=rule, value=images[part].shape[1:], remedy=WRITE_AGAIN)
    labels = {part: check_labels(path, f"y_{part}", arrays[f"y_{part}"], len(images[part])) for part in parts}
    count = int(labels["train"].max()) + 1
    classes = check_names(path, arrays["class_names"]) if "class_names" in arrays else tuple(str(label) for label in range(count))
    for part in parts:
        if labels[part].max() >= len(classes):
            rule = f"labels of y_{part} must be below {len(classes)}"
            raise DamagedDataError(path, rule=rule, value=int(labels[part].max()), remedy="name every class, from label 0 on")
        present = np.bincount(labels[part], minlength=len(classes))
        if absent := [classes[label] for label in np.flatnonzero(present == 0)[:5]]:
            rule = f"every class must have images in x_{part}"
            raise DamagedDataError(path, rule=rule, value=f"none of {', '.join(absent)}", remedy="add some, or leave the class out")
    normalization = normalization or measure(images["train"])
    channels = (*images["train"].shape, 1)[3]
    if len(normalization.mean) not in (1, channels):
        raise DataError(
            path, rule=f"normalization must be of {channels} channels", value=len(normalization.mean), remedy="give one for each"
        )
    shift = max(1, round(SHIFT * min(images["train"].shape[1:3])))
    splits = {part: Split(images[part], labels[part], normalization, shift) for part in parts}
    return Dataset(path.stem, str(path), classes, splits["train"], splits["test"], validation=splits.get("val"))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file that data sets have; each header is checked before the array is made."""
    if not path.is_file():
        raise MissingDataError(path, rule="must be a file", value="absent", remedy="name a .npz file")
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (*NEEDED, *OPTIONAL):
                if f"{name}.npy" in archive.namelist():
                    check_header(path, archive, name)
                    with archive.open(f"{name}.npy") as file:
                        arrays[name] = npy.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DamagedDataError(path, rule="must be a whole .npz file", value=f"damaged ({error})", remedy=WRITE_AGAIN) from error
    return arrays


def check_header(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Check that an array is no larger than its file, nor than `MAX_ARRAY_BYTES`, and holds no objects."""
    size = archive.getinfo(f"{name}.npy").file_size
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    if dtype.hasobject:
        raise DamagedDataError(path, rule=f"{name} must be an array of numbers or text", value="objects", remedy=WRITE_AGAIN)
    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if claimed > min(size, MAX_ARRAY_BYTES):
        rule = f"{name} must have at most {min(size, MAX_ARRAY_BYTES)} bytes"
        raise DamagedDataError(path, rule=rule, value=claimed, remedy=WRITE_AGAIN)


def check_images(path: Path, name: str, images: np.ndarray) -> np.ndarray:
    """Return images, checked, without a last axis of one channel."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        rule = f"{name} must be uint8 [N, H, W] or [N, H, W, 1 or 3]"
        raise DamagedDataError(path, rule=rule, value=f"{images.dtype} {list(images.shape)}", remedy=WRITE_AGAIN)
    return images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images


def check_labels(path: Path, name: str, labels: np.ndarray, count: int) -> np.ndarray:
    """Return labels, checked, as int64 [N]."""
    if labels.dtype.kind not in "iu" or labels.shape not in ((count,), (count, 1)) or labels.min() < 0 or labels.max() >= 1_000_000:
        rule = f"{name} must be {count} whole numbers from 0"
        raise DamagedDataError(path, rule=rule, value=f"{labels.dtype} {list(labels.shape)}", remedy=WRITE_AGAIN)
    return labels.reshape(-1).astype(np.int64)


def check_names(path: Path, names: np.ndarray) -> tuple[str, ...]:
    """Return the names of the classes, checked."""
    found = tuple(str(name).strip() for name in names.tolist()) if names.dtype.kind == "U" and names.ndim == 1 else ()
    if not found or not all(found) or len(set(found)) != len(found):
        raise DamagedDataError(path, rule="class_names must be text, each name once", value=names.tolist(), remedy=WRITE_AGAIN)
    return found
