"""Reader of IDX arrays, the format of MNIST and its successors.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats": two zero bytes,
one byte of element type (8 is unsigned byte), one byte of rank, then a big-endian 32-bit size for each dimension, then data.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from .errors import DamagedDataError, MissingDataError

__all__ = ["MAX_BYTES", "read_idx", "write_idx"]

#: Largest array that is read. MNIST's largest has 47 million bytes; a header that asks for more is damaged or hostile.
MAX_BYTES = 1 << 28

UNSIGNED_BYTE = 8
FETCH_AGAIN = "delete it and fetch the data again"


def read_idx(path: Path, rank: int) -> np.ndarray:
    """Read a gzip-compressed IDX file of unsigned bytes.

    Parameters
    ----------
    path : Path
        File, compressed with gzip.
    rank : int
        Number of dimensions it must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray
        uint8, in the shape that the header gives.

    Raises
    ------
    MissingDataError
        When there is no such file.
    DamagedDataError
        When the file is not gzip, is cut off, has another magic number, or holds more or fewer bytes than its header says.
    """
    if not path.is_file():
        raise MissingDataError(path, rule="must be a file", value="absent", remedy="name the folder that holds it, or fetch the data")
    header_bytes = 4 + 4 * rank
    magic = bytes((0, 0, UNSIGNED_BYTE, rank))
    try:
        with gzip.open(path, "rb") as file:
            header = file.read(header_bytes)
            if header[:4] != magic:
                raise DamagedDataError(
                    path, rule=f"magic number must be 0x{magic.hex()}", value=f"0x{header[:4].hex()}", remedy=FETCH_AGAIN
                )
            shape = tuple(int(size) for size in np.frombuffer(header[4:].ljust(4 * rank, b"\0"), dtype=">u4"))
            count = int(np.prod(shape, dtype=object))
            if count > MAX_BYTES:
                raise DamagedDataError(path, rule=f"must hold at most {MAX_BYTES} bytes", value=count, remedy=FETCH_AGAIN)
            body = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedDataError(path, rule="must be a whole gzip file", value=f"damaged ({error})", remedy=FETCH_AGAIN) from error
    if len(header) != header_bytes or len(body) != count:
        found = f"{len(body)} or more" if len(body) > count else len(body)
        raise DamagedDataError(path, rule=f"must hold {count} bytes, as its header says", value=found, remedy=FETCH_AGAIN)
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write ``values`` (uint8, any rank) as a gzip-compressed IDX file; the same values give the same bytes."""
    header = bytes((0, 0, UNSIGNED_BYTE, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + np.ascontiguousarray(values, dtype=np.uint8).tobytes(), mtime=0))
