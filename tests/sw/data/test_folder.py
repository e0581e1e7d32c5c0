import hashlib
import os
import struct
import threading

import numpy as np
import pytest
from PIL import Image

from crisp.data import DamagedDataError, DataError, MissingDataError, Normalization, load_dataset, load_folder, picture_files
from crisp.data.folder import read_names
from crisp.data.normalization import IMAGENET

COUNTS = {"train": {"n02": 5, "n01": 4, "n03": 3}, "val": {"n01": 2, "n02": 2, "n03": 1}}
SUFFIXES = ("JPEG", "png", "jpg")


def write_pictures(root, counts=COUNTS, side=40):
    random = np.random.default_rng(0)
    for part, classes in counts.items():
        for folder, count in classes.items():
            (root / part / folder).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (side + 3 * number, side + 5, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / folder / f"{number}.{SUFFIXES[number % 3]}")
    return root


@pytest.fixture
def root(tmp_path):
    return write_pictures(tmp_path / "pets")


def test_folder_makes_a_data_set(root):
    (root / "train" / "n01" / "Thumbs.db").touch()
    (root / "train" / ".cache").mkdir()
    data = load_folder(root, size=16)
    assert (data.name, data.classes, data.shape) == ("pets", ("n01", "n02", "n03"), (16, 16, 3))
    assert data.train.labels.tolist() == [0] * 4 + [1] * 5 + [2] * 3
    assert [len(part) for part in (data.train, data.test, *data.training_and_validation())] == [12, 5, 9, 3]
    batch = next(data.test.batches(4))
    assert (batch.pixels().shape, batch.pixels().dtype, batch.inputs().shape) == ((4, 16, 16, 3), np.uint8, (4, 3, 16, 16))
    assert np.array_equal(batch.inputs(), IMAGENET.normalize(batch.pixels()))
    assert load_dataset(root, size=16).classes == data.classes


def test_test_images_beside_validation_images(root):
    write_pictures(root, {"test": {"n01": 1, "n02": 1, "n03": 1}})
    data = load_folder(root, size=8)
    assert [len(part) for part in (*data.training_and_validation(), data.test)] == [12, 5, 3]


def test_choosing_reads_nothing(root, monkeypatch):
    monkeypatch.setattr(picture_files, "read_picture", lambda *arguments: pytest.fail("a picture was read"))
    data = load_folder(root, size=16)
    chosen = data.train.select((2, 0))
    assert chosen.labels.tolist() == [1] * 4 + [0] * 3
    assert data.train.keep((2, 0)).labels.tolist() == [0] * 4 + [2] * 3
    assert [len(batch) for batch in chosen.batches(3, np.random.default_rng(0))] == [3, 3]
    assert len(data.select((1, 2)).train) == 6
    assert len(data.train.hold_out(0.5, 0)[1]) == 6


def test_no_more_than_a_batch_is_read(root, monkeypatch):
    read, original = [], picture_files.read_picture
    monkeypatch.setattr(picture_files, "read_picture", lambda path, channels: read.append(path) or original(path, channels))
    batches = load_folder(root, size=16).train.batches(3)
    for number in (1, 2):
        next(batches).pixels()
        assert len(read) == 3 * number


def test_digest_reads_no_picture(root, monkeypatch):
    train = load_folder(root, size=16).train
    before = train.digest()
    monkeypatch.setattr(picture_files, "read_picture", lambda *args: pytest.fail("must not read"))
    assert load_folder(root, size=16).train.digest() == before
    path = train.root / os.fsdecode(train.files[0])
    path.write_bytes(path.read_bytes() + b"more")
    assert train.digest() != before
    path.unlink()
    with pytest.raises(MissingDataError, match="must be a file, not absent; load the folder again"):
        train.digest()


