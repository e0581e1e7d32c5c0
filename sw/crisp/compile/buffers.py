"""Where things lie on chip: rings for what streams through a buffer, and first fit for tensors that stay."""

import dataclasses
import itertools

from .errors import CompileError

__all__ = ["FreeList", "Home", "Ring"]


@dataclasses.dataclass(frozen=True)
class Home:
    """Place of a tensor in the activation buffer.

    Parameters
    ----------
    base : int
        First word.
    width : int
        Pixels of a row.
    line : int
        Words from a row to the next; at least ``width``.
    rows : int
        Rows of the ring.
    pitch : int
        Words from a plane to the next.
    planes : int
        Planes.
    phases : int
        2 where the even columns of a row lie before the odd ones, so that windows two columns apart are neighbours; else 1.
    first_plane : int
        The tensor's plane that is the first here, where not all are here at a time.
    """

    base: int
    width: int
    line: int
    rows: int
    pitch: int
    planes: int
    phases: int = 1
    first_plane: int = 0

    @property
    def ring(self) -> int:
        """Words of a plane's ring."""
        return self.rows * self.line

    @property
    def words(self) -> int:
        """Words that it takes."""
        return self.planes * self.pitch

    def plane(self, number: int) -> int:
        """Return the first word of a plane of the tensor."""
        return self.base + (number - self.first_plane) * self.pitch

    def place(self, row: int) -> int:
        """Return the place of the first pixel of ``row`` in the ring."""
        return row % self.rows * self.line


class Ring:
    """A buffer through which pieces stream in order: each new one takes the place behind the last, and overwrites the oldest.

    No piece that fits a half lies across the middle, so that what is loaded into one half never waits for what is used in the other.

    Parameters
    ----------
    name : str
        Field of the configuration that gives the depth, for messages.
    depth : int
        Places.
    """

    def __init__(self, name: str, depth: int):
        self.name = name
        self.depth = depth
        self.next = 0
        self.pieces: dict[object, tuple[int, int]] = {}

    def find(self, key: object) -> int | None:
        """Return where piece ``key`` lies, None where it has been overwritten or never was."""
        piece = self.pieces.get(key)
        return None if piece is None else piece[0]

    def take(self, key: object, size: int, label: str) -> int:
        """Give piece ``key`` its place, and forget what it overwrites.

        Raises
        ------
        CompileError
            When it is larger than the buffer.
        """
        if size > self.depth:
            raise CompileError(
                f"{label}: needs {self.name} of {size}, but the configuration has {self.depth}; choose a larger configuration"
            )
        half = self.depth // 2
        base = self.next
        if size <= half and base < half < base + size:
            base = half
        if base + size > self.depth:
            base = 0
        self.pieces = {other: (start, end) for other, (start, end) in self.pieces.items() if end <= base or start >= base + size}
        self.pieces[key] = (base, base + size)
        self.next = base + size
        return base


class FreeList:
    """Free words of the activation buffer.

    Parameters
    ----------
    size : int
        Words in all.
    """

    def __init__(self, size: int):
        self.size = size
        self.used: dict[str, tuple[int, int]] = {}

    def take(self, name: str, size: int, *, high: bool = False) -> int | None:
        """Take ``size`` words for ``name``, at the lowest place or at the highest; None when there is no gap so large."""
        edges = [(0, 0), *sorted(self.used.values()), (self.size, self.size)]
        gaps = [(end, start) for (_, end), (start, _) in itertools.pairwise(edges) if start - end >= size]
        if not gaps:
            return None
        base = gaps[-1][1] - size if high else gaps[0][0]
        self.used[name] = (base, base + size)
        return base

    def free(self, name: str) -> None:
        """Give the words of ``name`` back."""
        del self.used[name]
