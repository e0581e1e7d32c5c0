"""The layer engine: every bit against the golden model, every cycle against the counters' promise."""

import dataclasses

import cocotb
import numpy as np
import pytest
from tests.hw.engine_bench import EngineBench, Job, draw_jobs, make_job, place_jobs, share_of

from crisp.arch import Config, ErrorCode, Pattern, ProductLayer, Sharing, pack
from crisp_hw.engine import LayerEngine
from crisp_hw.step_issuer import Cause
from crisp_sim.cocotb_runner import parameters, simulate
from crisp_sim.streams import MODES, Bench

TINY = Config.preset("tiny")
CONFIGS = {
    "tiny": TINY,
    "default": Config.preset("default"),
    # A number of columns that is no power of two, two rows a cycle, M = 8.
    "wide": dataclasses.replace(TINY, rows=16, columns=7, group_size=8, drain_rows=2),
    # One column, four rows a cycle, of which two make a word: M = 2.
    "column": dataclasses.replace(TINY, rows=8, columns=1, group_size=2, drain_rows=4),
    # M = 16, more rows than columns.
    "tall": dataclasses.replace(TINY, rows=16, columns=3, group_size=16),
}

#: Cycles in which a command's first block is fetched, when none was before.
START = 5


def tail_of(config: Config) -> int:
    """Return the cycles from the last step to the last result."""
    return config.rows + config.columns + 9


def start_engine(bench: Bench) -> EngineBench:
    """Return the bench of the engine that the parameters describe."""
    return EngineBench(bench, Config.from_dict(parameters()["config"]))


def draw_layer(
    config: Config, rng: np.random.Generator, *, channels: int, groups: int, n: int, absent: float = 0.0, pixels: int
) -> tuple[ProductLayer, np.ndarray]:
    """Draw a layer of N = ``n`` in blocks of 16 or of ``rows``, of which a share is absent, with its activations."""
    block = max(16, config.rows)
    shape = (channels, groups * config.group_size)
    blank = Pattern.dense(shape, block, config.group_size)
    kept = max(1, round(blank.block_columns * (1 - absent)))
    chosen = rng.random(blank.n.shape).argsort(axis=1) < kept
    pattern = Pattern.from_kept(chosen, shape, block, config.group_size, n)
    weights = rng.integers(-127, 128, (channels, groups, config.group_size)).astype(np.int8)
    rank = rng.random(weights.shape).argsort(axis=2).argsort(axis=2)
    limits = np.repeat(np.repeat(pattern.n, pattern.column_groups, axis=1), block, axis=0)[:channels]
    weights[rank >= limits[:, :, None]] = 0
    layer = ProductLayer(
        name=f"{n}:{config.group_size}, {absent:.0%} absent",
        packed=pack(weights.reshape(shape), pattern, rows=config.rows),
        bias=rng.integers(-1000, 1000, channels).astype(np.int32),
        multiplier=rng.integers(2**15, 2**16, channels).astype(np.uint16),
        shift=np.full(channels, 22, np.uint8),
        output_zero_point=int(rng.integers(-20, 20)),
        clamp_min=int(rng.integers(-128, -50)),
        clamp_max=int(rng.integers(50, 128)),
    )
    return layer, rng.integers(-128, 128, (layer.num_inputs, pixels)).astype(np.int8)


@cocotb.test()
async def computes_jobs(dut) -> None:
    """Commands of every kind, the next ones loaded while others are at work."""
    bench = await Bench.start(dut, mode=parameters()["mode"])
    engine = start_engine(bench)
    jobs = place_jobs(draw_jobs(engine.config, seed=bench.seed, number=parameters()["number"], share=2), engine.config, share=2)
    await engine.run(jobs, share=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CONFIGS)
def test_jobs(name: str, mode: str) -> None:
    config = CONFIGS[name]
    table = {"config": dataclasses.asdict(config), "mode": mode, "number": 14 if name == "default" else 45}
    simulate(LayerEngine(config), __file__, name="engine", parameters=table, testcase="computes_jobs")


@pytest.mark.parametrize("mode", MODES)
def test_jobs_on_icarus(mode: str) -> None:
    table = {"config": dataclasses.asdict(TINY), "mode": mode, "number": 8}
    simulate(LayerEngine(TINY), __file__, name="engine", parameters=table, simulator="icarus", testcase="computes_jobs")


