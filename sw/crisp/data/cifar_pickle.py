"""CIFAR's Python archives are pickles: read without running any of what they name.

A pickle is a program that may call whatever function it names. Here the few names that CIFAR's files use stand for records that only keep
what they are given; every other name is an error. Arrays are made from those records afterwards, when they are known to be sound.
"""

import codecs
import io
import pickle
import struct
from typing import Any

import numpy as np

from .errors import DamagedDataError

__all__ = ["array_of", "read_pickle"]

REMEDY = "get it from its authors again"


class ElementType:
    """What a pickle says of an array's elements."""

    def __init__(self, code: object = None, *rest: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        self.state = state


class ArrayRecord:
    """What a pickle says of an array: version, shape, element type, order, and bytes."""

    def __init__(self, *arguments: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def encode(text: object, encoding: object = "latin1") -> bytes:
    """Return bytes that Python 3 wrote as text, into a pickle that Python 2 can read."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("text must be encoded as latin1")
    return codecs.encode(text, "latin1")


#: What stands for each name that a pickle may use.
STANDS_FOR = {
    ("numpy", "dtype"): ElementType,
    ("numpy", "ndarray"): ArrayRecord,
    ("numpy.core.multiarray", "_reconstruct"): ArrayRecord,
    ("numpy._core.multiarray", "_reconstruct"): ArrayRecord,
    ("_codecs", "encode"): encode,
}


class Restricted(pickle._Unpickler):
    """Unpickler that knows only `STANDS_FOR`. It is the one in Python, since the one in C allocates whatever an index says."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if (module, name) not in STANDS_FOR:
            raise pickle.UnpicklingError(f"{module}.{name} is none of the names it may use")
        return STANDS_FOR[module, name]


def read_pickle(source: str, content: bytes) -> dict[str, Any]:
    """Read a pickled dictionary.

    Parameters
    ----------
    source : str
        What messages call it.
    content : bytes
        The pickle.

    Returns
    -------
    dict
        Numbers, bytes, text, lists, tuples, dictionaries, and records of arrays, which `array_of` turns into arrays; by name.

    Raises
    ------
    DamagedDataError
        When it is damaged, or would call anything.
    """
    try:
        found = Restricted(io.BytesIO(content), encoding="bytes").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
        NotImplementedError,
        ImportError,
        struct.error,
    ) as error:
        raise DamagedDataError(source, rule="must be a plain pickle of arrays and lists", value=f"({error})", remedy=REMEDY) from error
    if not isinstance(found, dict):
        raise DamagedDataError(source, rule="must hold a dictionary", value=type(found).__name__, remedy=REMEDY)
    return {name.decode("latin1") if isinstance(name, bytes) else str(name): value for name, value in found.items()}


def array_of(source: str, record: object, columns: int) -> np.ndarray:
    """Return the array that ``record`` describes: uint8 [N, columns].

    Raises
    ------
    DamagedDataError
        When it describes no such array, or has another number of bytes than it says.
    """
    state = record.state if isinstance(record, ArrayRecord) else None
    if not isinstance(state, tuple) or len(state) != 5:
        raise DamagedDataError(source, rule="data must be an array", value=type(record).__name__, remedy=REMEDY)
    _, shape, kind, fortran, content = state
    if not isinstance(kind, ElementType) or kind.code not in (b"u1", "u1") or fortran or not isinstance(content, bytes):
        raise DamagedDataError(source, rule="data must be an array of unsigned bytes in rows", value="another", remedy=REMEDY)
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] != columns or shape[0] * columns != len(content):
        raise DamagedDataError(source, rule=f"data must have shape (N, {columns})", value=f"{shape} of {len(content)} bytes", remedy=REMEDY)
    return np.frombuffer(content, np.uint8).reshape(-1, columns)