@pytest.mark.parametrize("augmented", [False, True])
def test_threads_change_nothing(root, augmented):
    digests, alive = set(), threading.active_count()
    for workers in (1, 2, 5):
        split = load_folder(root, size=16, workers=workers).train
        random = np.random.default_rng(3) if augmented else None
        digests.add(hashlib.sha256(split.pixels(random).tobytes()).hexdigest())
        assert threading.active_count() == alive
    assert len(digests) == 1


def test_seed_decides_what_is_seen(root):
    split = load_folder(root, size=16).train
    first, again, other = (split.pixels(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_grey_pictures(root):
    data = load_folder(root, size=16, channels=1, normalization=Normalization((1,), (2,)))
    assert data.shape == (16, 16, 1)
    assert data.train.take(slice(2)).pixels().shape == (2, 16, 16)
    assert data.train.take(slice(2)).inputs().shape == (2, 1, 16, 16)
    assert len(load_folder(root, channels=1).normalization.mean) == 1


def test_names_of_classes(root):
    (root / "LOC_synset_mapping.txt").write_text("n01 crane\nn02 crane, big bird\nn03 red fox, Vulpes\nn04 other\n")
    assert load_folder(root).classes == ("crane (n01)", "crane (n02)", "red fox")
    (root / "mine.txt").write_text("n01 a\nn02\nn03 c\n")
    assert load_folder(root, names=root / "mine.txt").classes == ("a", "n02", "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a file, not absent; name the file with the classes' names"),
        (b"n01 a\n", "must name every class, not without n02; add a line for each"),
        (b"\xff\xfe", "must be text, not damaged"),
    ],
)
def test_names_that_do_not_do(tmp_path, content, message):
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_names(tmp_path / "names.txt", ["n01", "n02"])


def remove(folder):
    for file in folder.iterdir():
        file.unlink()
    return folder


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda root: (root / "val").rename(root / "valid"),
            MissingDataError,
            ": must hold the folders train and val or test, not only train; name another folder",
        ),
        (
            lambda root: remove(root / "val" / "n03").rmdir(),
            MissingDataError,
            "/val: must hold a folder for each class of train, not without n03; add it",
        ),
        (
            lambda root: remove(root / "train" / "n02"),
            MissingDataError,
            "/train/n02: must hold pictures (.jpeg, .jpg, .png, .bmp, .webp, .tif, .tiff, .ppm, .pgm, .gif), not without one; "
            "add some, or delete the class everywhere",
        ),
        (
            lambda root: (remove(root / "train" / "n02") / "images").mkdir(),
            MissingDataError,
            "/train/n02: must hold pictures (.jpeg, .jpg, .png, .bmp, .webp, .tif, .tiff, .ppm, .pgm, .gif), not only folder (1); "
            "add some, or delete the class everywhere",
        ),
        (
            lambda root: (root / "val" / "n09").mkdir(),
            DataError,
            "/val: must have only the classes of train, not n09 too; delete the folder, or add it to train",
        ),
    ],
)
def test_folders_that_do_not_do(root, change, error, message):
    change(root)
    with pytest.raises(error) as caught:
        load_folder(root)
    assert str(caught.value) == f"{root}{message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be from 1 to 10000, not 0; choose another"),
        ({"channels": 4}, "channels must be 1, grey, or 3, coloured, not 4; choose another"),
        ({"workers": 65}, "workers must be from 1 to 64, not 65; choose another"),
        ({"workers": 0}, "workers must be from 1 to 64, not 0; choose another"),
    ],
)
def test_options_that_cannot_be(root, options, message):
    with pytest.raises(DataError) as caught:
        load_folder(root, **options)
    assert str(caught.value) == f"{root}: {message}"


RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
SCALED = {
    "sixteen.png": RAMP.astype(np.uint16),
    "sixteen.tif": RAMP.astype(np.uint16),
    "sixteen.pgm": RAMP.astype(np.uint16),
    "eight.gif": (RAMP / 257).astype(np.uint8),
    "eight.ppm": np.repeat((RAMP / 257).astype(np.uint8)[..., None], 3, axis=2),
    "eight.tiff": np.repeat((RAMP / 257).astype(np.uint8)[..., None], 3, axis=2),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "pixels"), SCALED.items())
