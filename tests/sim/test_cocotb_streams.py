"""The cocotb runner and the bench classes at work on a small FIFO, and on broken ones that they must catch."""

import random
import re
import time

import cocotb
import numpy
import pytest
from amaranth import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.errors import BuildError, CocotbFailure, ToolError
from crisp_sim.streams import MODES, Bench, Mode, layout_codec

ITEM = data.StructLayout({"value": data.ArrayLayout(8, 2), "last": 1})
TESTS = ("passes_everything", "forgets_at_reset")
WIDE = data.ArrayLayout(data.StructLayout({"value": data.ArrayLayout(8, 8), "offset": 3}), 2)


class StreamFIFO(wiring.Component):
    """A FIFO between two streams, whole or with a fault.

    Parameters
    ----------
    shape : shape-castable
        Payload.
    fault : str
        ``""``; ``changes``: a waiting payload changes; ``drops``: valid falls at times; ``loses``: now and then an item is
        lost; ``waits``: valid waits for ready; ``slow``: takes an item only every other cycle.
    """

    def __init__(self, shape, *, fault: str = "") -> None:
        self.shape = shape
        self.fault = fault
        super().__init__({"i_item": In(stream.Signature(shape)), "o_item": Out(stream.Signature(shape))})

    def elaborate(self, platform) -> Module:
        m = Module()
        width = len(self.i_item.p.as_value())
        m.submodules.fifo = queue = fifo.SyncFIFO(width=width, depth=4)
        time = Signal(4)
        m.d.sync += time.eq(time + 1)
        hidden = {"drops": time == 3, "waits": ~self.o_item.ready}.get(self.fault, 0)
        payload = queue.r_data ^ (time == 5) if self.fault == "changes" else queue.r_data
        lost = time == 9 if self.fault == "loses" else 0
        closed = time[0] if self.fault == "slow" else 0
        m.d.comb += [
            queue.w_data.eq(self.i_item.p.as_value()),
            queue.w_en.eq(Mux(lost, 0, self.i_item.valid & ~closed)),
            self.i_item.ready.eq(queue.w_rdy & ~closed),
            self.o_item.p.as_value().eq(payload),
            self.o_item.valid.eq(queue.r_rdy & ~hidden),
            queue.r_en.eq(self.o_item.ready & self.o_item.valid),
        ]
        return m


@cocotb.test()
async def passes_everything(dut) -> None:
    """Everything comes out in order; without stalls an item a cycle."""
    shape = {"item": ITEM, "wide": WIDE}[parameters()["shape"]]
    encode, decode = layout_codec(shape)
    bench = await Bench.start(dut, mode=parameters()["mode"])
    source, sink = bench.source("i_item", encode), bench.sink("o_item", decode)
    items = [decode(random.getrandbits(shape.size)) for _ in range(parameters()["number"])]
    source.send(items)
    await sink.expect(items)
    await sink.expect_nothing(cycles=20)
    if bench.mode is Mode.FULL:
        sink.check_throughput()


@cocotb.test()
async def forgets_at_reset(dut) -> None:
    """What waits when reset comes is gone, and work goes on after it."""
    bench = await Bench.start(dut, mode=parameters()["mode"])
    source, sink = bench.source("i_item"), bench.sink("o_item")
    sink.enabled = False
    source.send([1, 2])
    await source.drain()
    await bench.reset()
    sink.enabled = True
    source.send([3])
    await sink.expect([3])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", ["item", "wide"])
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_fifo(simulator: str, shape: str, mode: str) -> None:
    """A sound FIFO passes in every mode, on both simulators."""
    component = StreamFIFO({"item": ITEM, "wide": WIDE}[shape])
    table = {"mode": mode, "shape": shape, "number": 100}
    run = simulate(component, __file__, name="stream_fifo", parameters=table, simulator=simulator, testcase=TESTS, seed=7)
    assert run.tests == TESTS
    assert run.seed == 7


@pytest.mark.parametrize(
    ("fault", "mode", "message"),
    [
        ("changes", "backpressure", r"o_item: payload changed from 0x\w+ to 0x\w+ in cycle \d+ before it was taken"),
        ("drops", "backpressure", r"o_item: valid fell in cycle \d+ before 0x\w+ was taken"),
        ("waits", "backpressure", r"o_item: 0 of 1 values came; no progress for 2000 cycles"),
        ("loses", "idle", r"o_item: value \d+ must be \{'value': .*\}, not \{'value': .*\}, in cycle \d+"),
        ("loses", "full", r"o_item: value \d+ must be"),
        ("slow", "full", r"o_item: 2 cycles from transfer 0 in cycle \d+ to the next, not 1"),
    ],
)
def test_broken_fifo_fails(fault: str, mode: str, message: str) -> None:
    """Every fault is found, and the failure tells test, assertion and seed."""
    table = {"mode": mode, "shape": "item", "number": 100}
    with pytest.raises(CocotbFailure) as failure:
        simulate(
            StreamFIFO(ITEM, fault=fault),
            __file__,
            name=f"{fault}_fifo",
            parameters=table,
            testcase="passes_everything",
            simulator="verilator",
            seed=3,
        )
    text = str(failure.value)
    assert re.search(message, text), text
    assert "seed 3: 1 of 1 cocotb tests failed" in text
    assert "passes_everything" in text


@cocotb.test()
async def reads_parameters(dut) -> None:
    """Long parameters arrive as they were."""
    assert parameters() == {"array": list(range(40_000))}


def test_parameters_of_any_length() -> None:
    """NumPy arrays pass, longer than an environment variable may be."""
    table = {"array": numpy.arange(40_000)}
    simulate(StreamFIFO(ITEM), __file__, name="stream_fifo", parameters=table, testcase="reads_parameters")


@cocotb.test()
async def never_ends(dut) -> None:
    """Python that hangs."""
    time.sleep(60)


def test_hanging_test_is_ended() -> None:
    """A test that hangs fails and says so."""
    with pytest.raises(CocotbFailure, match="the simulator did not end in 3 s"):
        simulate(StreamFIFO(ITEM), __file__, name="stream_fifo", testcase="never_ends", timeout_seconds=3)


def test_unknown_test_is_a_failure() -> None:
    """A test that does not exist does not pass for want of one."""
    with pytest.raises(CocotbFailure, match="ended without running a test"):
        simulate(StreamFIFO(ITEM), __file__, name="stream_fifo", testcase="no_such", simulator="verilator")


def test_unknown_simulator() -> None:
    """The message names the choices."""
    with pytest.raises(ToolError, match=r"^simulator must be 'verilator' or 'icarus', not 'vcs'$"):
        simulate(StreamFIFO(ITEM), __file__, name="stream_fifo", simulator="vcs")


def test_build_error_shows_the_message() -> None:
    """What Verilator says reaches the user."""
    with pytest.raises(BuildError, match=r"(?s)failed with status 1.*syntax error.*left in"):
        simulate("module nonsense(input clk); wire; endmodule", __file__, name="nonsense", simulator="verilator")
