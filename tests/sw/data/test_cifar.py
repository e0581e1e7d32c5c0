import numpy as np
import pytest
from tests.sw.data.archives import COUNTS, HUNDRED, TEN, TWENTY, files, make_images, write_folder, write_tar

from crisp.data import DamagedDataError, DataError, MissingDataError, load_cifar, load_dataset

KINDS = ("cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python")
GET_AGAIN = "get the archive from its authors again"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["tar.gz", "tar", "folder", "above"])
def test_all_formats_hold_the_same_images(tmp_path, kind, place):
    if place.startswith("tar"):
        path = write_tar(tmp_path / f"a.{place}", files(kind), compressed=place.endswith("gz"))
    else:
        path = write_folder(tmp_path, files(kind)) / (kind if place == "folder" else "")
    data = load_cifar(path, counts=COUNTS)
    hundred = "100" in kind
    assert (data.name, data.classes) == (("CIFAR-100", HUNDRED) if hundred else ("CIFAR-10", TEN))
    assert (len(data.train), len(data.test), data.shape, data.source) == (500, 100, (32, 32, 3), str(path))
    pixels, labels = make_images(100, 1 if hundred else 9)
    assert np.array_equal(data.test.images, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert data.test.labels.tolist() == (labels if hundred else labels % 10).tolist()
    pixels, labels = make_images(500, 0) if hundred else (np.concatenate([make_images(100, n)[0] for n in range(1, 6)]), np.arange(500))
    assert np.array_equal(data.train.images[:, 3, 7, 1], pixels[:, 1024 + 3 * 32 + 7])
    assert data.train.labels.tolist() == (labels % len(data.classes)).tolist()
    assert np.allclose(data.train.inputs()[0, 2, 0, 0], (pixels[0, 2048] - data.normalization.mean[2]) / data.normalization.deviation[2])


@pytest.mark.parametrize("kind", KINDS[2:])
def test_coarse_labels(tmp_path, kind):
    data = load_cifar(write_tar(tmp_path / "a.tar.gz", files(kind)), "coarse", COUNTS)
    assert data.classes == TWENTY
    assert data.test.labels.tolist() == (np.arange(100) // 5).tolist()


def test_kinds_of_labels_that_there_are_not(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", files(KINDS[0]))
    with pytest.raises(DataError) as caught:
        load_cifar(path, "coarse", COUNTS)
    assert str(caught.value) == f"{path}: labels must be one of fine, not 'coarse'; choose one of them"


def test_counts_are_those_of_the_original(tmp_path):
    path = write_tar(tmp_path / "cifar.tar.gz", files(KINDS[2]))
    with pytest.raises(DamagedDataError) as caught:
        load_dataset(path)
    assert str(caught.value) == f"{path}:train.bin: must hold 50000 images, not 500; {GET_AGAIN}"


def change(kind, name, edit):
    contents = files(kind)
    contents[f"{kind}/{name}"] = edit(contents[f"{kind}/{name}"])
    return contents


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            change(KINDS[0], "data_batch_3.bin", lambda body: body[:-1]),
            ":data_batch_3.bin: must hold images of 3073 bytes each, not 307299 bytes",
        ),
        (change(KINDS[0], "data_batch_3.bin", lambda body: body[3073:]), ":data_batch_3.bin: must hold 100 images, not 99"),
        (change(KINDS[0], "test_batch.bin", lambda body: b"\x0a" + body[1:]), ":test_batch.bin: labels must be below 10, not 10 or more"),
        (
            change(KINDS[2], "train.bin", lambda body: body[:1] + b"\x64" + body[2:]),
            ":train.bin: labels must be below 100, not 100 or more",
        ),
        (
            change(KINDS[2], "test.bin", lambda body: body[:1] + b"\x01" + body[2:]),
            ": every class must have images, not 1 classes without",
        ),
        (change(KINDS[0], "batches.meta.txt", lambda body: body[9:]), ":batches.meta.txt: must name 10 classes, not 9"),
        (
            change(KINDS[2], "fine_label_names.txt", lambda body: body.replace(f"{HUNDRED[3]}\n".encode(), f"{HUNDRED[7]}\n".encode())),
            f":fine_label_names.txt: must name each class once, not {HUNDRED[7]} twice",
        ),
        (
            change(KINDS[2], "fine_label_names.txt", lambda body: body * 2),
            f":fine_label_names.txt: must name each class once, not {HUNDRED[0]} twice",
        ),
        (change(KINDS[1], "batches.meta", lambda body: b"\x80\x02}q\x00."), ":batches.meta: must name 10 classes, not 0"),
    ],
)
def test_damaged_files(tmp_path, contents, message):
    path = write_tar(tmp_path / "a.tar.gz", contents)
    with pytest.raises(DamagedDataError) as caught:
        load_cifar(path, counts=COUNTS)
    assert str(caught.value) == f"{path}{message}; {GET_AGAIN}"
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


def test_missing_files(tmp_path):
    contents = files(KINDS[2])
    del contents["cifar-100-binary/test.bin"]
    path = write_tar(tmp_path / "a.tar.gz", contents)
    with pytest.raises(MissingDataError) as caught:
        load_cifar(path, counts=COUNTS)
    assert str(caught.value) == f"{path}: must hold the files of CIFAR-100, not without cifar-100-binary/test.bin; {GET_AGAIN}"
    write_tar(path, {"readme": b""})
    with pytest.raises(MissingDataError, match="must hold CIFAR-10 or CIFAR-100, not without one; name the authors' archive or its folder"):
        load_cifar(path)


def test_two_data_sets(tmp_path):
    for kind in KINDS[1:3]:
        write_folder(tmp_path, files(kind))
    with pytest.raises(DataError, match="must hold one data set, not cifar-10-batches-py and cifar-100-binary; name the folder of one"):
        load_cifar(tmp_path, counts=COUNTS)