def test_black_to_white_is_0_to_255_in_all_formats(tmp_path, name, pixels, channels):
    Image.fromarray(pixels).save(tmp_path / name)
    read = np.asarray(picture_files.read_picture(tmp_path / name, channels))
    assert read.shape == ((64, 64, 3) if channels == 3 else (64, 64))
    assert (read.min(), read.max()) == (0, 255)
    assert np.abs(read.reshape(64, 64, -1) - RAMP[..., None] / 257).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_what_palettes_let_shine_through_has_its_colour(tmp_path, transparency, channels):
    plain = Image.fromarray((RAMP / 257).astype(np.uint8)).convert("P")
    plain.save(tmp_path / "plain.png")
    plain.save(tmp_path / "clear.png", transparency=transparency)
    read = [np.asarray(picture_files.read_picture(tmp_path / name, channels)) for name in ("plain.png", "clear.png")]
    assert (read[0] == read[1]).all()
    assert np.abs(read[0].reshape(64, 64, -1) - RAMP[..., None] / 257).max() <= 1


def twelve_bits(path):
    """Write a picture of twelve bits a pixel, which Pillow can only read: two pixels in three bytes."""
    entries = [(256, 4, 2), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, 1), (279, 4, 3)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path.write_bytes(b"II*\0" + struct.pack("<I", 12) + b"\xff\xff\xff\0" + directory + bytes(4))


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (lambda path: Image.fromarray(RAMP.astype(np.int32)).save(path), "signed or 32-bit whole numbers"),
        (lambda path: Image.fromarray(RAMP.astype(np.float32)).save(path), "real numbers"),
        (lambda path: Image.fromarray(RAMP.astype(np.uint16)).save(path, tiffinfo={262: 0}), "16 bits with 0 for white"),
        (twelve_bits, "12 bits"),
    ],
)
def test_pictures_whose_white_nobody_knows(tmp_path, write, value):
    path = tmp_path / "a.tif"
    write(path)
    with pytest.raises(DamagedDataError) as caught:
        picture_files.read_picture(path)
    assert str(caught.value) == f"{path}: pixels must have 8 or 16 bits, 0 for black, not {value}; convert the picture to 8 bits"


def test_files_that_are_left_out_are_told(root):
    assert load_folder(root).notice == ""
    for name in ("train/n01/a.heic", "train/n03/b.heic", "val/n02/Thumbs.db", "train/n01/README", "train/n01/.hidden"):
        (root / name).touch()
    (root / "val" / "n01" / "more.png").mkdir()
    told = []
    data = load_dataset(root, size=16, tell=told.append)
    assert [len(data.train), len(data.test)] == [12, 5]
    assert told == [data.notice]
    assert data.notice == (
        f"{root}: 5 entries are left out, since they are none of the pictures that are read "
        "(.jpeg, .jpg, .png, .bmp, .webp, .tif, .tiff, .ppm, .pgm, .gif): .heic (2), .db (1), folder (1), no end (1)"
    )
    assert data.select((0, 2)).notice == data.notice


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "absent", "large"])
def test_damaged_picture_is_named_when_it_is_read(root, damage, monkeypatch):
    split = load_folder(root, size=16).train
    path = root / "train" / os.fsdecode(split.files[0])
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "large":
        monkeypatch.setattr(picture_files, "MAX_PICTURE_PIXELS", 100)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"no picture", "empty": b""}[damage])
    rule = {"absent": "must be a file, not absent", "large": "must have at most 100 pixels, not 45 x 40"}.get(
        damage, "must be a picture, not damaged"
    )
    with pytest.raises(MissingDataError if damage == "absent" else DamagedDataError) as caught:
        split.take(slice(4)).pixels()
    assert str(caught.value).startswith(f"{path}: {rule}")
