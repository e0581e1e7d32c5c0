"""Twenty pictures of ImageNet that the Python package foolbox carries: enough to see that a network trained on ImageNet still works.

Each file's name ends in its class. The package's data files are read directly; nothing of it is imported or run.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from .dataset import Split
from .errors import DamagedDataError
from .fetch import FETCH_FOLDER
from .normalization import COLOURS
from .packages import Package, fetch_package, read_member

__all__ = ["crop", "load_pictures", "normalize_colours"]

PACKAGE = Package("foolbox", "3.3.4", "foolbox-3.3.4-py3-none-any.whl", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb")

#: Classes of the pictures, in their order.
LABELS = (243, 559, 438, 990, 949, 853, 609, 609, 915, 455, 541, 630, 741, 471, 129, 99, 251, 22, 317, 305)

#: Share of a picture's shorter side that networks look at: 224 of 256 pixels.
CROP = 224 / 256


def load_pictures(folder: Path = FETCH_FOLDER, size: int = 224) -> Split:
    """Load the pictures, ``size`` x ``size`` pixels each: uint8 [20, size, size, 3], with their classes.

    Parameters
    ----------
    folder : Path
        Where the package is, or is fetched to.
    size : int
        Pixels a side.

    Raises
    ------
    DataError
        When the package cannot be fetched or is damaged.
    """
    archive = fetch_package(PACKAGE, folder)
    members = [f"foolbox/data/imagenet_{number:02}_{label}.jpg" for number, label in enumerate(LABELS)]
    images = [crop(f"{archive}:{member}", read_member(archive, member), size) for member in members]
    return Split(np.stack(images), np.array(LABELS, np.int64), COLOURS)


def crop(source: str, encoded: bytes, size: int) -> np.ndarray:
    """Return the central square of a picture, scaled to ``size`` x ``size`` pixels: uint8 [size, size, 3].

    Raises
    ------
    DamagedDataError
        When it is no picture.
    """
    try:
        picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DamagedDataError(source, rule="must be a picture", value=f"damaged ({error})", remedy="delete it and try again") from error
    margins = [(side - CROP * min(picture.size)) / 2 for side in picture.size]
    box = (margins[0], margins[1], picture.width - margins[0], picture.height - margins[1])
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box))


def normalize_colours(images: np.ndarray) -> np.ndarray:
    """Turn uint8 images [N, H, W, 3] into a network's float32 input [N, 3, H, W]: ``(colour - 127) / 128``."""
    return COLOURS.normalize(images)
