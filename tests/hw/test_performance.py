"""Performance counters: one cause a cycle, they add up, and every cycle belongs to one command."""

import cocotb
import numpy as np
from tests.hw.bench import play

from crisp.arch import COUNTERS, IDLE_CAUSES
from crisp_hw.performance import PerformanceCounters
from crisp_hw.step_issuer import Cause
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import Bench

INPUTS = ("i_command", "i_command_end", "i_cause", "i_empty", "i_block_end", "i_list_end", "i_window_end", "i_block_columns")


def draw_cycles(rng: np.random.Generator, number: int) -> tuple[dict[str, list[int]], list[dict[str, int]], list[int]]:
    """Draw what ``number`` commands do, one behind the other or with a tail between.

    Returns
    -------
    dict
        The inputs, cycle by cycle.
    list of dict
        The counters of each command.
    list of int
        The cycle in which each account must be complete.
    """
    table: dict[str, list[int]] = {name: [] for name in INPUTS}
    accounts, ends = [], []

    def add(**values: int) -> None:
        for name in INPUTS:
            table[name].append(int(values.get(name, 0)))

    for _ in range(number):
        account = dict.fromkeys((field.name for field in COUNTERS.fields), 0)
        columns = int(rng.integers(1, 4096))
        length = int(rng.choice([1, 1, 2, 3, 20]))
        for cycle in range(length):
            is_last = cycle == length - 1
            cause = Cause.ACTIVE if is_last else Cause(int(rng.integers(0, Cause.TAIL.value)))
            active = cause is Cause.ACTIVE
            block = active and (is_last or rng.random() < 0.6)
            a_list, window = block and (is_last or rng.random() < 0.5), block and (is_last or rng.random() < 0.5)
            add(
                i_command=1,
                i_command_end=is_last,
                i_cause=cause.value,
                i_empty=rng.random() < 0.5,
                i_block_end=block,
                i_list_end=a_list,
                i_window_end=window,
                i_block_columns=columns,
            )
            account["active" if active else f"idle_{cause.name.lower()}"] += 1
            account["blocks_walked"] += block
            account["blocks_skipped"] += columns * a_list - block
            account["windows"] += window
        # The tail, if nothing follows: until the results have left, or a command comes before that.
        tail = int(rng.choice([0, 1, 2, 12]))
        is_cut = rng.random() < 0.3
        for cycle in range(tail):
            is_last = cycle == tail - 1 and not is_cut
            add(i_cause=Cause.TAIL.value, i_empty=is_last, i_block_columns=rng.integers(4096))
            account["idle_tail"] += 1
        account["total"] = account["active"] + sum(account[cause] for cause in IDLE_CAUSES)
        account["blocks_skipped"] %= 1 << 32
        ends.append(len(table["i_command"]))
        if tail and not is_cut:
            # No work at all, which nobody is charged for.
            for _ in range(int(rng.integers(0, 4))):
                add(i_cause=Cause.TAIL.value, i_empty=rng.random() < 0.5)
        accounts.append(account)
    return table, accounts, ends


@cocotb.test()
async def counts_every_cycle(dut) -> None:
    """Commands that follow each other at once, in the tail, or after it: each account is shown once, in its cycle."""
    bench = await Bench.start(dut)
    rng = np.random.default_rng(bench.seed)
    table, accounts, ends = draw_cycles(rng, 200)
    # The last command's tail ends, too.
    table = {name: [*values, *([int(name == "i_empty")] * 2)] for name, values in table.items()}
    table["i_cause"][-2:] = [Cause.TAIL.value] * 2
    seen = await play(bench, table, ["o_counters", "o_valid", "o_busy"], tail=2)
    shown = [cycle for cycle, valid in enumerate(seen["o_valid"]) if valid]
    assert len(shown) == len(accounts)
    assert shown[:-1] == ends[:-1]
    for number, cycle in enumerate(shown[:-1]):
        assert COUNTERS.unpack(seen["o_counters"][cycle]) == accounts[number], f"command {number}"
    assert sum(seen["o_busy"][: ends[-1]]) == sum(account["total"] for account in accounts)


def test_performance() -> None:
    simulate(PerformanceCounters(), __file__, name="performance_counters")


def test_every_cause_has_its_counter() -> None:
    assert [f"idle_{cause.name.lower()}" for cause in Cause if cause is not Cause.ACTIVE] == list(IDLE_CAUSES)
