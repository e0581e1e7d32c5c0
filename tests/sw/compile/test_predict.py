"""Prediction: times follow from waits, queues and cycles."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp.arch import Config, Opcode
from crisp.compile.predict import FETCH, LOAD_END, LOAD_GAP, LOAD_LATENCY, STORE_END, STORE_LATENCY, Timing, predict, recent
from crisp.compile.stream import Emitted

TINY = Config.preset("tiny")
QUEUES = {"wait_load": Opcode.LOAD, "wait_execute": Opcode.EXECUTE, "wait_store": Opcode.STORE}


def command(opcode: Opcode, cycles: int = 0, **waits: int) -> Emitted:
    return Emitted(opcode, {**dict.fromkeys(QUEUES, 0), "kind": 0, **waits}, "layer", cycles)


@st.composite
def programs(draw: st.DrawFn) -> list[Emitted]:
    """Commands that wait for any that stand before them, and an END that waits for all."""
    counts = dict.fromkeys(QUEUES.values(), 0)
    commands = []
    for _ in range(draw(st.integers(0, 12))):
        opcode = draw(st.sampled_from(list(counts)))
        waits = {name: draw(st.integers(0, counts[queue])) for name, queue in QUEUES.items()}
        commands.append(command(opcode, draw(st.integers(1, 500)), **waits))
        counts[opcode] += 1
    return [*commands, command(Opcode.END, **{name: counts[queue] for name, queue in QUEUES.items()})]


def of_queue(commands: list[Emitted], times: list[Timing], queue: Opcode) -> list[Timing]:
    return [time for time, other in zip(times, commands, strict=True) if other.opcode is queue]


@given(programs())
def test_times_obey_waits_and_queues(commands: list[Emitted]) -> None:
    times = predict(commands, TINY)
    assert len(times) == len(commands)
    for index, (time, now) in enumerate(zip(times, commands, strict=True)):
        assert FETCH <= time.start <= time.end
        assert time.end >= time.start + now.cycles
        for name, queue in QUEUES.items():
            before = of_queue(commands[:index], times[:index], queue)[: now.fields[name]]
            assert all(time.start >= other.end for other in before), name
    for queue in QUEUES.values():
        own = of_queue(commands, times, queue)
        assert [time.start for time in own] == sorted(time.start for time in own)
        assert [time.end for time in own] == sorted(time.end for time in own)
    # Units take one command after the other, so that none is ahead of its cycles.
    for queue in QUEUES.values():
        busy = sum(other.cycles for other in commands if other.opcode is queue)
        assert busy == 0 or of_queue(commands, times, queue)[-1].end >= FETCH + busy
    assert times[-1].end == max(time.end for time in times)


@given(programs(), st.data())
def test_more_cycles_end_no_earlier(commands: list[Emitted], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(commands) - 1))
    slower = [*commands]
    slower[index] = dataclasses.replace(slower[index], cycles=slower[index].cycles + data.draw(st.integers(1, 300)))
    assert all(late.end >= early.end for late, early in zip(predict(slower, TINY), predict(commands, TINY), strict=True))


def test_commands_of_a_queue() -> None:
    """LOADs and STOREs hide their latency behind the ones before, and EXECUTEs follow each other without a gap."""
    loads = predict([command(Opcode.LOAD, 100), command(Opcode.LOAD, 100)], TINY)
    assert loads[0] == Timing(FETCH, FETCH + LOAD_LATENCY + 100 + LOAD_END)
    assert loads[1].end - loads[0].end == 100 + LOAD_GAP
    stores = predict([command(Opcode.STORE, 100), command(Opcode.STORE, 100)], TINY)
    assert stores[0] == Timing(FETCH, FETCH + STORE_LATENCY + 100 + STORE_END)
    assert stores[1].end - stores[0].end == 100
    executes = predict([command(Opcode.EXECUTE, 100), command(Opcode.EXECUTE, 70)], TINY)
    assert executes[1].end - executes[0].end == 70


def test_a_wait_costs_the_way_through_the_array() -> None:
    first, free, bound = (command(Opcode.EXECUTE, 100, wait_execute=wait) for wait in (0, 0, 1))
    assert predict([first, bound], TINY)[1].start == predict([first], TINY)[0].end
    gap = predict([first, bound], TINY)[1].end - predict([first, free], TINY)[1].end
    assert gap == 2 * TINY.columns + TINY.rows + 39
    maximum = command(Opcode.EXECUTE, 100, kind=1)
    assert predict([first], TINY)[0].end - predict([maximum], TINY)[0].end == TINY.rows + TINY.columns + 11


def test_loads_and_stores_share_the_bus() -> None:
    """The second to ask gets what is left, so that both together take as long as their beats."""
    load = command(Opcode.LOAD, 100, rows=4, row_bytes=100)  # 25 beats of 4 bytes a row
    store = command(Opcode.STORE, 100, rows=4, row_bytes=100)
    alone, both = predict([load], TINY), predict([load, store], TINY)
    assert both[0] == alone[0]
    assert both[1].end == FETCH + LOAD_LATENCY + 100 + (100 - (LOAD_LATENCY - STORE_LATENCY)) + STORE_END


def test_work_and_loads_at_the_same_time() -> None:
    """What is loaded for the next EXECUTE costs nothing while this one takes longer."""
    work = [command(Opcode.EXECUTE, 1000), command(Opcode.LOAD, 100), command(Opcode.EXECUTE, 1000, wait_load=1)]
    alone = [command(Opcode.EXECUTE, 1000), command(Opcode.EXECUTE, 1000)]
    assert predict(work, TINY)[-1].end == predict(alone, TINY)[-1].end


@pytest.mark.parametrize(("count", "issued", "wanted"), [(0, 0, 0), (3, 5, 3), (5, 5, 5), (65535, 65537, 65535), (1, 65537, 65537)])
def test_counts_modulo_2_to_the_16(count: int, issued: int, wanted: int) -> None:
    assert recent(count % (1 << 16), issued) == wanted
