import gzip

import numpy as np
import pytest

from crisp.data import DamagedDataError, MissingDataError
from crisp.data.idx import MAX_BYTES, read_idx, write_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
AGAIN = "delete it and fetch the data again"


def test_what_is_written_is_read(tmp_path):
    write_idx(tmp_path / "a.gz", IMAGES)
    assert np.array_equal(read_idx(tmp_path / "a.gz", rank=3), IMAGES)


def test_bytes_follow_the_format(tmp_path):
    write_idx(tmp_path / "a.gz", IMAGES)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == bytes.fromhex("00000803 00000002 00000003 00000004") + IMAGES.tobytes()


def test_absent_file(tmp_path):
    path = tmp_path / "a.gz"
    with pytest.raises(MissingDataError) as caught:
        read_idx(path, rank=3)
    assert str(caught.value) == f"{path}: must be a file, not absent; name the folder that holds it, or fetch the data"


HEADER = bytes.fromhex("00000803 00000001 00000002 00000002")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes.fromhex("00000801 00000004") + bytes(4), f"magic number must be 0x00000803, not 0x00000801; {AGAIN}"),
        (b"", f"magic number must be 0x00000803, not 0x; {AGAIN}"),
        (HEADER + bytes(3), f"must hold 4 bytes, as its header says, not 3; {AGAIN}"),
        (HEADER + bytes(9), f"must hold 4 bytes, as its header says, not 5 or more; {AGAIN}"),
        (HEADER[:10], f"must hold 0 bytes, as its header says, not 0; {AGAIN}"),
        (bytes.fromhex("00000803 ffffffff ffffffff ffffffff"), f"must hold at most {MAX_BYTES} bytes, not {(2**32 - 1) ** 3}; {AGAIN}"),
    ],
)
def test_damaged_content(tmp_path, content, message):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DamagedDataError) as caught:
        read_idx(path, rank=3)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_damaged_gzip(tmp_path, damage):
    path = tmp_path / "a.gz"
    write_idx(path, np.random.default_rng(0).integers(0, 255, size=(9, 9, 9), dtype=np.uint8))
    whole = bytearray(path.read_bytes())
    if damage == "flip":
        whole[-5] ^= 0x40
    path.write_bytes({"cut": whole[:-20], "flip": whole, "text": b"no archive"}[damage])
    with pytest.raises(DamagedDataError, match="must be a whole gzip file, not damaged"):
        read_idx(path, rank=3)
