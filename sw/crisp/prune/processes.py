"""Processes that share the work of a training step: sums over all of them, with the same bits however many there are.

``torchrun`` starts the processes. Each takes an equal part of a step's micro-batches, in order, and what they found is added up pairwise:
a sum of 2 ** k terms is the sum of the sums of its halves, whoever computed those. So one process that does all micro-batches gets the bits
of 2, 4, 8, ... that share them. Source of pairwise sums: N. Higham, "The Accuracy of Floating Point Summation", SIAM J. Sci. Comput. 14
(1993).
"""

import contextlib
import dataclasses
import datetime
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import distributed

from .errors import PruneError

__all__ = ["PairwiseSum", "Processes", "join_processes", "leave_processes"]

#: How long a process waits for the others before it gives up: one that has failed must not keep the others for ever.
PATIENCE = datetime.timedelta(minutes=10)

CPU = torch.device("cpu")

Item = TypeVar("Item")


class PairwiseSum:
    """Adds up tensors of one shape as they come, in the order of a binary tree: at most log2(terms) sums are held at a time."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, torch.Tensor]] = []

    def add(self, term: torch.Tensor) -> None:
        """Add ``term``, which is no one else's any more."""
        self.parts.append((1, term))
        while len(self.parts) > 1 and self.parts[-1][0] == self.parts[-2][0]:
            (count, right), (_, left) = self.parts.pop(), self.parts.pop()
            self.parts.append((2 * count, left.add_(right)))

    def total(self) -> torch.Tensor:
        """Return the sum of all terms, of which there must be one."""
        result = self.parts.pop()[1]
        while self.parts:
            result = self.parts.pop()[1].add_(result)
        return result


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Turn what communication raises into an error that a user can read."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise PruneError(f"all processes must go on together, but one has stopped ({first}); see what it printed") from error


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes that prune together, as one of them sees them.

    Parameters
    ----------
    rank : int
        Number of this one, from 0.
    count : int
        How many there are.
    device : device
        Where tensors lie that are sent to others.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @classmethod
    def find(cls, device: torch.device) -> Self:
        """Return the processes that `join_processes`, or the caller by ``torch.distributed``, has brought together; else this one alone."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls(device=device)
        communicates = device if distributed.get_backend() == "nccl" else CPU
        return cls(distributed.get_rank(), distributed.get_world_size(), communicates)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and draws progress."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of ``items``: neighbours, the least power of two of them that is enough for all; the last get fewer.

        So every part is a branch of the binary tree in which one process would add up all of them (`PairwiseSum`).
        """
        part = 1 << max(0, -(-len(items) // self.count) - 1).bit_length()
        return items[self.rank * part : (self.rank + 1) * part]

    def total(self, part: torch.Tensor) -> torch.Tensor:
        """Return the sum of all processes' ``part``, a vector; every process gets the same bits.

        Each process adds up one piece of the vector, pairwise, and sends it to all: no more is sent than any other way to the sum needs.
        """
        if self.count == 1:
            return part
        size = -(-len(part) // self.count)
        padded = torch.zeros(self.count * size, dtype=part.dtype, device=self.device)
        padded[: len(part)] = part
        pieces = torch.empty_like(padded)
        sums = PairwiseSum()
        with telling():
            distributed.all_to_all_single(pieces, padded)
            for piece in pieces.view(self.count, size):
                sums.add(piece)
            distributed.all_gather_single(padded, sums.total())
        return padded[: len(part)].to(part.device)

    def count_all(self, number: int) -> int:
        """Return the sum of all processes' ``number``."""
        return int(self.total(torch.tensor([number], dtype=torch.int64)))

    def send(self, data: bytes | None) -> bytes | None:
        """Return what the first process has: bytes, or none."""
        if self.count == 1:
            return data
        length = torch.tensor([-1 if data is None or not self.is_first else len(data)], dtype=torch.int64, device=self.device)
        with telling():
            distributed.broadcast(length, 0)
        if int(length) < 0:
            return None
        body = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if data is not None and self.is_first:
            body.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with telling():
            distributed.broadcast(body, 0)
        return body.cpu().numpy().tobytes()

    def first(self, action: Callable[[], None]) -> None:
        """Have the first process do something that all rely on; the others wait for it.

        Raises
        ------
        PruneError
            What ``action`` raises, in all processes.
        """
        refusal = None
        if self.is_first:
            try:
                action()
            except PruneError as error:
                refusal = os.fsencode(str(error))
        refusal = self.send(refusal)
        if refusal is not None:
            raise PruneError(os.fsdecode(refusal))

    def check_same(self, what: str, data: bytes) -> None:
        """Compare ``data`` with the first process's.

        Raises
        ------
        PruneError
            When they differ.
        """
        digest = hashlib.sha256(data).digest()
        same = self.send(digest) == digest
        if self.count_all(int(same)) != self.count:
            raise PruneError(f"{what} must be the same in all {self.count} processes, but differ; start all with the same options and data")


def join_processes(device: torch.device) -> bool:
    """Bring the processes that ``torchrun`` started together; tell whether that was done, and so is to be undone by `leave_processes`.

    Processes that the caller has brought together already stay as they are.

    Parameters
    ----------
    device : device
        Where tensors lie: nccl carries them between graphics cards, gloo all others.

    Raises
    ------
    PruneError
        When they do not find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or distributed.is_initialized():
        return False
    settings: dict[str, Any] = {"backend": "nccl" if device.type == "cuda" else "gloo", "timeout": PATIENCE}
    try:
        distributed.init_process_group(**settings)
    except (RuntimeError, ValueError) as error:
        raise PruneError(f"processes must find each other, but: {error}; start them with torchrun") from error
    return True


def leave_processes() -> None:
    """Undo `join_processes`, all at a time: one that ends while others still wait for it takes their threads down."""
    if distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # another has failed, and has said so
            distributed.barrier()
        distributed.destroy_process_group()
