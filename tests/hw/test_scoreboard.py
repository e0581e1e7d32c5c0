"""Scoreboard: counts that run modulo 2^16, and who may begin."""
# amaranth: UnusedElaboratable=no

import random

import cocotb

from crisp_hw.command_layouts import QUEUES, waits_layout
from crisp_hw.scoreboard import Scoreboard
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import Bench, layout_codec

WAITING = 4


def is_complete(completed: int, wait: int) -> bool:
    return (completed - wait) % (1 << 16) < 1 << 15


@cocotb.test()
async def counts_and_answers(dut):
    """Through the wrap of the counts: every answer in every cycle is that of the formula."""
    bench = await Bench.start(dut)
    rng = random.Random(bench.seed)
    encode, _ = layout_codec(waits_layout())
    completed, issued = [0] * 3, [0] * 3
    answers = set()
    issue = complete = 0
    for cycle in range(70_000):
        # The host reads 32 bits of what commands see 16 of.
        if cycle % 1000 == 0 or 65_530 < cycle < 65_560:
            for index in range(3):
                assert int(dut.o_completed.value) >> 32 * index & 0xFFFFFFFF == completed[index]
                assert int(dut.o_issued.value) >> 16 * index & 0xFFFF == issued[index] % (1 << 16)
            assert int(dut.o_empty.value) == (completed == issued)
        # What was driven in the cycle before is counted now.
        for index in range(3):
            issued[index] += issue >> index & 1
            completed[index] += complete >> index & 1
        issue = 0b111 if cycle < 40 else rng.choice((0, 0b111, 0b111))
        complete = sum(1 << index for index in range(3) if issued[index] > completed[index] and cycle != 100)
        dut.i_issue.value, dut.i_complete.value = issue, complete
        if cycle % 50 == 0:
            reach = rng.choice((3, (1 << 15) - 1))
            waits = [[(count + rng.randint(-reach, reach // 3)) % (1 << 16) for count in completed] for _ in range(WAITING)]
            for asks, wait in enumerate(waits):
                names = waits_layout().members
                getattr(dut, f"i_waits__{asks}").value = encode(dict(zip(names, wait, strict=True)))
        await bench.wait(1)
        if cycle % 50 == 0:
            expected = [all(map(is_complete, completed, wait)) for wait in waits]
            assert int(dut.o_ready.value) == sum(1 << asks for asks, ready in enumerate(expected) if ready)
            answers.update(expected)
    assert answers == {False, True}
    assert min(completed) > 1 << 15

    dut.i_issue.value = dut.i_complete.value = 0
    dut.i_clear.value = 1
    await bench.wait(2)
    assert (int(dut.o_completed.value), int(dut.o_issued.value), int(dut.o_empty.value)) == (0, 0, 1)


def test_scoreboard():
    assert [queue.name for queue in QUEUES] == ["LOAD", "EXECUTE", "STORE"]
    simulate(Scoreboard(waiting=WAITING), __file__, name="scoreboard")
