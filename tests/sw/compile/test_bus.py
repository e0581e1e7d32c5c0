"""The bus: no cycle is given twice, and none is left while a transfer waits for it."""

from hypothesis import given
from hypothesis import strategies as st

from crisp.compile.bus import Bus


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=20))
def test_first_cycles_that_are_left(transfers: list[tuple[int, int]]) -> None:
    bus, taken = Bus(), set()
    for start, beats in transfers:
        end, cycle = start, start
        left = beats
        while left:
            if cycle not in taken:
                taken.add(cycle)
                left -= 1
                end = cycle + 1
            cycle += 1
        assert bus.take(start, beats) == end
    assert {cycle for low, high in bus.taken for cycle in range(low, high)} == taken


def test_old_stretches_are_forgotten() -> None:
    bus = Bus()
    for start in range(0, 10_000, 2):
        assert bus.take(start, 1) == start + 1
    assert len(bus.taken) <= Bus.STRETCHES + 1
