import io
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from crisp.data import DamagedDataError, DataError, MissingDataError, Normalization, load_arrays

AGAIN = "write it again with numpy.savez_compressed"


def arrays(**changes):
    random = np.random.default_rng(0)
    found = {
        "x_train": random.integers(0, 256, (12, 9, 8, 3), dtype=np.uint8),
        "y_train": np.arange(12, dtype=np.int32) % 3,
        "x_test": random.integers(0, 256, (6, 9, 8, 3), dtype=np.uint8),
        "y_test": np.arange(6)[:, None] % 3,
        **changes,
    }
    return {name: value for name, value in found.items() if value is not None}


def save(path, **changes):
    np.savez_compressed(path, **arrays(**changes))
    return path


def test_arrays_make_a_data_set(tmp_path):
    content = arrays()
    data = load_arrays(save(tmp_path / "mine.npz"))
    assert (data.name, data.classes, data.shape, len(data.train), len(data.test)) == ("mine", ("0", "1", "2"), (9, 8, 3), 12, 6)
    assert np.array_equal(data.train.images, content["x_train"])
    assert data.test.labels.dtype == np.int64
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert [len(part) for part in data.training_and_validation()] == [9, 3]


def test_own_validation_images_and_names(tmp_path):
    path = save(tmp_path / "a.npz", x_val=np.zeros((3, 9, 8, 3), np.uint8), y_val=np.arange(3), class_names=np.array(["a", "b", "c"]))
    data = load_arrays(path)
    assert data.classes == ("a", "b", "c")
    assert [len(part) for part in data.training_and_validation()] == [12, 3]


def test_normalization_is_measured_on_training_images_in_whole_pixels(tmp_path):
    content = arrays()["x_train"].astype(float)
    data = load_arrays(save(tmp_path / "a.npz"))
    assert data.normalization == Normalization(
        tuple(content.mean((0, 1, 2)).round().tolist()), tuple(content.std((0, 1, 2)).round().tolist())
    )
    grey = load_arrays(save(tmp_path / "b.npz", x_train=np.full((12, 9, 8, 1), 7, np.uint8), x_test=np.zeros((6, 9, 8), np.uint8)))
    assert (grey.normalization, grey.shape, grey.train.images.ndim) == (Normalization((7,), (1,)), (9, 8, 1), 3)
    assert grey.normalization.is_exact
    given = load_arrays(tmp_path / "a.npz", Normalization((1,), (2,)))
    assert given.normalization == Normalization((1,), (2,))
    with pytest.raises(DataError, match="normalization must be of 3 channels, not 2; give one for each"):
        load_arrays(tmp_path / "a.npz", Normalization((1, 2), (2, 2)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"y_test": None}, MissingDataError, f"must hold x_train, y_train, x_test, y_test, not without y_test; {AGAIN}"),
        (
            {"x_val": np.zeros((3, 9, 8, 3), np.uint8)},
            MissingDataError,
            f"must hold x_val and y_val, or none of them, not without y_val; {AGAIN}",
        ),
        (
            {"x_train": np.zeros((12, 9, 8, 3))},
            DamagedDataError,
            f"x_train must be uint8 [N, H, W] or [N, H, W, 1 or 3], not float64 [12, 9, 8, 3]; {AGAIN}",
        ),
        (
            {"x_test": np.zeros((6, 9, 8, 2), np.uint8)},
            DamagedDataError,
            f"x_test must be uint8 [N, H, W] or [N, H, W, 1 or 3], not uint8 [6, 9, 8, 2]; {AGAIN}",
        ),
        (
            {"x_test": np.zeros((6, 8, 8, 3), np.uint8)},
            DamagedDataError,
            f"images of x_test must have shape (9, 8, 3) as those of x_train, not (8, 8, 3); {AGAIN}",
        ),
        ({"y_train": np.arange(11)}, DamagedDataError, f"y_train must be 12 whole numbers from 0, not int64 [11]; {AGAIN}"),
        ({"y_train": np.arange(12) - 1}, DamagedDataError, f"y_train must be 12 whole numbers from 0, not int64 [12]; {AGAIN}"),
        ({"y_train": np.arange(12) / 2}, DamagedDataError, f"y_train must be 12 whole numbers from 0, not float64 [12]; {AGAIN}"),
        (
            {"y_test": np.arange(6)},
            DamagedDataError,
            "labels of y_test must be below 3, not 5; name every class, from label 0 on",
        ),
        (
            {"y_test": np.zeros(6, int)},
            DamagedDataError,
            "every class must have images in x_test, not none of 1, 2; add some, or leave the class out",
        ),
        (
            {"class_names": np.array(["a", "b", "a"])},
            DamagedDataError,
            f"class_names must be text, each name once, not ['a', 'b', 'a']; {AGAIN}",
        ),
        (
            {"class_names": np.array(["a", None])},
            DamagedDataError,
            f"class_names must be an array of numbers or text, not objects; {AGAIN}",
        ),
    ],
)
def test_wrong_arrays(tmp_path, changes, error, message):
    path = save(tmp_path / "a.npz", **changes)
    with pytest.raises(error) as caught:
        load_arrays(path)
    assert str(caught.value) == f"{path}: {message}"


def test_absent_and_damaged_files(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(MissingDataError, match=r"must be a file, not absent; name a \.npz file"):
        load_arrays(path)
    whole = save(path).read_bytes()
    for content in (b"text", b"", whole[:-40], whole[: len(whole) // 2], whole[:100] + bytes(50) + whole[150:]):
        path.write_bytes(content)
        with pytest.raises(DamagedDataError, match=r"must be a whole \.npz file, not damaged"):
            load_arrays(path)


@pytest.mark.parametrize("shape", [(1 << 40, 9, 8, 3), (13, 9, 8, 3)])
def test_header_that_claims_more_than_there_is(tmp_path, shape):
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    path, content = tmp_path / "a.npz", arrays()["x_train"].tobytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + content)
    with pytest.raises(DamagedDataError, match="x_train must have at most"):
        load_arrays(path)