def draw_long_jobs(config: Config, rng: np.random.Generator, number: int) -> list[Job]:
    """Draw jobs that keep the array at work: no absent blocks, so that words come as fast as they are used, and long enough tiles."""
    jobs = []
    groups = max(config.bank_rows, 5)
    for index in range(number):
        sharing = list(Sharing)[index % len(Sharing)]
        n = int(rng.integers(1, config.group_size, endpoint=True))
        pixels = int(rng.integers(1, 4 * config.columns))
        if sharing is Sharing.SHARED:
            layer = draw_layer(config, rng, channels=int(rng.integers(1, 2 * config.rows)), groups=groups, n=n, pixels=pixels)
            jobs.append(make_job([layer], config, sharing)[0])
            continue
        parts = [draw_layer(config, rng, channels=config.rows, groups=groups, n=n, pixels=pixels) for _ in range(int(rng.integers(1, 4)))]
        first = parts[0][0]
        limits = {name: getattr(first, name) for name in ("output_zero_point", "clamp_min", "clamp_max")}
        parts = [(dataclasses.replace(layer, **limits), x) for layer, x in parts]
        if sharing is Sharing.SPLIT and index % 2:
            parts = [(layer, x[:, : config.columns]) for layer, x in parts]
            job, sums = make_job(parts, config, sharing, is_open=True)
            jobs += [job, make_job(parts, config, sharing, before=sums)[0]]
        else:
            jobs.append(make_job(parts, config, sharing)[0])
    return jobs[:number]


@cocotb.test()
async def follows_without_a_bubble(dut) -> None:
    """Commands whose windows are there: a step in every cycle from the first of all to the last of all, and results that keep up."""
    bench = await Bench.start(dut)
    engine = start_engine(bench)
    rng = np.random.default_rng(bench.seed)
    for _ in range(3):
        share = 8
        jobs = place_jobs(draw_long_jobs(share_of(engine.config, share), rng, share), engine.config, share=share)
        while jobs[-1].fields["open"]:
            jobs.pop()
        for job in jobs:
            await engine.load(job)
        for job in jobs:
            engine.send_windows(job)
        await bench.wait(300)  # until the first windows are there
        first_cycle = len(engine.watcher.causes)
        for job in jobs:
            engine.send_command(job)
        await engine.finish(jobs)
        causes = engine.watcher.causes[first_cycle:]
        active = [cycle for cycle, cause in enumerate(causes) if cause is Cause.ACTIVE]
        assert len(active) == active[-1] - active[0] + 1 == sum(job.steps * job.pixel_tiles for job in jobs)
        idle = [account["total"] - account["active"] for account in engine.watcher.counters]
        assert idle == [START, *[0] * (len(jobs) - 2), tail_of(engine.config)]
        await engine.check(jobs)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "default"])
def test_no_bubble_between_commands(name: str) -> None:
    config = dataclasses.replace(CONFIGS[name], channel_buffer_depth=512, weight_buffer_depth=8192, entry_buffer_depth=1024)
    config = dataclasses.replace(config, block_row_buffer_depth=64)
    simulate(
        LayerEngine(config),
        __file__,
        name="engine",
        parameters={"config": dataclasses.asdict(config)},
        testcase="follows_without_a_bubble",
    )


@cocotb.test()
async def uses_every_cycle(dut) -> None:
    """One command at a time, for every N:M and share of absent blocks: fill, steps, holds of short tiles, tail, to the cycle."""
    bench = await Bench.start(dut)
    engine = start_engine(bench)
    config = engine.config
    rng = np.random.default_rng(bench.seed)
    jobs = []
    for n in range(1, config.group_size + 1):
        for absent in (0.0, 0.5, 0.75):
            groups = 4 * max(16, config.rows) // config.group_size
            layer = draw_layer(config, rng, channels=3 * config.rows, groups=groups, n=n, absent=absent, pixels=5 * config.columns)
            jobs.append(make_job([layer], config, Sharing.SHARED)[0])
    for job in jobs:
        await engine.load(job)
        engine.send_windows(job)
        await bench.wait(150)
        engine.send_command(job)
        await engine.finish([job])
        (account,) = engine.watcher.counters
        tiles = job.fields["row_tiles"] * job.pixel_tiles
        tile_steps = job.steps // job.fields["row_tiles"]
        assert account["idle_weights"] == START, job.name
        assert account["idle_tail"] == tail_of(config), job.name
        assert account["idle_output"] == 0, job.name
        assert account["idle_drain"] == (tiles - 1) * max(0, config.bank_rows - tile_steps), job.name
        # Words come one a cycle, so a window whose steps are fewer than its words is waited for; no other is.
        if len(job.windows[0]) <= job.steps:
            assert account["idle_windows"] == 0, job.name
        await engine.check([job])


@pytest.mark.parametrize("name", ["tiny", "wide"])
def test_every_cycle_is_used(name: str) -> None:
    config = dataclasses.replace(CONFIGS[name], channel_buffer_depth=512, weight_buffer_depth=8192)
    simulate(LayerEngine(config), __file__, name="engine", parameters={"config": dataclasses.asdict(config)}, testcase="uses_every_cycle")


