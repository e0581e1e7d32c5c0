import os
import pickle
import pickletools
import random

import numpy as np
import pytest

from crisp.data import DamagedDataError
from crisp.data.cifar_pickle import array_of, read_pickle

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)

#: What Python 2 wrote: bytes as strings, and NumPy's old name.
ORIGINAL = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    b"(K\x01K\x03K\x04\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x0c" + PIXELS.tobytes() + b"tbU\x06labelsq\x08]q\x09(K\x05K\x06K\x07eu."
)


def test_original_pickle():
    assert pickle.loads(ORIGINAL, encoding="bytes")[b"data"].tolist() == PIXELS.tolist()
    found = read_pickle("file", ORIGINAL)
    assert found["labels"] == [5, 6, 7]
    assert np.array_equal(array_of("file", found["data"], 4), PIXELS)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_pickle_of_today(protocol):
    found = read_pickle("file", pickle.dumps({"data": PIXELS, b"names": [b"a", "b"], "more": (1, None, True, 2.5)}, protocol))
    assert np.array_equal(array_of("file", found["data"], 4), PIXELS)
    assert found["names"] == [b"a", "b"]
    assert found["more"] == (1, None, True, 2.5)


class Trap:
    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Trap(os.mkdir, "trap")}),
        pickle.dumps({"data": Trap(eval, "1")}),
        pickle.dumps({"data": Trap(getattr, 1, "real")}),
        pickle.dumps({"data": np.array([print], dtype=object)}),
        b"cos\nmkdir\n(S'trap'\ntR.",
        b"(S'trap'\nios\nmkdir\n.",
        b"\x80\x04\x95" + b"\xff" * 8 + b"}.",
        b"\x80\x02}q\x01r\xff\xff\xff\x7f",
        b"\x80\x02\x8e" + b"\xff" * 8 + b".",
        b"\x80\x02B\xff\xff\xff\xffab.",
        b"\x80\x09.",
        b"P1\n.",
        b"\x82\x01.",
        ORIGINAL[:-9],
        b"",
        b"text",
    ],
)
def test_nothing_is_called(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DamagedDataError, match="file: must be a plain pickle of arrays and lists, not "):
        read_pickle("file", content)
    assert list(tmp_path.iterdir()) == []


def test_random_damage_is_a_typed_error_or_harmless():
    generator = random.Random(0)
    for _ in range(2000):
        content = bytearray(ORIGINAL)
        for _ in range(generator.randint(1, 4)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            found = read_pickle("file", bytes(content))
            array_of("file", found.get("data"), 4)
        except DamagedDataError:
            pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "file: data must be an array, not list"),
        (PIXELS.astype(np.int32), "file: data must be an array of unsigned bytes in rows, not another"),
        (np.asfortranarray(PIXELS), "file: data must be an array of unsigned bytes in rows, not another"),
        (PIXELS.ravel(), r"file: data must have shape \(N, 4\), not \(12,\) of 12 bytes"),
        (PIXELS.reshape(4, 3), r"file: data must have shape \(N, 4\), not \(4, 3\) of 12 bytes"),
    ],
)
def test_other_arrays(value, message):
    with pytest.raises(DamagedDataError, match=message):
        array_of("file", read_pickle("file", pickle.dumps({"data": value}, 2))["data"], 4)


def test_array_that_claims_more_than_it_has():
    with pytest.raises(DamagedDataError, match=r"data must have shape \(N, 4\), not \(127, 4\) of 12 bytes"):
        array_of("file", read_pickle("file", ORIGINAL.replace(b"K\x03K\x04\x86", b"K\x7fK\x04\x86"))["data"], 4)


def test_something_else_than_a_dictionary():
    with pytest.raises(DamagedDataError, match="file: must hold a dictionary, not list"):
        read_pickle("file", pickletools.optimize(pickle.dumps([1])))
