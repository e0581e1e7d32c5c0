"""Collector against its golden model: order, latency, throughput, and room that is never overrun."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp.golden.collector import collect
from crisp_hw.collector import Collector
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode


class Array(Process):
    """Send tiles as array and requantization do: reserve, then after a fixed time the skewed columns.

    Parameters
    ----------
    bench : Bench
        The bench, its sinks already made.
    tiles : numpy.ndarray
        ``int8`` of shape (tiles, bank_rows, columns).
    room : int
        Tiles that may be reserved at a time.
    gaps : list of int
        Cycles from one tile to the next at least, one a tile.
    """

    #: Cycles from the reservation to a tile's first result in column 0.
    DELAY = 3

    def __init__(self, bench: Bench, tiles: np.ndarray, room: int, gaps: list[int], sinks: list) -> None:
        super().__init__(bench)
        self.tiles, self.room, self.gaps, self.sinks = tiles, room, gaps, sinks
        self.random = np.random.default_rng(bench.seed)
        self.reserved_in: list[int] = []  # cycle of each tile's reservation
        self.full_cycles = 0

    def left(self, group: int) -> int:
        """Return how many tiles have left through an output, the cycle that ends included."""
        lanes = min(self.tiles.shape[1], self.tiles.shape[2] - group * self.tiles.shape[1])
        return len(self.sinks[group].transfers) // lanes

    def complete_cycle(self, tile: int) -> int:
        """Return the cycle in which column 0 shows the last row of a tile."""
        return self.reserved_in[tile] + self.DELAY + self.tiles.shape[1] - 1

    def step(self) -> None:
        bank_rows, columns = self.tiles.shape[1:]
        number = len(self.reserved_in)
        cycle = self.bench.cycle + 1  # the one that begins
        left = [self.left(group) for group in range(len(self.sinks))]

        # What the component said in the cycle that ends.
        reserved_now = number - (number > 0 and self.reserved_in[-1] == cycle - 1)
        if hasattr(self, "left_before"):
            room = all(reserved_now - gone < self.room for gone in self.left_before)
            assert int(self.dut.o_room.value) == room, f"room with {reserved_now} reserved, {self.left_before} left"
            assert int(self.dut.o_empty.value) == all(gone == reserved_now for gone in left)
            self.full_cycles += not room
        self.left_before = left

        # Drive the cycle that begins: nothing it does not say matters, so that is noise.
        has_room = all(number - gone < self.room for gone in left)
        is_due = not number or cycle - self.reserved_in[-1] >= max(bank_rows, self.gaps[number - 1])
        reserve = number < len(self.tiles) and has_room and is_due
        if reserve:
            self.reserved_in.append(cycle)
        values = self.random.integers(0, 256, columns, dtype=np.uint8)
        for tile in range(max(0, number - 2 * columns - self.DELAY), number):
            for column in range(columns):
                row = cycle - self.reserved_in[tile] - self.DELAY - column
                if 0 <= row < bank_rows:
                    values[column] = self.tiles[tile, row, column]
        completes = any(self.complete_cycle(tile) == cycle for tile in range(number))
        self.dut.i_reserve.value = int(reserve)
        self.dut.i_complete.value = int(completes)
        self.dut.i_values.value = int.from_bytes(values.tobytes(), "little")


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def collects_tiles(dut, mode: str) -> None:
    """Words in order; in full mode each in its cycle, a tile in ``bank_rows`` cycles."""
    columns, bank_rows, room = (parameters()[name] for name in ("columns", "bank_rows", "tiles"))
    bench = await Bench.start(dut, mode=mode, i_reserve=0, i_complete=0)
    rng = np.random.default_rng(bench.seed)
    tiles = rng.integers(-128, 128, (40, bank_rows, columns)).astype(np.int8)
    words = collect(tiles)

    def decode(word: int) -> list[int]:
        return np.frombuffer(word.to_bytes(bank_rows, "little"), np.int8).tolist()

    sinks = [bench.sink(f"o_words__{group}", decode) for group in range(len(words))]
    gaps = rng.integers(1, 3 * bank_rows, len(tiles)) if bench.mode is Mode.IDLE else np.zeros(len(tiles), int)
    array = Array(bench, tiles, room, gaps.tolist(), sinks)
    for sink, expected in zip(sinks, words, strict=True):
        await sink.expect(expected.tolist())
        await sink.expect_nothing(cycles=3)
    assert int(dut.o_empty.value)

    if bench.mode is Mode.BACKPRESSURE:
        assert array.full_cycles
    if bench.mode is Mode.FULL:
        assert np.diff(array.reserved_in).tolist() == [bank_rows] * (len(tiles) - 1)
        for group, sink in enumerate(sinks):
            lanes = range(group * bank_rows, min((group + 1) * bank_rows, columns))
            due = [array.complete_cycle(tile) + lane + Collector.LATENCY for tile in range(len(tiles)) for lane in lanes]
            assert sink.cycles == due


@pytest.mark.parametrize(
    ("columns", "bank_rows", "tiles"),
    [(2, 4, 4), (4, 4, 4), (5, 2, 7), (3, 1, 8)],
    ids=["fewer_columns", "as_many_columns", "more_columns", "one_row"],
)
def test_collector(columns: int, bank_rows: int, tiles: int) -> None:
    """Tiles suffices for the time that a tile is under way, so that nothing but backpressure uses up the room."""
    table = {"columns": columns, "bank_rows": bank_rows, "tiles": tiles}
    simulate(Collector(**table), __file__, name="collector", parameters=table)
