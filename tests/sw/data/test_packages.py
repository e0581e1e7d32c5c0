import hashlib
import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from crisp.data import DamagedDataError, DownloadError, packages
from crisp.data.packages import Package, fetch_package, read_member


def archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("package/data.txt", "data")
    return content.getvalue()


WHEEL, CONTENT = "package-1.0-py3-none-any.whl", archive()
PACKAGE = Package("package", "1.0", WHEEL, hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def pip(monkeypatch):
    """Stand in for pip: writes files to the folder that it is told, and notes its command and requirements."""
    state = {"files": {WHEEL: CONTENT}, "code": 0, "commands": [], "requirements": []}

    def run(command, **options):
        state["commands"].append(command)
        state["requirements"].append(Path(command[command.index("--requirement") + 1]).read_text())
        for name, content in state["files"].items():
            (Path(command[command.index("--dest") + 1]) / name).write_bytes(content)
        return subprocess.CompletedProcess(command, state["code"], "", "collecting\nERROR: no matching distribution\n")

    monkeypatch.setattr(packages.subprocess, "run", run)
    return state


def test_what_is_fetched_once_is_there(pip, tmp_path):
    first, second = (fetch_package(PACKAGE, tmp_path / "new") for _ in range(2))
    assert first == second == tmp_path / "new" / WHEEL
    assert [path.name for path in (tmp_path / "new").iterdir()] == [WHEEL]
    assert len(pip["commands"]) == 1
    assert {"--require-hashes", "--no-deps"} <= set(pip["commands"][0])
    assert pip["requirements"] == [f"package==1.0 --hash=sha256:{PACKAGE.sha256}\n"]
    assert read_member(first, "package/data.txt") == b"data"


def test_pip_that_fails(pip, tmp_path):
    pip["code"] = 1
    with pytest.raises(DownloadError, match="package: pip download must succeed, not exit code 1: ERROR: no matching distribution"):
        fetch_package(PACKAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pip_that_brings_something_else(pip, tmp_path):
    pip["files"] = {"package-1.0-cp311-none-any.whl": b""}
    with pytest.raises(DownloadError, match=rf"package: pip must bring {WHEEL}, not \['package-1.0-cp311-none-any.whl'\]; update pip"):
        fetch_package(PACKAGE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pip_that_does_not_start(tmp_path, monkeypatch):
    def run(command, **options):
        raise OSError("no such program")

    monkeypatch.setattr(packages.subprocess, "run", run)
    with pytest.raises(DownloadError, match=f"not no such program; check the network, or put {WHEEL} there by other means"):
        fetch_package(PACKAGE, tmp_path)


def test_archive_that_is_another(tmp_path):
    (tmp_path / WHEEL).write_bytes(b"something else")
    with pytest.raises(DamagedDataError, match=f"SHA-256 must be {PACKAGE.sha256}, not .*; delete it and try again"):
        fetch_package(PACKAGE, tmp_path)


def test_archive_without_the_file(tmp_path):
    (tmp_path / WHEEL).write_bytes(CONTENT)
    with pytest.raises(DamagedDataError, match=r"must be an archive with package/other\.txt, not damaged"):
        read_member(tmp_path / WHEEL, "package/other.txt")
    (tmp_path / WHEEL).write_bytes(b"no archive")
    with pytest.raises(DamagedDataError, match=r"must be an archive with package/data\.txt, not damaged"):
        read_member(tmp_path / WHEEL, "package/data.txt")
