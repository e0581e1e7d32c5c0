"""The layer engine: every bit against the golden model, every cycle against the counters' promise."""

import dataclasses

import cocotb
import numpy as np
import pytest

from crisp.arch import COUNTERS, IDLE_CAUSES, LAYER, Config, Pattern, ProductLayer, layer_command, pack
from crisp.golden.engine import run_layer
from crisp_hw.engine import LayerEngine
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.harness import EngineSimulator, used_words
from crisp_sim.random_layers import random_layers
from crisp_sim.steady_state import measure_steady_state
from crisp_sim.streams import MODES, Bench, layout_codec

CONFIGS = {
    "tiny": Config.preset("tiny"),
    "default": Config.preset("default"),
    # More columns than rows, a number of columns that is no power of two, two rows a cycle, M = 8.
    "wide": dataclasses.replace(Config.preset("tiny"), rows=4, columns=7, group_size=8, drain_rows=2),
    # One column, all rows drained at once, M = 2; and one row with M = 16.
    "column": dataclasses.replace(Config.preset("tiny"), columns=1, group_size=2, drain_rows=4),
    "row": dataclasses.replace(Config.preset("tiny"), rows=1, columns=3, group_size=16, weight_buffer_depth=16384),
}

#: Cycles from a command to the first step: the first block is fetched.
START = 6

#: Layers with pauses on all streams into the engine, and on all out of it.
PAUSES = {"no_pause": (0.0, 0.0), "idle": (0.5, 0.0), "backpressure": (0.0, 0.5), "both": (0.3, 0.3)}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request) -> Config:
    return CONFIGS[request.param]


