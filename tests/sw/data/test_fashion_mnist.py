import numpy as np
import pytest

from crisp.data import DamagedDataError, MissingDataError, load_fashion_mnist
from crisp.data.fashion_mnist import CLASSES, FILES
from crisp.data.idx import write_idx

COUNTS = {"train": 12, "test": 5}


@pytest.fixture
def folder(tmp_path):
    for split, count in COUNTS.items():
        images, labels = FILES[split]
        write_idx(tmp_path / images, np.full((count, 28, 28), count, dtype=np.uint8))
        write_idx(tmp_path / labels, np.arange(count, dtype=np.uint8) % 10)
    return tmp_path


def test_four_files_make_a_data_set(folder):
    data = load_fashion_mnist(folder, COUNTS)
    assert (len(data.train), len(data.test), data.classes, data.notice) == (12, 5, CLASSES, "")
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int64
    assert data.test.labels.tolist() == [0, 1, 2, 3, 4]


def test_missing_file_is_named(folder):
    (folder / FILES["test"][1]).unlink()
    with pytest.raises(MissingDataError) as caught:
        load_fashion_mnist(folder, COUNTS)
    assert str(caught.value) == (
        f"{folder}: must hold the four Fashion-MNIST files, not without t10k-labels-idx1-ubyte.gz; name another folder"
    )


@pytest.mark.parametrize(
    ("file", "values", "rule"),
    [
        (FILES["train"][0], np.zeros((11, 28, 28)), "shape must be (12, 28, 28), not (11, 28, 28)"),
        (FILES["train"][0], np.zeros((12, 28, 27)), "shape must be (12, 28, 28), not (12, 28, 27)"),
        (FILES["test"][1], np.zeros(6), "shape must be (5,), not (6,)"),
        (FILES["test"][1], np.full(5, 10), "labels must be below 10, not 10"),
    ],
)
def test_wrong_content_is_named(folder, file, values, rule):
    write_idx(folder / file, values)
    with pytest.raises(DamagedDataError) as caught:
        load_fashion_mnist(folder, COUNTS)
    assert str(caught.value) == f"{folder / file}: {rule}; delete it and fetch the data again"