@cocotb.test()
async def costs_what_a_dense_array_costs(dut) -> None:
    """K is padded to whole groups and not to whole blocks, so that dense layers lose nothing to the sparse format."""
    bench = await Bench.start(dut)
    engine = start_engine(bench)
    config = engine.config
    rng = np.random.default_rng(bench.seed)
    jobs = []
    for inputs in (1, 3, 4, 5, 16, 17, 36, 147):
        weights = rng.integers(-127, 128, (8, inputs)).astype(np.int8)
        layer = ProductLayer(
            name=f"{inputs} inputs",
            packed=pack(weights, Pattern.dense(weights.shape, 16, config.group_size), rows=config.rows),
            bias=np.zeros(8, np.int32),
            multiplier=np.full(8, 2**15, np.uint16),
            shift=np.full(8, 20, np.uint8),
        )
        x = rng.integers(-128, 128, (layer.num_inputs, 12)).astype(np.int8)
        jobs.append(make_job([(layer, x)], config, Sharing.SHARED)[0])
        padded = -(-inputs // config.group_size) * config.group_size
        assert jobs[-1].steps * jobs[-1].pixel_tiles == 2 * 3 * padded
    await engine.run(place_jobs(jobs, config, share=2), share=2)


@cocotb.test()
async def accumulates_up_to_its_bounds(dut) -> None:
    """The largest sums that the column buffer's K allows, with the largest biases, through many shifts."""
    bench = await Bench.start(dut)
    engine = start_engine(bench)
    config = engine.config
    limits = np.iinfo(np.int32)
    for weight, activation in ((-128, -128), (127, 127), (-128, 127), (127, -128)):
        weights = np.full((8, 1024), weight, np.int8)
        layer = ProductLayer(
            name=f"{weight} x {activation}",
            packed=pack(weights, Pattern.dense(weights.shape, 64, 4), rows=config.rows),
            bias=np.array([limits.min, limits.max, limits.min + 1, limits.max - 1, 0, 1, -1, 2**30], np.int32),
            multiplier=np.full(8, 2**16 - 1, np.uint16),
            shift=np.array([40, 41, 42, 43, 37, 34, 48, 63], np.uint8),
        )
        x = np.full((1024, 5), activation, np.int8)
        x[:, 1::2] //= 2
        job, _ = make_job([(layer, x)], config, Sharing.SHARED)
        await engine.run([job], share=1)


@pytest.mark.parametrize("testcase", ["costs_what_a_dense_array_costs", "accumulates_up_to_its_bounds", "reports_faults"])
def test_on_tiny(testcase: str) -> None:
    simulate(LayerEngine(TINY), __file__, name="engine", parameters={"config": dataclasses.asdict(TINY)}, testcase=testcase)


#: Fields that are wrong, and the code that tells: a layer of two row tiles, 16 steps, one entry.
FAULTS = {
    "steps beyond the buffer": ({"step_base": TINY.weight_buffer_depth - 15}, ErrorCode.METADATA_RANGE),
    "steps begin beyond the buffer": ({"step_base": TINY.weight_buffer_depth + 1}, ErrorCode.METADATA_RANGE),
    "channels beyond the buffer": ({"channel_base": TINY.channel_buffer_depth - TINY.rows}, ErrorCode.METADATA_RANGE),
    "channels begin beyond the buffer": ({"channel_base": TINY.channel_buffer_depth}, ErrorCode.METADATA_RANGE),
    "channels begin within a row tile": ({"channel_base": 1}, ErrorCode.METADATA_RANGE),
    "entries beyond the buffer": ({"entry_base": TINY.entry_buffer_depth}, ErrorCode.METADATA_RANGE),
    "index beyond the window": ({"block_columns": 1, "tail_groups": 4, "window_words": 4}, ErrorCode.METADATA_INDEX),
}


@cocotb.test()
async def reports_faults(dut) -> None:
    """Each fault is told with its code, and after a reset the engine works; what lies just within the buffers is no fault."""
    bench = await Bench.start(dut)
    engine = start_engine(bench)
    config = engine.config
    rng = np.random.default_rng(bench.seed)
    weights = rng.integers(-127, 128, (8, 16)).astype(np.int8)
    kept = np.array([[0, 1]], bool)
    weights[:, :8] = 0
    layer = ProductLayer(
        name="fault",
        packed=pack(weights, Pattern.from_kept(kept, (8, 16), 8, 4, 4), rows=config.rows),
        bias=np.zeros(8, np.int32),
        multiplier=np.full(8, 2**15, np.uint16),
        shift=np.full(8, 20, np.uint8),
    )
    x = rng.integers(-128, 128, (layer.num_inputs, 9)).astype(np.int8)
    job, _ = make_job([(layer, x)], config, Sharing.SHARED)
    assert job.steps == 16
    ends = {
        "step_base": config.weight_buffer_depth - 16,
        "count_base": config.block_row_buffer_depth - 1,
        "entry_base": config.entry_buffer_depth - 1,
        "channel_base": config.channel_buffer_depth - 8,
    }
    last = dataclasses.replace(job, fields=job.fields | ends)
    for name, (fields, code) in FAULTS.items():
        await engine.load(job)
        engine.start(dataclasses.replace(job, fields=job.fields | fields))
        await bench.wait(200)
        assert engine.watcher.errors[:1] == [code], name
        await bench.reset()
        engine.forget()
        await engine.run([job, last], share=2)
