"""Run reader against the list repeated: lists of one run and of all that the buffer holds, stopped anywhere."""

import cocotb
import numpy as np
import pytest

from crisp.arch import RUN
from crisp_hw.layouts import word_layout, write_port_layout
from crisp_hw.run_reader import RunReader
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


async def fill(bench: Bench, lasts: np.ndarray) -> list[int]:
    """Write random runs that end windows where told, and return them."""
    rng = np.random.default_rng([bench.seed, bench.cycle])
    encode, _ = layout_codec(write_port_layout(word_layout(RUN), len(lasts)))
    decode = layout_codec(word_layout(RUN))[1]
    runs = [
        int(run) & ~(1 << RUN.shift("last")) | int(last) << RUN.shift("last")
        for run, last in zip(rng.integers(1 << 62, size=len(lasts)), lasts, strict=True)
    ]
    for address, run in enumerate(runs):
        bench.dut.i_write.value = encode({"enable": 1, "address": address, "data": decode(run)})
        await bench.wait(1)
    bench.dut.i_write.value = 0
    return runs


async def start(bench: Bench, base: int, windows: int) -> None:
    """Begin to read a list."""
    dut = bench.dut
    dut.i_base.value, dut.i_windows.value, dut.i_start.value = base, windows, 1
    await bench.wait(1)
    dut.i_start.value = 0


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def repeats_lists(dut, mode: str) -> None:
    """Any list of windows in the buffer, up to its last run; the reader is stopped while runs are on their way."""
    depth = parameters()["depth"]
    bench = await Bench.start(dut, mode=mode)
    rng = np.random.default_rng(bench.seed)
    sink = bench.sink("o_run")
    for share in (0.0, 0.1, 0.5, 1.0):
        lasts = rng.random(depth) < share
        lasts[-1] = True
        runs = await fill(bench, lasts)
        ends = np.flatnonzero(lasts)
        for case in range(25):
            base = int(rng.choice([0, depth - 1, rng.integers(depth)]))
            windows = len(ends[ends >= base])
            windows = windows if case % 2 else int(rng.integers(1, windows + 1))
            length = int(ends[ends >= base][windows - 1]) + 1 - base
            await start(bench, base, windows)
            begin, first = bench.cycle, len(sink.transfers)
            number = int(rng.integers(1, 4 * length + 10))
            await bench.until(
                lambda first=first, number=number: len(sink.transfers) >= first + number,
                progress=lambda: len(sink.transfers),
                what=lambda: f"{len(sink.transfers)} runs came",
            )
            assert sink.transfers[first:] == [runs[base + place % length] for place in range(len(sink.transfers) - first)]
            cycles = np.diff([begin, *sink.cycles[first:]])
            if bench.mode is Mode.FULL:
                # Where the list ends is not known before its last run has come.
                assert cycles[0] == RunReader.LATENCY
                assert cycles[length:][:1].tolist() in ([], [RunReader.LATENCY - 1])
                assert set(np.delete(cycles, [0, length][: 1 + (len(cycles) > length)]).tolist()) <= {1}
            dut.i_stop.value = 1
            # What is offered in the cycle of the stop may be taken, and is withdrawn.
            sink.enabled = False
            await bench.wait(1)
            dut.i_stop.value = 0
            sink.forget()
            await bench.wait(int(rng.integers(1, 4)))
            assert not int(dut.o_run__valid.value)
            sink.enabled = True
            assert not int(dut.o_error.value)


@cocotb.test()
async def tells_a_list_without_end(dut) -> None:
    """An error once, when the buffer ends or the list begins beyond it; the next list is read as ever."""
    depth = parameters()["depth"]
    bench = await Bench.start(dut)
    sink = bench.sink("o_run")
    lasts = np.zeros(depth, bool)
    lasts[depth // 2] = True
    runs = await fill(bench, lasts)
    for base, windows in ((depth // 2 + 1, 1), (0, 2), (depth - 1, 2), (depth, 1), ((1 << 14) - 1, 1)):
        first = len(sink.transfers)
        await start(bench, base, windows)
        errors = 0
        for _ in range(2 * depth + 20):
            await bench.wait(1)
            errors += int(dut.o_error.value)
        assert errors == 1
        assert sink.transfers[first:] == runs[base:]
        await start(bench, depth // 2, 1)
        await bench.wait(20)
        assert sink.transfers[-5:] == [runs[depth // 2]] * 5
        dut.i_stop.value = 1
        await bench.wait(1)
        dut.i_stop.value = 0
        await bench.wait(2)


@pytest.mark.parametrize(("depth", "simulator"), [(1, "verilator"), (2, "verilator"), (37, "verilator"), (64, "verilator"), (16, "icarus")])
def test_run_reader(depth: int, simulator: str) -> None:
    simulate(RunReader(depth=depth), __file__, name="run_reader", parameters={"depth": depth}, simulator=simulator)
