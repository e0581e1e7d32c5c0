"""Images that lie in files: read when they are used, and no more than a batch at a time."""

import dataclasses
import functools
import hashlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from .crops import central_square, random_square
from .errors import DamagedDataError, MissingDataError
from .images import Images
from .normalization import IMAGENET, Normalization

__all__ = ["MAX_PICTURE_PIXELS", "PictureFiles", "read_picture"]

#: A picture that is larger is refused before it is decoded. ImageNet's largest has 50 million pixels.
MAX_PICTURE_PIXELS = 1 << 26

#: Formats whose pixels of 16 bits Pillow may give as whole numbers of 32.
SIXTEEN_BITS = ("PNG", "PPM")
#: Tags of TIFF: bits of a pixel, and what 0 is.
BITS, PHOTOMETRIC = 258, 262


@dataclasses.dataclass(frozen=True)
class PictureFiles(Images):
    """Pictures in files, with their labels.

    Parameters
    ----------
    root : Path
        Folder.
    files : ndarray
        Names of the files below it as the system has them, bytes [N].
    labels : ndarray
        int64 [N].
    size : int
        Pixels a side of what a network sees.
    channels : int
        3 for colours, 1 for grey.
    normalization : Normalization
        How pixels become a network's input; ImageNet's by default.
    workers : int
        Threads that read files.
    """

    root: Path
    files: np.ndarray
    labels: np.ndarray
    size: int = 224
    channels: int = 3
    normalization: Normalization = IMAGENET
    workers: int = 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.size, self.size, self.channels

    def take(self, index: np.ndarray | slice) -> Self:
        """Return the images at ``index``; reads nothing."""
        return dataclasses.replace(self, files=self.files[index], labels=self.labels[index])

    def relabel(self, labels: np.ndarray) -> Self:
        """Return the same images with other labels, int64 [N]."""
        return dataclasses.replace(self, labels=labels)

    def pixels(self, random: np.random.Generator | None = None) -> np.ndarray:
        """Read all files: their central squares, or, by ``random``, random parts of them, half of them mirrored.

        Every image has a seed of its own, so what comes out does not depend on the number of threads.

        Raises
        ------
        MissingDataError, DamagedDataError
            When a file is absent, or no picture.
        """
        seeds = [None if random is None else int(random.integers(0, 1 << 63)) for _ in range(len(self))]
        shape = (len(self), self.size, self.size, *((self.channels,) if self.channels > 1 else ()))
        images = np.empty(shape, np.uint8)
        read = functools.partial(self.read_into, images, seeds)
        if self.workers == 1:
            for number in range(len(self)):
                read(number)
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(read, range(len(self))))
        return images

    def digest(self) -> str:
        """Return a SHA-256 of labels, names and sizes of the files.

        Raises
        ------
        MissingDataError
            When one is absent.
        """
        digest = hashlib.sha256(self.labels.tobytes())
        for name in self.files.tolist():
            path = self.root / os.fsdecode(name)
            try:
                digest.update(name + b"\0" + str(path.stat().st_size).encode() + b"\0")
            except OSError as error:
                raise MissingDataError(path, rule="must be a file", value="absent", remedy="load the folder again") from error
        return digest.hexdigest()

    def read_into(self, images: np.ndarray, seeds: list[int | None], number: int) -> None:
        """Read one file into its place."""
        picture, seed = read_picture(self.root / os.fsdecode(self.files[number]), self.channels), seeds[number]
        images[number] = (
            central_square(picture, self.size) if seed is None else random_square(picture, self.size, np.random.default_rng(seed))
        )


def read_picture(path: Path, channels: int = 3) -> Image.Image:
    """Return a picture, grey (``L``) or coloured (``RGB``), 8 bits a channel, to which 16 are scaled. Of several frames it is the first.

    Raises
    ------
    MissingDataError
        When there is no such file.
    DamagedDataError
        When it is no picture, is cut off, has more than `MAX_PICTURE_PIXELS`, or pixels of which nobody knows what is white.
    """
    remedy = "get the picture again, or delete it"
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                value = f"{picture.width} x {picture.height}"
                raise DamagedDataError(path, rule=f"must have at most {MAX_PICTURE_PIXELS} pixels", value=value, remedy=remedy)
            return to_eight_bits(path, picture).convert("RGB" if channels == 3 else "L")
    except FileNotFoundError as error:
        raise MissingDataError(path, rule="must be a file", value="absent", remedy="load the folder again") from error
    except (
        OSError,
        EOFError,
        ValueError,
        SyntaxError,
        OverflowError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DamagedDataError(path, rule="must be a picture", value=f"damaged ({error})", remedy=remedy) from error


def to_eight_bits(path: Path, picture: Image.Image) -> Image.Image:
    """Return a picture with channels of 8 bits.

    Raises
    ------
    DamagedDataError
        When they have neither 8 nor 16 bits, or 0 for white.
    """
    if picture.mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA")  # else Pillow warns of what is lost
    if not picture.mode.startswith(("I", "F")):
        return picture
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(BITS, (16,))[0]
    if picture.mode == "F":
        value = "real numbers"
    elif picture.mode == "I" and picture.format not in SIXTEEN_BITS:
        value = "signed or 32-bit whole numbers"
    elif bits != 16:
        value = f"{bits} bits"
    elif tags.get(PHOTOMETRIC) == 0:
        value = "16 bits with 0 for white"
    else:
        return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))
    raise DamagedDataError(path, rule="pixels must have 8 or 16 bits, 0 for black", value=value, remedy="convert the picture to 8 bits")
