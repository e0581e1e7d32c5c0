import hashlib

import pytest

from crisp.data import DownloadError, fetch
from crisp.data.fashion_mnist import FILES

NAMES = [name for pair in FILES.values() for name in pair]


@pytest.fixture
def server(tmp_path, monkeypatch):
    folder = tmp_path / "server"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    monkeypatch.setattr(fetch, "MD5", {name: hashlib.md5(name.encode()).hexdigest() for name in NAMES})
    return folder


def test_original_files_are_fetched_and_checked(server, tmp_path):
    fetch.fetch_original(tmp_path / "target", server.as_uri())
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == sorted(NAMES)


def test_wrong_checksum_leaves_nothing(server, tmp_path):
    (server / NAMES[0]).write_bytes(b"something else")
    with pytest.raises(DownloadError, match=f"{NAMES[0]}: MD5 checksum must be .*, not .*; download Fashion-MNIST by other means"):
        fetch.fetch_original(tmp_path / "target", server.as_uri())
    assert list((tmp_path / "target").iterdir()) == []


def test_unreachable_address_leaves_nothing(tmp_path):
    with pytest.raises(DownloadError, match="must be reachable"):
        fetch.fetch_original(tmp_path / "target", (tmp_path / "nowhere").as_uri())
    assert list((tmp_path / "target").iterdir()) == []


def test_too_large_a_file_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_DOWNLOAD_BYTES", 3)
    with pytest.raises(DownloadError, match="must be at most 3 bytes, not larger"):
        fetch.fetch_original(tmp_path / "target", server.as_uri())


def test_failing_package_manager(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(fetch, "DEBIAN_PACKAGE", "no such package, certainly")

    def run(command, **options):
        return fetch.subprocess.CompletedProcess(command, 100, "", "reading\nE: Unable to locate package\n")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    with pytest.raises(DownloadError, match="exit code 100: E: Unable to locate package"):
        fetch.fetch_debian_package(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_package_is_unpacked_without_root(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}")

    def run(command, cwd, **options):
        if command[0] == "apt-get":
            (cwd / "package.deb").write_bytes(b"")
        else:
            tree = cwd / "tree" / fetch.DEBIAN_FOLDER
            tree.mkdir(parents=True)
            for name in NAMES:
                (tree / name).write_bytes(b"data")
        return fetch.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    fetch.fetch_debian_package(tmp_path / "target")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == sorted(NAMES)
