"""The C++ harness: it runs layers as the golden model does, and tells what is wrong with an engine that does not."""

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import COUNTERS, LAYER, CapacityError, Config, LayerError, Pattern, ProductLayer, pack
from crisp.golden.engine import run_layer
from crisp_hw.layouts import word_layout
from crisp_sim.bench import bench_simulation
from crisp_sim.errors import EngineFault, SimulationError, SimulationTimeout
from crisp_sim.harness import EngineSimulator
from crisp_sim.random_layers import CASES, random_layer, random_layers

TINY = Config.preset("tiny")
SEED = 11


@pytest.fixture(scope="module")
def simulator() -> EngineSimulator:
    return EngineSimulator(TINY)


@pytest.mark.parametrize("case", CASES)
def test_case(simulator: EngineSimulator, case: str) -> None:
    """Each kind of layer gives the golden model's bits."""
    layer, x = random_layer(TINY, case, seed=SEED)
    run = simulator.run(layer, x)
    np.testing.assert_array_equal(run.output, run_layer(layer, x))
    assert run.counters.total == run.cycles


@pytest.mark.parametrize(("idle", "stall"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.9)])
def test_pauses_change_no_bit(idle: float, stall: float) -> None:
    """Idle cycles and back-pressure cost cycles only."""
    paused = EngineSimulator(TINY, idle=idle, stall=stall, seed=SEED)
    for layer, x in random_layers(TINY, seed=SEED, number=2 * len(CASES)):
        np.testing.assert_array_equal(paused.run(layer, x).output, run_layer(layer, x))


def test_simulators_share_nothing(simulator: EngineSimulator) -> None:
    """Two engines of one library, used in turn, do not meet; the same run takes the same cycles on both."""
    other = EngineSimulator(TINY)
    first, second = random_layer(TINY, "mixed_n", seed=1), random_layer(TINY, "dense", seed=2)
    runs = [simulator.run(*first), other.run(*second), simulator.run(*second), other.run(*first)]
    assert (runs[0].output == runs[3].output).all()
    assert (runs[1].output == runs[2].output).all()
    assert [runs[0].cycles, runs[1].cycles] == [runs[3].cycles, runs[2].cycles]


def test_digest(simulator: EngineSimulator) -> None:
    """Outputs that belong to no stream can be read."""
    assert simulator.read("o_digest") == TINY.digest
    with pytest.raises(SimulationError, match=r"^no output 'o_digits': there are o_busy, o_done, "):
        simulator.read("o_digits")


def test_progress(simulator: EngineSimulator) -> None:
    """The callback's last call says that all windows are taken."""
    layer, x = random_layer(TINY, "many_pixel_tiles", seed=SEED)
    calls: list[tuple[int, int, int]] = []
    run = simulator.run(layer, x, progress=lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] > 0
    assert calls[-1][2] >= run.cycles


def test_wrong_activations(simulator: EngineSimulator) -> None:
    """The message says what was expected."""
    layer, x = random_layer(TINY, "dense", seed=SEED)
    with pytest.raises(LayerError, match=rf"activations must be int8 of shape \({x.shape[0]}, P\), not int32"):
        simulator.run(layer, x.astype(np.int32))


def test_layer_too_large(simulator: EngineSimulator) -> None:
    """A layer that does not fit never reaches the engine."""
    shape = (8 * TINY.rows, TINY.column_buffer_depth * TINY.group_size)
    packed = pack(np.ones(shape, np.int8), Pattern.dense(shape, 16, TINY.group_size), rows=TINY.rows)
    ones = np.ones(shape[0], np.int32)
    layer = ProductLayer("huge", packed, ones, ones.astype(np.uint16), ones.astype(np.uint8))
    assert layer.steps > TINY.weight_buffer_depth
    with pytest.raises(CapacityError, match=r"^huge: needs weight_buffer_depth of"):
        simulator.run(layer, np.zeros((shape[1], 1), np.int8))


def test_pause_must_end() -> None:
    """A stream that always pauses would never end."""
    with pytest.raises(SimulationError, match=r"^stall must be a probability less than 1, so that work goes on, not 1$"):
        EngineSimulator(TINY, stall=1)


