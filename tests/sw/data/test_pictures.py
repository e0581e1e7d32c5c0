import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from crisp.data import DamagedDataError, load_pictures, normalize_colours, pictures


def encode(pixels):
    """Return ``pixels``, uint8 [H, W, 3], as the bytes of a PNG file, which loses nothing."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_the_middle_seven_eighths_of_the_shorter_side_are_seen():
    rows, columns = np.mgrid[:64, :100].astype(np.uint8)
    cropped = pictures.crop("picture", encode(np.stack([rows, columns, 0 * rows], axis=2)), 28)
    assert (cropped.shape, cropped.dtype) == ((28, 28, 3), np.uint8)
    middles = 2 * np.arange(28) + 0.5  # of 56 pixels, two become one
    assert np.abs(cropped[:, :, 0] - (4 + middles)[:, None]).max() <= 0.5
    assert np.abs(cropped[:, :, 1] - (22 + middles)).max() <= 0.5


def test_colours_become_what_int8_holds_exactly():
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    x = normalize_colours(images)
    assert (x.shape, x.dtype) == ((1, 3, 16, 16), np.float32)
    assert np.array_equal(np.rint(x * 128).astype(int) - 1, images.transpose(0, 3, 1, 2).astype(int) - 128)


def test_pictures_carry_their_classes(tmp_path, monkeypatch):
    archive = tmp_path / "pictures.whl"
    with zipfile.ZipFile(archive, "w") as file:
        for number, label in enumerate(pictures.LABELS):
            file.writestr(f"foolbox/data/imagenet_{number:02}_{label}.jpg", encode(np.full((9, 8, 3), number, np.uint8)))
    monkeypatch.setattr(pictures, "fetch_package", lambda package, folder: archive)
    split = load_pictures(tmp_path, size=4)
    assert split.images.shape == (20, 4, 4, 3)
    assert split.images[:, 0, 0, 0].tolist() == list(range(20))
    assert split.labels[:3].tolist() == [243, 559, 438]
    assert len(split.take(slice(2))) == 2


def test_damaged_picture():
    with pytest.raises(DamagedDataError, match="picture: must be a picture, not damaged"):
        pictures.crop("picture", b"no picture", 4)
