"""Places in memory: of tensors that go through it, and of constants."""

import dataclasses

from crisp.arch import MemoryWindow

__all__ = ["Constants", "Place", "align"]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor lies in memory.

    Parameters
    ----------
    window : MemoryWindow
        Window.
    offset : int
        First byte.
    stride : int
        Bytes from a plane to the next; of an image that is cut into patches, from a row to the next.
    line : int
        Words from a row of a plane to the next: the width, rounded up to words of the bus where rows are moved one by one.
    """

    window: MemoryWindow
    offset: int
    stride: int
    line: int


class Constants:
    """Bytes that commands load from the window PROGRAM, each once, at multiples of the widest bus word."""

    ALIGNMENT = 64

    def __init__(self) -> None:
        self.data = bytearray()
        self.known: dict[bytes, int] = {}

    def add(self, data: bytes) -> int:
        """Return the offset of ``data``, which is added unless it is there."""
        if data not in self.known:
            self.known[data] = len(self.data)
            self.data += data + bytes(-len(data) % self.ALIGNMENT)
        return self.known[data]


def align(value: int, step: int) -> int:
    """Return the least multiple of ``step`` that is not less than ``value``."""
    return -(-value // step) * step
