import gzip
import tarfile

import pytest
from tests.sw.data.archives import write_tar

from crisp.data import DamagedDataError, MissingDataError, archive
from crisp.data.archive import GET_AGAIN, read_files

CONTENTS = {"a/one": b"1" * 3000, "a/two": b"22", "b/three": b"333"}


def member(name, kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


@pytest.mark.parametrize("compressed", [True, False])
def test_named_files_are_read_and_others_passed_over(tmp_path, compressed):
    path = write_tar(tmp_path / "a", {f"./{name}": content for name, content in CONTENTS.items()}, compressed=compressed)
    assert read_files(path, {"a/one", "b/three", "a/none"}) == {"a/one": CONTENTS["a/one"], "b/three": b"333"}


def test_folder_or_the_one_in_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"1")
    assert read_files(tmp_path, {"a/one", "a/two"}) == {"a/one": b"1"}
    assert read_files(tmp_path / "a", {"a/one", "b/one"}) == {"a/one": b"1"}


def test_absent(tmp_path):
    with pytest.raises(MissingDataError, match="must be an archive or a folder, not absent; name the one that holds the data"):
        read_files(tmp_path / "a", {"a/one"})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([member("/etc/passwd")], "names must stay inside the archive, not '/etc/passwd'"),
        ([member("a/../../x")], "names must stay inside the archive, not 'a/../../x'"),
        ([member("a/three", tarfile.SYMTYPE, link="/etc")], "must hold only files and folders, not a link or device 'a/three'"),
        ([member("a/three", tarfile.LNKTYPE, link="a/one")], "must hold only files and folders, not a link or device 'a/three'"),
        ([member("a/three", tarfile.CHRTYPE)], "must hold only files and folders, not a link or device 'a/three'"),
        ([member("a/three", size=1 << 40)], f"a/three must have at most {archive.MAX_FILE_BYTES} bytes, not {1 << 40}"),
        ([member("a/one")], "must hold each file once, not a/one twice"),
        ([member(f"a/x{number}") for number in range(archive.MAX_MEMBERS)], f"must hold at most {archive.MAX_MEMBERS} files, not more"),
    ],
)
def test_what_no_sound_archive_holds(tmp_path, extra, message):
    path = write_tar(tmp_path / "a", CONTENTS, extra)
    with pytest.raises(DamagedDataError) as caught:
        read_files(path, {"a/one"})
    assert str(caught.value) == f"{path}: {message}; {GET_AGAIN}"


def test_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 1 << 16)
    path = write_tar(tmp_path / "a", {"a/one": bytes(1 << 20)})
    assert path.stat().st_size < 1 << 12
    with pytest.raises(DamagedDataError, match=f"must unpack to at most {1 << 16} bytes, not more"):
        read_files(path, {"a/two"})


def test_large_file_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 10)
    (tmp_path / "one").write_bytes(bytes(11))
    with pytest.raises(DamagedDataError, match="one: must have at most 10 bytes, not 11"):
        read_files(tmp_path, {f"{tmp_path.name}/one"})


@pytest.mark.parametrize("cut", [1, 9, 100, 1000, "flip", "tar", "text", "empty"])
def test_damaged_archive(tmp_path, cut):
    whole = bytearray(write_tar(tmp_path / "a", {"a/one": bytes(range(256)) * 40}).read_bytes())
    plain = bytearray(gzip.decompress(whole))
    if isinstance(cut, int):
        whole = whole[:-cut] if cut < len(whole) else whole[: len(whole) // 2]
    elif cut == "flip":
        whole[-6] ^= 1
    else:
        whole = {"tar": plain[:4000], "text": b"no archive", "empty": b""}[cut]
    (tmp_path / "a").write_bytes(whole)
    with pytest.raises(DamagedDataError, match="must be a whole tar archive, not damaged"):
        read_files(tmp_path / "a", {"a/one"})
