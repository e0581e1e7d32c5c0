"""Performance counters: one cause a cycle, and they add up."""

import cocotb
import numpy as np
from tests.hw.bench import play

from crisp.arch import COUNTERS, IDLE_CAUSES
from crisp_hw.performance import PerformanceCounters
from crisp_hw.step_issuer import Cause
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import Bench


def count(start: np.ndarray, run: np.ndarray, cause: np.ndarray, window: np.ndarray, walked: np.ndarray, skipped: np.ndarray) -> dict:
    """Count one layer; entry 0 is the cycle of ``start``."""
    assert start[0]
    assert not start[1:].any()
    counters = {f"idle_{kind.name.lower()}": int((run & (cause == kind.value)).sum()) for kind in Cause if kind is not Cause.ACTIVE}
    return {
        "total": int(run.sum()),
        "active": int((run & (cause == Cause.ACTIVE.value)).sum()),
        **counters,
        "blocks_walked": int(walked.sum()),
        "blocks_skipped": int(skipped.sum()),
        "windows": int(window.sum()),
    }


@cocotb.test()
async def counts_every_cycle(dut) -> None:
    """Layers one after the other, with idle cycles in between that do not count; counters are right in every cycle."""
    inputs = ("i_start", "i_run", "i_cause", "i_window", "i_walked", "i_skipped")
    bench = await Bench.start(dut, **dict.fromkeys(inputs, 0))
    rng = np.random.default_rng(bench.seed)
    for length in (1, 2, 50, 1, 200):
        idle = int(rng.integers(0, 4))
        cycles = length + idle
        table = {
            "i_start": np.arange(cycles) == 0,
            "i_run": np.arange(cycles) < length,
            "i_cause": rng.integers(0, len(Cause), cycles),
            "i_window": rng.random(cycles) < 0.3,
            "i_walked": rng.random(cycles) < 0.4,
            "i_skipped": rng.integers(0, 8192, cycles),
        }
        for name in ("i_window", "i_walked", "i_skipped"):
            table[name][length:] = 0
        rest = {name: [*values, 0] for name, values in table.items()}
        seen = await play(bench, rest, ["o_counters"])
        for cycle in range(cycles):
            counters = COUNTERS.unpack(seen["o_counters"][cycle + 1])
            assert counters == count(*(values[: cycle + 1] for values in table.values())), f"{cycle} of {length} cycles"
            assert counters["total"] == counters["active"] + sum(counters[name] for name in IDLE_CAUSES)


def test_performance() -> None:
    simulate(PerformanceCounters(), __file__, name="performance_counters")


def test_every_cause_has_its_counter() -> None:
    assert [f"idle_{cause.name.lower()}" for cause in Cause if cause is not Cause.ACTIVE] == list(IDLE_CAUSES)
