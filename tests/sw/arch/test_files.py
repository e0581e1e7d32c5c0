import os
from pathlib import Path

import pytest
from tests.sw.small import little_room

from crisp.arch.errors import CrispError, OutputError
from crisp.arch.files import check_place, replacing, write_text


class WriteError(CrispError):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_is_on_the_disk_before_it_takes_the_place_of_another(tmp_path, monkeypatch):
    path, done = tmp_path / "new" / "a", []

    def sync(descriptor):
        done.append((os.fstat(descriptor).st_ino, path.exists()))

    monkeypatch.setattr("os.fsync", sync)
    with replacing(path, WriteError) as temporary:
        temporary.write_text("text")
    assert done == [(path.stat().st_ino, False)]
    assert path.read_text() == "text"
    assert names(path.parent) == ["a"]


def write(path, failure=OSError, error=None, hidden=None):
    """Write half of a file, then raise ``error``, with ``hidden`` behind it."""
    with replacing(path, WriteError, failure) as temporary:
        temporary.write_text("half")
        if error is not None:
            error.__context__ = hidden
            raise error


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("failure", "error", "hidden", "reason"),
    [
        (OSError, FULL, None, "No space left on device"),
        (RuntimeError, RuntimeError("unexpected pos"), FULL, "No space left on device"),  # as torch hides it
        (RuntimeError, RuntimeError("no room\nsee our pages"), None, "no room"),
        (RuntimeError, RuntimeError(), None, "RuntimeError"),
        (OSError, RuntimeError("another fault"), FULL, None),
    ],
)
def test_file_is_as_it_was_when_writing_fails(tmp_path, failure, error, hidden, reason):
    path = tmp_path / "a"
    path.write_text("before")
    with pytest.raises(WriteError if reason else type(error)) as caught:
        write(path, failure, error, hidden)
    told = f"{path}: must be written, but cannot be ({reason}); make room, or name another place"
    assert str(caught.value) == (told if reason else str(error))
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("folder", "Is a directory"), ("file/a", "File exists"), ("a" * 250, "File name too long"), ("a" * 300, "File name too long")],
)
def test_place_that_turns_out_to_be_none(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    with pytest.raises(WriteError) as caught:
        write(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: must be written, but cannot be ({reason}); make room, or name another place"
    assert names(tmp_path) == ["file", "folder"]


def test_text_is_written_whole(tmp_path):
    write_text(tmp_path / "new" / "a", "größer")
    assert (tmp_path / "new" / "a").read_bytes() == "größer".encode()
    with pytest.raises(OutputError, match=r"new: must be written, but cannot be \(Is a directory\)"):
        write_text(tmp_path / "new", "text")


def test_two_processes_write_into_files_of_their_own(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        assert temporary.name == f".a.{os.getpid()}.part"
        temporary.write_text("text")


def test_link_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(Path("there") / "a")
    for text in ("first", "second"):
        write_text(tmp_path / "link", text)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "a").read_text() == "second"
    assert names(tmp_path / "there") == ["a"]


def test_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OutputError) as caught:
            write_text(tmp_path / name, "text")
        assert str(caught.value) == f"{tmp_path / name}: what is written must be a file, not a device or a pipe; name a file"
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["link", "pipe"]


def test_full_disk(tmp_path):
    with pytest.raises(WriteError, match=r"a: must be written, but cannot be \(File too large\)"), little_room(2):
        write(tmp_path / "a")
    assert names(tmp_path) == []


def test_place_that_can_be_written_to(tmp_path):
    (tmp_path / "there").write_text("text")
    for name in ("there", "absent", "new/folder/a"):
        check_place(tmp_path / name, "the output", WriteError)
    assert names(tmp_path) == ["new", "there"]
    assert names(tmp_path / "new" / "folder") == []
    assert (tmp_path / "there").read_text() == "text"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("folder", "must be a file, not a folder; name a file"),
        ("/dev/null", "must be a file, not a device or a pipe; name a file"),
        ("file/a", "must be a file that can be written, but it cannot (File exists); name another place"),
        ("file/folder/a", "must be a file that can be written, but it cannot (Not a directory); name another place"),
        ("a" * 300, "must be a file that can be written, but it cannot (File name too long); name another place"),
        ("/proc/none/a", "must be a file that can be written, but it cannot (No such file or directory); name another place"),
    ],
)
def test_place_that_cannot_be_written_to(tmp_path, name, rule):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    path: Path = tmp_path / name
    with pytest.raises(WriteError) as caught:
        check_place(path, "the output", WriteError)
    assert str(caught.value) == f"{path}: the output {rule}"
    assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path / "folder") == []
