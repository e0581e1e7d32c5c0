"""Interleaving: another order of the same queues, in which a LOAD stands before what can run without it."""

from hypothesis import given
from tests.sw.compile.test_predict import QUEUES, command, programs

from crisp.arch import Config, Opcode
from crisp.compile.interleave import interleave
from crisp.compile.stream import Emitted

TINY = Config.preset("tiny")


@given(programs())
def test_queues_keep_their_order_and_waits_look_back(commands: list[Emitted]) -> None:
    order = interleave(commands, TINY)
    assert sorted(map(id, order)) == sorted(map(id, commands))
    assert order[-1] is commands[-1]
    counts = dict.fromkeys(QUEUES.values(), 0)
    for other in order:
        for name, queue in QUEUES.items():
            assert other.fields[name] <= counts[queue], name
        if other.opcode in counts:
            counts[other.opcode] += 1
    for queue in QUEUES.values():
        own, before = ([id(other) for other in some if other.opcode is queue] for some in (order, commands))
        assert own == before


def test_what_can_be_loaded_is_not_held_up() -> None:
    """The LOAD of the next stripe stands behind EXECUTEs that wait for each other; it needs none of them."""
    first, second = command(Opcode.EXECUTE, 1000), command(Opcode.EXECUTE, 1000, wait_execute=1)
    load = command(Opcode.LOAD, 500)
    user, end = command(Opcode.EXECUTE, 10, wait_load=1), command(Opcode.END)
    order = interleave([first, second, load, user, end], TINY)
    assert [id(other) for other in order] == [id(other) for other in (first, load, second, user, end)]
