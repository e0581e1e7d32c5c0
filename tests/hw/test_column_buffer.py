"""Column buffer: windows come back skewed, and a slot is free again exactly when the last lane has read it."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp_hw.column_buffer import ColumnBuffer
from crisp_hw.layouts import window_layout
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


class Issuer(Process):
    """Read windows as the step issuer does, with a model of slots and contents that is compared in every cycle.

    Parameters
    ----------
    bench : Bench
        The bench.
    source : StreamSource
        Source of the words, made before this.
    windows : list of numpy.ndarray
        ``uint8`` of shape (words, columns, M): the contents of each.
    used : list of numpy.ndarray
        Words of each window that the source sends, ascending; only they are read.
    slots : int
        Windows that fit.
    reads : int
        Most reads of a window.
    pause : float
        Probability of a cycle without a read.
    """

    def __init__(
        self, bench: Bench, source, windows: list[np.ndarray], used: list[np.ndarray], *, slots: int, reads: int, pause: float
    ) -> None:
        super().__init__(bench)
        self.used = used
        self.ends = np.cumsum([len(words) for words in used])  # words taken when each window is complete
        self.windows, self.slots, self.reads, self.pause = windows, slots, reads, pause
        self.source = source
        self.random = np.random.default_rng([bench.seed, bench.cycle])
        self.words, self.columns, _ = windows[0].shape
        self.first_transfer = len(source.transfers)
        self.written = 0  # words taken before this cycle
        self.released: list[int] = []  # cycles in which windows were released
        self.reads_left = 0
        self.arrived: bool | None = None  # what the component must say in this cycle; None is anything
        self.due: dict[tuple[int, int], bytes] = {}  # cycle and column of each group read
        self.waits = 0  # cycles in which the source waited

    @property
    def done(self) -> bool:
        """All windows were used and all groups have arrived."""
        return len(self.released) == len(self.windows) and not self.due

    def step(self) -> None:
        dut, ended, cycle = self.dut, self.bench.cycle, self.bench.cycle + 1

        # The cycle that ends: a slot is free once the last lane has read it, one cycle after the last but one.
        completed = int((self.ends <= self.written).sum())
        occupied = completed - sum(released + self.columns <= ended for released in self.released)
        ready = bool(int(dut.i_window__ready.value))
        assert ready == (occupied < self.slots), f"{occupied} of {self.slots} slots are occupied"
        released_before = len(self.released) - int(dut.i_release.value)
        assert bool(int(dut.o_complete.value)) == (completed > released_before)
        assert self.arrived is None or bool(int(dut.o_arrived.value)) == self.arrived
        self.waits += int(dut.i_window__valid.value) and not ready
        groups = int(dut.o_groups.value).to_bytes(len(dut.o_groups) // 8, "little")
        size = len(groups) // self.columns
        for column in range(self.columns):
            expected = self.due.pop((ended, column), None)
            if expected is not None:
                assert groups[column * size : (column + 1) * size] == expected, f"column {column}"

        # The cycle that begins: address some word of the oldest window, and read it if it has come.
        self.written = len(self.source.transfers) - self.first_transfer
        window = len(self.released)
        releases = False
        self.arrived = None
        if window < len(self.windows):
            used = self.used[window]
            come = used[: max(0, len(used) - max(0, self.ends[window] - self.written))]
            is_complete = len(come) == len(used)
            probes = not len(come) or self.random.random() < 0.2
            word = int(self.random.integers(self.words) if probes else self.random.choice(come))
            dut.i_address.value = window % self.slots * self.words + word
            self.arrived = bool(is_complete or (len(come) and word <= come[-1]))
            # The last read waits until the window is complete.
            self.reads_left = self.reads_left or int(self.random.integers(1, self.reads, endpoint=True))
            if word in come and (self.reads_left > 1 or is_complete) and self.random.random() >= self.pause:
                self.reads_left -= 1
                releases = not self.reads_left
                for column in range(self.columns):
                    self.due[cycle + ColumnBuffer.LATENCY + column, column] = self.windows[window][word, column].tobytes()
        if releases:
            self.released.append(cycle)
        dut.i_release.value = int(releases)


async def run_layer(
    bench: Bench, source, *, words: int, slots: int, reads: int, windows: int = 25, pause: float, share: float = 1.0
) -> Issuer:
    """Send and use the windows of a layer; of each the source sends a share of the words at random, but at least one."""
    dut, table = bench.dut, parameters()
    shape = (windows, words, table["columns"], table["group_size"])
    rng = np.random.default_rng([bench.seed, bench.cycle, words])
    contents = list(rng.integers(0, 256, shape, dtype=np.uint8))
    dut.i_window_words.value, dut.i_windows.value, dut.i_load.value = words, slots, 1
    used = [np.flatnonzero((rng.random(words) < share) | (np.arange(words) == rng.integers(words))) for _ in contents]
    issuer = Issuer(bench, source, contents, used, slots=slots, reads=reads, pause=pause)
    for window, addresses in zip(contents, used, strict=True):
        for address in addresses:
            data = window[address].astype(np.int8).tolist()
            source.send([{"address": address, "data": data, "last": address == addresses[-1]}])
    await bench.until(
        lambda: issuer.done,
        progress=lambda: len(issuer.released),
        what=lambda: f"{len(issuer.released)} of {windows} windows were used",
    )
    issuer.stop()
    dut.i_load.value = 0
    await bench.wait(1)
    return issuer


def shapes() -> list[tuple[int, int]]:
    """List words of a window and slots, for every number of slots that the component has."""
    depth, most = parameters()["depth"], parameters()["slots"]
    return [(words, slots) for slots in range(1, most + 1) for words in {1, depth // slots}]


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def holds_windows(dut, mode: str) -> None:
    """Layer after layer with windows of one word and of all that fit; in backpressure mode the array often waits."""
    bench = await Bench.start(dut, mode=mode, i_load=0, i_release=0, i_address=0, i_window_words=1, i_windows=1)
    encode, _ = layout_codec(window_layout(parameters()["columns"], parameters()["group_size"], len(dut.i_address)))
    source = bench.source("i_window", encode)
    for words, slots in shapes():
        pause = 0.6 if bench.mode is Mode.BACKPRESSURE else 0.0
        for reads, share in ((1, 1.0), (2 * words, 1.0), (words, 0.5)):
            issuer = await run_layer(bench, source, words=words, slots=slots, reads=reads, pause=pause, share=share)
            if bench.mode is Mode.BACKPRESSURE and reads > words:
                assert issuer.waits


@cocotb.test()
async def fills_while_it_is_read(dut) -> None:
    """With a slot to spare for the skew, neither side ever waits: a word written in every cycle."""
    columns = parameters()["columns"]
    bench = await Bench.start(dut, i_load=0, i_release=0, i_address=0, i_window_words=1, i_windows=1)
    encode, _ = layout_codec(window_layout(columns, parameters()["group_size"], len(dut.i_address)))
    source = bench.source("i_window", encode)
    for words, slots in shapes():
        if (slots - 1) * words >= columns + 1:
            first = len(source.transfers)
            issuer = await run_layer(bench, source, words=words, slots=slots, reads=1, pause=0.0)
            assert issuer.waits == 0
            assert np.diff(source.cycles[first:]).tolist() == [1] * (25 * words - 1)


@cocotb.test()
async def empties_when_load_falls(dut) -> None:
    """Windows that nobody used are gone, half ones too, and the next layer begins in slot 0."""
    table = parameters()
    slots, words = table["slots"], table["depth"] // table["slots"]
    bench = await Bench.start(dut, i_load=1, i_release=0, i_address=0, i_window_words=words, i_windows=slots)
    encode, _ = layout_codec(window_layout(table["columns"], table["group_size"], len(dut.i_address)))
    source = bench.source("i_window", encode)
    blank = [[0] * table["group_size"]] * table["columns"]
    for whole, more in ((slots, 0), (slots - 1, words - 1)):
        for place in range(whole * words + more):
            source.send([{"address": place % words, "data": blank, "last": place % words == words - 1}])
        await source.drain()
        await bench.wait(5)
        assert int(dut.o_complete.value) == (whole > 0)
        assert int(dut.o_arrived.value)
        assert int(dut.i_window__ready.value) == (whole < slots)
        dut.i_load.value = 0
        await bench.wait(2)
        assert not int(dut.o_complete.value)
        assert not int(dut.o_arrived.value)
        assert not int(dut.i_window__ready.value)
        dut.i_load.value = 1
    await run_layer(bench, source, words=words, slots=slots, reads=2, pause=0.0)


@cocotb.test()
async def forgets_a_release_under_way(dut) -> None:
    """A release on its way to the last lane when load falls frees no slot of the next layer."""
    table = parameters()
    slots = table["slots"]
    bench = await Bench.start(dut, i_load=1, i_release=0, i_address=0, i_window_words=1, i_windows=slots)
    encode, _ = layout_codec(window_layout(table["columns"], table["group_size"], len(dut.i_address)))
    source = bench.source("i_window", encode)
    word = {"address": 0, "data": [[0] * table["group_size"]] * table["columns"], "last": True}
    source.send([word])
    await source.drain()
    await bench.wait(2)
    dut.i_release.value = 1
    await bench.wait(1)
    dut.i_release.value, dut.i_load.value = 0, 0
    await bench.wait(1)
    dut.i_load.value = 1
    source.send([word] * (slots + 2))
    await bench.wait(slots + table["columns"] + 5)
    assert len(source.transfers) == 1 + slots
    assert not int(dut.i_window__ready.value)


@pytest.mark.parametrize(
    ("columns", "group_size", "depth", "slots", "simulator"),
    [
        (1, 4, 6, 1, "verilator"),
        (3, 2, 13, 4, "verilator"),
        (5, 2, 16, 2, "verilator"),
        (3, 2, 13, 4, "icarus"),
    ],
)
def test_column_buffer(columns: int, group_size: int, depth: int, slots: int, simulator: str) -> None:
    table = {"columns": columns, "group_size": group_size, "depth": depth, "slots": slots}
    simulate(ColumnBuffer(**table), __file__, name="column_buffer", parameters=table, simulator=simulator)
