"""Bank scheduler: every lane gets the bank that it wants once, no bank serves two, and no cycle is wasted."""

import cocotb
import numpy as np
import pytest
from tests.hw.bench import Process

from crisp_hw.bank_scheduler import BankScheduler
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench, Mode, layout_codec


class Grants(Process):
    """Note the grants of each request, one list of cycles each, and when they came."""

    def __init__(self, bench: Bench, decode) -> None:
        super().__init__(bench)
        self.decode = decode
        self.requests: list[list[list[int]]] = []
        self.cycles: list[int] = []

    def step(self) -> None:
        dut = self.dut
        grants = self.decode(int(dut.o_grants.value))
        if not int(dut.o_valid.value):
            assert not any(grants)
            return
        if int(dut.o_first.value):
            self.requests.append([])
        self.requests[-1].append(grants)
        self.cycles.append(self.bench.cycle)
        self.ended = bool(int(dut.o_last.value))
        banks = sum(grants)
        assert banks == np.bitwise_or.reduce(grants), "a bank serves two lanes"


def serve(wanted: list[int]) -> list[list[int]]:
    """Return the grants of a request: in each cycle every bank goes to the lowest lane that still wants it."""
    cycles = []
    left = list(wanted)
    while True:
        grants, taken = [], 0
        for lane, bank in enumerate(left):
            grants.append(bank & ~taken)
            taken |= bank
            left[lane] = 0 if grants[-1] else bank
        cycles.append(grants)
        if not any(left):
            return cycles


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def serves_all_lanes(dut, mode: str) -> None:
    """From all lanes at one bank to all at their own; some lanes want none, some requests nothing at all."""
    table = parameters()
    bench = await Bench.start(dut, mode=mode)
    encode, decode = layout_codec(BankScheduler(**table).wanted_layout)
    source, grants = bench.source("i_wanted", encode), Grants(bench, decode)
    rng = np.random.default_rng(bench.seed)
    requests = []
    for _ in range(300):
        banks = rng.integers(rng.integers(1, table["banks"] + 1), size=table["lanes"])
        if rng.random() < 0.5:
            banks = rng.permutation(table["banks"])[: table["lanes"]]
        enables = rng.random(table["lanes"]) < rng.choice([0.0, 0.5, 0.9, 1.0, 1.0])
        requests.append(np.where(enables, 1 << banks, 0).tolist())
    source.send(requests)
    await source.drain()
    expected = [serve(request) for request in requests]
    # Nothing tells the scheduler to wait, so all is served as many cycles after the last request as that one takes.
    await bench.wait(BankScheduler.LATENCY + len(expected[-1]))
    assert grants.requests == expected
    assert grants.ended
    if bench.mode is Mode.FULL:
        assert np.diff(grants.cycles).tolist() == [1] * (len(grants.cycles) - 1)


@pytest.mark.parametrize(
    ("lanes", "banks", "simulator"), [(1, 1, "verilator"), (3, 4, "verilator"), (14, 16, "verilator"), (4, 4, "icarus")]
)
def test_bank_scheduler(lanes: int, banks: int, simulator: str) -> None:
    table = {"lanes": lanes, "banks": banks}
    simulate(BankScheduler(**table), __file__, name="bank_scheduler", parameters=table, simulator=simulator)
