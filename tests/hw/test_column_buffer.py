"""Column buffer: windows come back skewed, and a place is free again exactly when the last lane has read it."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp_hw.column_buffer import ColumnBuffer
from crisp_hw.layouts import window_word_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


class Issuer(Process):
    """Read windows as the step issuer does, with a model of the ring that is compared in every cycle.

    Parameters
    ----------
    bench : Bench
        The bench.
    source : StreamSource
        Source of the words, made before this.
    windows : list of numpy.ndarray
        ``uint8`` of shape (words, columns, M): the contents of each.
    reads : int
        Most reads of a window.
    pause : float
        Probability of a cycle without a read.
    """

    def __init__(self, bench: Bench, source, windows: list[np.ndarray], *, reads: int, pause: float) -> None:
        super().__init__(bench)
        self.windows, self.reads, self.pause = windows, reads, pause
        self.source = source
        self.random = np.random.default_rng([bench.seed, bench.cycle])
        self.columns, self.depth = parameters()["columns"], parameters()["depth"]
        self.first_transfer = len(source.transfers)
        self.starts = np.concatenate([[0], np.cumsum([len(window) for window in windows])])
        self.released: list[int] = []  # cycles in which windows were released
        self.reads_left = 0
        self.come = 0  # words taken before this cycle
        self.expected: tuple[bool, bool] | None = None  # complete and arrived, as the component must say in this cycle
        self.due: dict[tuple[int, int], bytes] = {}  # cycle and column of each group read
        self.waits = 0  # cycles in which the source waited

    @property
    def done(self) -> bool:
        """All windows were used and all groups have arrived."""
        return len(self.released) == len(self.windows) and not self.due

    def step(self) -> None:
        dut, ended, cycle = self.dut, self.bench.cycle, self.bench.cycle + 1

        # The cycle that ends: a word's place is free when the last lane has read it, `columns` cycles after its address.
        freed = sum(released + self.columns < ended for released in self.released)
        ready = bool(int(dut.i_window__ready.value))
        assert ready == (self.come - self.starts[freed] < self.depth), f"{self.come} words came, {freed} windows are gone"
        if self.expected is not None:
            assert (bool(int(dut.o_complete.value)), bool(int(dut.o_arrived.value))) == self.expected
        self.waits += int(dut.i_window__valid.value) and not ready
        groups = int(dut.o_groups.value).to_bytes(len(dut.o_groups) // 8, "little")
        size = len(groups) // self.columns
        for column in range(self.columns):
            expected = self.due.pop((ended, column), None)
            if expected is not None:
                assert groups[column * size : (column + 1) * size] == expected, f"column {column}"

        # The cycle that begins: address some word of the oldest window, and read it if it has come.
        self.come = len(self.source.transfers) - self.first_transfer
        number = len(self.released)
        releases = False
        self.expected = None
        if number < len(self.windows):
            window = self.windows[number]
            come = self.come - self.starts[number]
            is_complete = come >= len(window)
            word = int(self.random.integers(len(window)))
            dut.i_word.value, dut.i_window_words.value = word, len(window)
            self.expected = bool(is_complete), bool(word < come)
            # The last read waits until the window is complete.
            self.reads_left = self.reads_left or int(self.random.integers(1, self.reads, endpoint=True))
            if word < come and (self.reads_left > 1 or is_complete) and self.random.random() >= self.pause:
                self.reads_left -= 1
                releases = not self.reads_left
                for column in range(self.columns):
                    self.due[cycle + ColumnBuffer.LATENCY + column, column] = window[word, column].tobytes()
        if releases:
            self.released.append(cycle)
        dut.i_release.value = int(releases)


async def run(bench: Bench, source, lengths: list[int], *, reads: int, pause: float) -> Issuer:
    """Send and use windows of these lengths."""
    table = parameters()
    rng = np.random.default_rng([bench.seed, bench.cycle, lengths[0]])
    windows = [rng.integers(0, 256, (words, table["columns"], table["group_size"]), dtype=np.uint8) for words in lengths]
    issuer = Issuer(bench, source, windows, reads=reads, pause=pause)
    for window in windows:
        for number, word in enumerate(window.view(np.int8)):
            source.send([{"data": word.tolist(), "last": number == len(window) - 1}])
    await bench.until(
        lambda: issuer.done,
        progress=lambda: len(issuer.released),
        what=lambda: f"{len(issuer.released)} of {len(windows)} windows were used",
    )
    issuer.stop()
    return issuer


def lengths_of(rng: np.random.Generator) -> list[list[int]]:
    """List the words of windows: all of one word, all of each length that fits some times, and any mixed."""
    depth = parameters()["depth"]
    equal = [[words] * 25 for words in sorted({1, depth, *(depth // number for number in range(1, 5) if depth // number)})]
    return [*equal, rng.integers(1, depth, 40, endpoint=True).tolist(), rng.integers(1, max(2, depth // 3), 60).tolist()]


def start_source(bench: Bench):
    """Return the source of words."""
    encode, _ = layout_codec(window_word_layout(parameters()["columns"], parameters()["group_size"]))
    return bench.source("i_window", encode)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def holds_windows(dut, mode: str) -> None:
    """Windows of one word, of all that fit, and of any length one behind the other; in backpressure mode the array often waits."""
    bench = await Bench.start(dut, mode=mode)
    source = start_source(bench)
    for lengths in lengths_of(np.random.default_rng(bench.seed)):
        pause = 0.6 if bench.mode is Mode.BACKPRESSURE else 0.0
        for reads in (1, 2 * max(lengths)):
            issuer = await run(bench, source, lengths, reads=reads, pause=pause)
            if bench.mode is Mode.BACKPRESSURE and reads > 1:
                assert issuer.waits


@cocotb.test()
async def fills_while_it_is_read(dut) -> None:
    """With room for the skew and for the window at work, neither side ever waits: a word written in every cycle."""
    columns, depth = parameters()["columns"], parameters()["depth"]
    bench = await Bench.start(dut)
    source = start_source(bench)
    for words in range(1, depth + 1):
        # Its one read comes at the earliest in the cycle behind its last word, at random the word itself.
        if 2 * words + columns + 2 <= depth:
            first = len(source.transfers)
            issuer = await run(bench, source, [words] * 25, reads=1, pause=0.0)
            assert issuer.waits == 0
            assert np.diff(source.cycles[first:]).tolist() == [1] * (25 * words - 1)


@pytest.mark.parametrize(
    ("columns", "group_size", "depth", "simulator"),
    [
        (1, 4, 6, "verilator"),
        (3, 2, 13, "verilator"),
        (5, 2, 16, "verilator"),
        (3, 2, 13, "icarus"),
    ],
)
def test_column_buffer(columns: int, group_size: int, depth: int, simulator: str) -> None:
    table = {"columns": columns, "group_size": group_size, "depth": depth}
    simulate(ColumnBuffer(**table), __file__, name="column_buffer", parameters=table, simulator=simulator)
