# amaranth: UnusedElaboratable=no

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
    """Send tiles as array and requantization do: reserve, then after a fixed time the skewed columns, bank by bank.

    Parameters
    ----------
    bench : Bench
        The bench, its sink already made.
    tiles : numpy.ndarray
        ``int8`` of shape (tiles, rows, columns).
    gaps : list of int
        Cycles from one tile to the next at least, one a tile.
    """

    #: Cycles from the reservation to a tile's first result in column 0.
    DELAY = 3

    def __init__(self, bench: Bench, tiles: np.ndarray, gaps: list[int], sink) -> None:
        super().__init__(bench)
        self.tiles, self.gaps, self.sink = tiles, gaps, sink
        self.banks, self.bank_rows, self.room = (parameters()[name] for name in ("banks", "bank_rows", "tiles"))
        self.slots = tiles.shape[1] // parameters()["group_size"]
        self.random = np.random.default_rng(bench.seed)
        self.reserved_in: list[int] = []  # cycle of each tile's reservation
        self.full_cycles = 0
        self.left_before: int | None = None

    def shown_in(self, tile: int, row: int) -> int:
        """Return the cycle in which column 0 shows a row of a tile."""
        return self.reserved_in[tile] + self.DELAY + row

    def step(self) -> None:
        rows, columns = self.tiles.shape[1:]
        number = len(self.reserved_in)
        cycle = self.bench.cycle + 1  # the one that begins
        left = len(self.sink.transfers) // self.slots

        # What the component said in the cycle that ends.
        if self.left_before is not None:
            reserved_now = number - (number > 0 and self.reserved_in[-1] == cycle - 1)
            room = reserved_now - self.left_before < self.room
            assert int(self.dut.o_room.value) == room, f"room with {reserved_now} reserved, {self.left_before} left"
            assert int(self.dut.o_empty.value) == (left == reserved_now)
            self.full_cycles += not room
        self.left_before = left

        # Drive the cycle that begins: nothing it does not say matters, so that is noise.
        is_due = not number or cycle - self.reserved_in[-1] >= max(self.bank_rows, self.gaps[number - 1])
        reserve = number < len(self.tiles) and number - left < self.room and is_due
        if reserve:
            self.reserved_in.append(cycle)
        values = self.random.integers(0, 256, (self.banks, columns), dtype=np.uint8)
        starts = 0
        for tile in range(max(0, number - rows - columns - self.DELAY), number):
            for bank in range(self.banks):
                first = bank * self.bank_rows
                starts |= (self.shown_in(tile, first) == cycle) << bank
                for column in range(columns):
                    row = cycle - self.shown_in(tile, first) - column
                    if 0 <= row < self.bank_rows:
                        values[bank, column] = self.tiles[tile, first + row, column]
        self.dut.i_reserve.value = int(reserve)
        self.dut.i_starts.value = starts
        self.dut.i_values.value = int.from_bytes(values.tobytes(), "little")


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def collects_tiles(dut, mode: str) -> None:
    """Slots in order; in full mode each in its cycle, a tile in ``bank_rows`` cycles."""
    table = parameters()
    columns, group_size, bank_rows = table["columns"], table["group_size"], table["bank_rows"]
    rows = table["banks"] * bank_rows
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    tiles = rng.integers(-128, 128, (40, rows, columns)).astype(np.int8)
    slots = collect(tiles, group_size)

    def decode(slot: int) -> list[list[int]]:
        return np.frombuffer(slot.to_bytes(columns * group_size, "little"), np.int8).reshape(columns, group_size).tolist()

    # Whoever takes slots is slower than the array, however few of them it has.
    sink = bench.sink("o_slots", decode, stall=0.95 if bench.mode is Mode.BACKPRESSURE else None)
    gaps = rng.integers(1, 3 * bank_rows, len(tiles)) if bench.mode is Mode.IDLE else np.zeros(len(tiles), int)
    array = Array(bench, tiles, gaps.tolist(), sink)
    await sink.expect(slots.tolist())
    await sink.expect_nothing(cycles=3)
    assert int(dut.o_empty.value)

    if bench.mode is Mode.BACKPRESSURE:
        assert array.full_cycles
    if bench.mode is Mode.FULL:
        assert np.diff(array.reserved_in).tolist() == [bank_rows] * (len(tiles) - 1)
        # A slot leaves when its last column is there, or behind the one before it.
        due: list[int] = []
        for tile in range(len(tiles)):
            for last_row in range(group_size - 1, rows, group_size):
                there = array.shown_in(tile, last_row) + columns - 1 + Collector.LATENCY
                due.append(max(there, due[-1] + 1) if due else there)
        assert sink.cycles == due


@pytest.mark.parametrize(
    ("columns", "group_size", "banks", "bank_rows"),
    [(2, 4, 1, 4), (5, 2, 1, 8), (4, 4, 2, 8), (3, 4, 4, 4), (1, 16, 2, 16)],
    ids=["one_word", "four_words", "two_banks", "four_banks", "one_column"],
)
def test_collector(columns: int, group_size: int, banks: int, bank_rows: int) -> None:
    """Tiles suffices for the time that a tile is under way, so that nothing but backpressure uses up the room."""
    tiles = -(-(Array.DELAY + banks * bank_rows + columns) // bank_rows) + 2
    table = {"columns": columns, "group_size": group_size, "banks": banks, "bank_rows": bank_rows, "tiles": tiles}
    simulate(Collector(**table), __file__, name="collector", parameters=table)


def test_words_are_whole() -> None:
    for group_size, bank_rows in ((4, 6), (4, 2), (1, 4)):
        with pytest.raises(
            ValueError, match=f"^bank_rows must be a multiple of group_size, which is at least 2, not {bank_rows} and {group_size}$"
        ):
            Collector(columns=2, group_size=group_size, banks=1, bank_rows=bank_rows, tiles=4)