class StandIn(wiring.Component):
    """What has the engine's ports, takes everything, sends as many words as a layer of one row tile has, and is done.

    Parameters
    ----------
    fault : str
        ``""``; ``deaf_load``: never takes a step; ``deaf_window``: takes three words of windows, and keeps the last output
        until the fourth; ``silent``: is never done; ``hasty``: is done a word too early; ``chatty``: sends without end.
    """

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        super().__init__({
            "i_step": In(stream.Signature(40)),
            "i_count": In(stream.Signature(16)),
            "i_entry": In(stream.Signature(16)),
            "i_channel": In(stream.Signature(64)),
            "i_layer": In(stream.Signature(word_layout(LAYER))),
            "i_window": In(stream.Signature(data.StructLayout({"data": 128, "address": 8, "last": 1}))),
            "o_words": Out(stream.Signature(data.ArrayLayout(8, TINY.rows))).array(1),
            "o_busy": Out(1),
            "o_done": Out(1),
            "o_counters": Out(word_layout(COUNTERS)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        words_taken = Signal(32)
        words_left = Signal(32)
        started = Signal()
        window_open = started & (words_taken != 3) if self.fault == "deaf_window" else 1
        m.d.comb += [self.i_step.ready.eq(self.fault != "deaf_load"), self.i_window.ready.eq(window_open)]
        m.d.comb += [self.i_count.ready.eq(1), self.i_entry.ready.eq(1), self.i_channel.ready.eq(1), self.i_layer.ready.eq(1)]
        words = self.o_words[0]
        m.d.comb += words.valid.eq((words_left > (self.fault == "deaf_window")) | (self.fault == "chatty"))
        m.d.comb += words.payload.as_value().eq(words_left[:8])
        with m.If(self.i_window.valid & self.i_window.ready):
            m.d.sync += words_taken.eq(words_taken + 1)
        with m.If(self.i_layer.valid):
            m.d.sync += [started.eq(1), words_taken.eq(0), words_left.eq(self.i_layer.payload.pixel_tiles * TINY.columns)]
        with m.Elif(words.valid & words.ready):
            m.d.sync += words_left.eq(words_left - 1)
            m.d.comb += self.o_done.eq((words_left == (2 if self.fault == "hasty" else 1)) & (self.fault != "silent"))
        return m


def make_one_group_layer(num_tiles: int) -> tuple[ProductLayer, np.ndarray]:
    """Make a layer of one row tile and one word a window."""
    pattern = Pattern.dense((TINY.rows, TINY.group_size), 16, TINY.group_size)
    packed = pack(np.eye(TINY.rows, TINY.group_size, dtype=np.int8), pattern, rows=TINY.rows)
    ones = np.ones(TINY.rows, np.int32)
    layer = ProductLayer("eye", packed, ones, ones.astype(np.uint16), ones.astype(np.uint8))
    return layer, np.zeros((TINY.group_size, num_tiles * TINY.columns), np.int8)


def test_output_places() -> None:
    """Words land at their pixel and channel: the stand-in counts them down from the last, in the lowest channel."""
    layer, x = make_one_group_layer(num_tiles=3)
    run = EngineSimulator(TINY, engine=StandIn()).run(layer, x)
    expected = np.zeros((TINY.rows, 12), np.int8)
    expected[0] = np.arange(12, 0, -1)
    np.testing.assert_array_equal(run.output, expected)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (
            "deaf_load",
            SimulationTimeout,
            r"^eye: nothing moved for 99 cycles up to cycle \d+ of load; i_step at 0 of 4 \(valid 1, ready 0\)$",
        ),
        (
            "deaf_window",
            SimulationTimeout,
            r"^eye: nothing moved for 99 cycles up to cycle \d+ of run; i_window at 3 of 12 \(valid 1, ready 0\); "
            r"o_words__0 at 47 of 48 \(valid 0, ready 1\)$",
        ),
        (
            "hasty",
            EngineFault,
            r"^eye: in cycle \d+ of run the engine reported to be done, but was not: o_words__0 at 47 of 48 \(valid 1, ready 1\)$",
        ),
        (
            "silent",
            SimulationTimeout,
            r"^eye: nothing moved for 99 cycles up to cycle \d+ of run; all streams are through, but the engine is not done$",
        ),
        (
            "chatty",
            EngineFault,
            r"^eye: in cycle 1 of load the engine sent more than the layer has: ",
        ),
    ],
)
def test_broken_engine(fault: str, error: type[Exception], message: str) -> None:
    """A broken engine ends in an error that names layer, cycle and stream, not in a hang; after a reset it is as before."""
    broken = EngineSimulator(TINY, engine=StandIn(fault))
    layer, x = make_one_group_layer(num_tiles=12)
    for _ in range(2):
        with pytest.raises(error, match=message):
            broken.run(layer, x, timeout_cycles=99)
        broken.reset()


def test_waves(tmp_path) -> None:
    """Waves hold the signals inside."""
    traced = EngineSimulator(TINY, engine=StandIn(), trace=tmp_path / "engine.vcd")
    traced.run(*make_one_group_layer(num_tiles=3))
    traced.close()
    text = (tmp_path / "engine.vcd").read_text()
    assert "words_left" in text
    assert "#100" in text


def test_bench() -> None:
    """The record tells command, seed and both speeds."""
    record = bench_simulation(TINY, seconds=0.01)
    assert record["seed"] == 1
    assert [run["layer"] for run in record["runs"]] == ["dense", "sparse"]
    dense, sparse = record["runs"]
    assert dense["cycles_of_a_run"] > 9 * sparse["cycles_of_a_run"]
    assert min(run["cycles_per_second"] for run in record["runs"]) > 0