def check_counters(layer: ProductLayer, num_pixels: int, config: Config, counters: dict[str, int]) -> None:
    """Check all that a layer's counters must be, whatever held the engine up."""
    pixel_tiles = -(-num_pixels // config.columns)
    packed = layer.packed
    walked = sum(int(packed.counts[tile // packed.block_tiles]) for tile in range(packed.row_tiles)) * pixel_tiles
    assert counters["active"] == layer.steps * pixel_tiles
    assert counters["total"] == counters["active"] + sum(counters[cause] for cause in IDLE_CAUSES)
    assert counters["windows"] == pixel_tiles
    assert counters["blocks_walked"] == walked
    assert counters["blocks_skipped"] == packed.pattern.block_columns * packed.row_tiles * pixel_tiles - walked


def least_cycles(layer: ProductLayer, num_pixels: int, config: Config) -> int:
    """Return cycles from the first step to the last: a tile may end ``bank_rows`` cycles after the one before at the earliest."""
    packed = layer.packed
    tiles = [int(packed.pattern.row_steps[tile // packed.block_tiles]) for tile in range(packed.row_tiles)]
    first, *rest = tiles * -(-num_pixels // config.columns)
    return first + sum(max(steps, config.bank_rows) for steps in rest)


@pytest.mark.parametrize("pause", PAUSES)
def test_random_layers(config: Config, pause: str) -> None:
    idle, stall = PAUSES[pause]
    simulator = EngineSimulator(config, idle=idle, stall=stall, seed=7)
    for layer, x in random_layers(config, seed=7, number=84 if pause == "no_pause" else 28):
        run = simulator.run(layer, x)
        np.testing.assert_array_equal(run.output, run_layer(layer, x), err_msg=layer.name)
        check_counters(layer, x.shape[1], config, dataclasses.asdict(run.counters))


def test_no_bubble_but_the_drain(config: Config) -> None:
    """Whatever the layer: fill, then steps and holds of short tiles to the cycle, then a tail of rows + columns + 8."""
    simulator = EngineSimulator(config)
    for layer, x in random_layers(config, seed=11, number=56):
        counters = simulator.run(layer, x).counters
        assert counters.idle_output == 0, layer.name
        assert counters.idle_tail == config.rows + config.columns + 8, layer.name
        assert counters.idle_weights >= START, layer.name
        # Where a window arrives while the ones before are used, nothing but the first may be waited for. A slot is free again
        # `columns` cycles after its last use.
        slots, words = layer_command(layer, config, x.shape[1])["windows"], len(used_words(layer))
        if words + config.columns + 2 <= (slots - 1) * layer.steps and words <= layer.steps and counters.idle_weights == START:
            assert counters.idle_windows <= words, layer.name
            assert counters.active + counters.idle_drain <= least_cycles(layer, x.shape[1], config), layer.name


@pytest.mark.parametrize("drain_rows", [1, 2])
def test_steady_state(drain_rows: int) -> None:
    """One step every cycle, for every N:M and share of absent blocks, as long as tiles have rows / drain_rows steps."""
    config = dataclasses.replace(Config.preset("default"), drain_rows=drain_rows)
    simulator = EngineSimulator(config)
    choices = [1, 2, 3, 4, "mixed"]
    records = measure_steady_state(simulator, choices, pixel_tiles=8)
    shorter = measure_steady_state(simulator, choices, pixel_tiles=3)
    assert len(records) == len(shorter) == 20
    for record, short in zip(records, shorter, strict=True):
        tail = config.rows + config.columns + 8
        assert record.counters["idle_tail"] == tail, record
        assert record.fill == short.fill, record  # the first window is waited for, and no other
        if record.tile_steps >= config.bank_rows:
            assert record.bubbles == 0, record
            assert record.utilization == record.steps / (record.steps + tail)
        else:
            # Short tiles leave at bank_rows cycles each: utilization is steps x k / rows, exactly.
            tiles = record.steps // record.tile_steps
            assert record.bubbles == (tiles - 1) * (config.bank_rows - record.tile_steps), record


@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 16, 17, 36, 147])
def test_dense_costs_what_a_dense_array_costs(inputs: int) -> None:
    """K is padded to whole groups and not to whole blocks, so that dense layers lose nothing to the sparse format."""
    config = Config.preset("tiny")
    rng = np.random.default_rng(3)
    weights = rng.integers(-127, 128, (8, inputs)).astype(np.int8)
    layer = ProductLayer(
        name="dense",
        packed=pack(weights, Pattern.dense(weights.shape, 16, config.group_size), rows=config.rows),
        bias=np.zeros(8, np.int32),
        multiplier=np.full(8, 2**15, np.uint16),
        shift=np.full(8, 20, np.uint8),
    )
    x = rng.integers(-128, 128, (layer.num_inputs, 12)).astype(np.int8)
    run = EngineSimulator(config).run(layer, x)
    padded = -(-inputs // config.group_size) * config.group_size
    assert run.counters.active == 2 * 3 * padded
    assert run.counters.idle_drain == 0


@pytest.mark.parametrize(("weight", "activation"), [(-128, -128), (127, 127), (-128, 127), (127, -128)])
def test_accumulator_near_its_bounds(weight: int, activation: int) -> None:
    """The largest sums that the column buffer's K allows, with the largest biases, through every shift."""
    config = dataclasses.replace(Config.preset("tiny"), column_buffer_depth=1024, weight_buffer_depth=8192)
    weights = np.full((8, 4096), weight, np.int8)
    limits = np.iinfo(np.int32)
    layer = ProductLayer(
        name="bounds",
        packed=pack(weights, Pattern.dense(weights.shape, 64, 4), rows=config.rows),
        bias=np.array([limits.min, limits.max, limits.min + 1, limits.max - 1, 0, 1, -1, 2**30], np.int32),
        multiplier=np.full(8, 2**16 - 1, np.uint16),
        shift=np.array([40, 41, 42, 43, 39, 36, 48, 63], np.uint8),
    )
    x = np.full((4096, 5), activation, np.int8)
    x[:, 1::2] //= 2
    run = EngineSimulator(config).run(layer, x)
    np.testing.assert_array_equal(run.output, run_layer(layer, x))


@cocotb.test()
async def computes_layers(dut) -> None:
    """Layers one after the other, through the ports, in the mode of the bench."""
    config = Config.from_dict(parameters()["config"])
    engine = LayerEngine(config)
    encode_window, _ = layout_codec(engine.i_window.payload.shape())
    _, decode_words = layout_codec(engine.o_words[0].payload.shape())
    bench = await Bench.start(dut, mode=parameters()["mode"])
    loads = {name: bench.source(name) for name in ("i_step", "i_count", "i_entry", "i_channel")}
    command, windows = bench.source("i_layer"), bench.source("i_window", encode_window)
    sinks = [bench.sink(f"o_words__{index}", decode_words) for index in range(len(engine.o_words))]
    for layer, x in random_layers(config, seed=parameters()["seed"], number=parameters()["number"]):
        packed = layer.packed
        loads["i_step"].send(int.from_bytes(step.tobytes(), "little") for step in packed.encode_steps())
        loads["i_count"].send(packed.counts.tolist())
        loads["i_entry"].send(packed.entries.tolist())
        loads["i_channel"].send(layer.channel_words().tolist())
        for source in loads.values():
            await source.drain()

        command.send([LAYER.pack(**layer_command(layer, config, x.shape[1]))])
        pixel_tiles = -(-x.shape[1] // config.columns)
        padded = np.zeros((layer.num_inputs, pixel_tiles * config.columns), np.int8)
        padded[:, : x.shape[1]] = x
        # Groups x M x pixel tiles x lanes.
        tiled = padded.reshape(-1, config.group_size, pixel_tiles, config.columns)
        words = used_words(layer).tolist()
        for tile in range(pixel_tiles):
            windows.send({"data": tiled[word, :, tile].T.tolist(), "address": word, "last": word == words[-1]} for word in words)

        output = np.zeros((packed.row_tiles * config.rows, padded.shape[1]), np.int8)
        for index, sink in enumerate(sinks):
            bank, group = divmod(index, config.lane_groups)
            lanes = range(group * config.bank_rows, min((group + 1) * config.bank_rows, config.columns))
            for tile in range(pixel_tiles):
                for row_tile in range(packed.row_tiles):
                    first = row_tile * config.rows + bank * config.bank_rows
                    for lane, word in zip(lanes, await sink.receive(len(lanes), patience=20_000), strict=True):
                        output[first : first + config.bank_rows, tile * config.columns + lane] = word
        np.testing.assert_array_equal(output[: layer.num_channels, : x.shape[1]], run_layer(layer, x), err_msg=layer.name)
        await bench.until(lambda: not int(dut.o_busy.value), what=lambda: "the engine is still busy")
        check_counters(layer, x.shape[1], config, COUNTERS.unpack(int(dut.o_counters.value)))
    assert int(dut.o_digest.value) == config.digest


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_through_its_ports(simulator: str, mode: str) -> None:
    config = CONFIGS["tiny"]
    table = {"config": dataclasses.asdict(config), "mode": mode, "seed": 5, "number": 6}
    simulate(LayerEngine(config), __file__, name="engine", parameters=table, simulator=simulator, testcase="computes_layers")
