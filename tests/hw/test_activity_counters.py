"""Activity counters: every cycle counts once, under the right cause."""
# amaranth: UnusedElaboratable=no

import random

import cocotb

from crisp.arch.registers import ACTIVITY_COUNTERS
from crisp_hw.activity_counters import ActivityCounters, counters_layout
from crisp_hw.step_issuer import Cause
from crisp_sim.cocotb_runner import simulate
from crisp_sim.streams import Bench, layout_codec

BEAT_BYTES = 8


def cause_of(computing: int, cause: Cause, executing: int, moving: int) -> str:
    if computing:
        return "active" if cause is Cause.ACTIVE else f"idle_{cause.name.lower()}"
    return "idle_pooling" if executing else "idle_memory" if moving else "idle_command"


@cocotb.test()
async def counts_everything_once(dut):
    bench = await Bench.start(dut)
    rng = random.Random(bench.seed)
    _, decode = layout_codec(counters_layout())
    for _ in range(2):
        dut.i_clear.value = 1
        await bench.wait(1)
        dut.i_clear.value = 0
        expected = dict.fromkeys(counters_layout().members, 0)
        for _ in range(600):
            run, computing, executing, moving, reads = (rng.getrandbits(1) for _ in range(5))
            cause, strobes = rng.choice(list(Cause)), rng.getrandbits(BEAT_BYTES)
            walked, skipped = rng.choice((0, rng.getrandbits(32))), rng.choice((0, rng.getrandbits(32)))
            dut.i_run.value, dut.i_computing.value, dut.i_cause.value = run, computing, cause.value
            dut.i_executing.value, dut.i_moving.value, dut.i_reads.value = executing, moving, reads
            dut.i_strobes.value, dut.i_walked.value, dut.i_skipped.value = strobes, walked, skipped
            await bench.wait(1)
            if run:
                expected["cycles"] += 1
                expected[cause_of(computing, cause, executing, moving)] += 1
                expected["blocks_walked"] += walked
                expected["blocks_skipped"] += skipped
                expected["bytes_read"] += BEAT_BYTES * reads
                expected["bytes_written"] += strobes.bit_count()
        dut.i_run.value = 0
        await bench.wait(4)
        counters = decode(int(dut.o_counters.value))
        assert counters == expected
        assert counters["cycles"] == sum(counters[name] for name, _ in ACTIVITY_COUNTERS)
        assert all(counters.values())


def test_activity_counters():
    simulate(ActivityCounters(beat_bytes=BEAT_BYTES), __file__, name="activity_counters")
