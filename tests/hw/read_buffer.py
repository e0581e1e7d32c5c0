"""The activation buffer as those see it who read: answers in the order of requests, after some cycles."""

from collections import deque

import numpy as np
from amaranth.lib import data
from tests.hw.bench import Process

from crisp_sim.streams import Bench, layout_codec

__all__ = ["ReadBuffer"]


class ReadBuffer(Process):
    """Take requests of ``o_request`` and answer at ``i_response``.

    Parameters
    ----------
    bench : Bench
        The bench.
    activations : numpy.ndarray
        ``int8`` [words, M]; may change: an answer is what they were when its request was taken.
    layout : data.StructLayout
        Of requests.
    cycles : int
        From a request to its answer, at least.
    late : bool
        Whether answers are later at random.
    """

    def __init__(self, bench: Bench, activations: np.ndarray, layout: data.StructLayout, *, cycles: int, late: bool) -> None:
        _, decode = layout_codec(layout)
        self.requests = bench.sink("o_request", decode)
        super().__init__(bench)
        self.activations, self.cycles, self.late = activations, cycles, late
        self.random = np.random.default_rng(bench.seed)
        self.taken = 0
        self.answers: deque[tuple[int, bytes]] = deque()  # when each is due

    def step(self) -> None:
        for cycle, request in zip(self.requests.cycles[self.taken :], self.requests.transfers[self.taken :], strict=True):
            self.answers.append((cycle + self.cycles, self.read(request)))
            self.taken += 1
        is_due = self.answers and self.answers[0][0] <= self.bench.cycle + 1
        answers = is_due and not (self.late and self.random.random() < 0.5)
        self.dut.i_response__valid.value = int(bool(answers))
        if answers:
            self.dut.i_response__payload.value = int.from_bytes(self.answers.popleft()[1], "little")

    def read(self, request: dict) -> bytes:
        """Return a word for each lane, 0 for those that are not enabled."""
        words = np.zeros((len(request["addresses"]), self.activations.shape[1]), np.int8)
        lanes = [lane for lane in range(len(words)) if request["enables"] >> lane & 1]
        words[lanes] = self.activations[[request["addresses"][lane] for lane in lanes]]
        return words.tobytes()
