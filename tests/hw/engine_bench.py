"""What the tests of the layer engine share: jobs, their expected slots, and a bench that runs them one behind the other."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from tests.hw.bench import Process

from crisp.arch import COUNTERS, EXECUTE, IDLE_CAUSES, Config, Pattern, ProductLayer, Sharing, layer_command, pack
from crisp.golden.engine import accumulate
from crisp.golden.requantize import requantize
from crisp_hw.engine import LayerEngine
from crisp_hw.step_issuer import Cause
from crisp_sim.random_layers import cases, random_layer
from crisp_sim.streams import Bench, layout_codec

__all__ = ["EngineBench", "Job", "check_counters", "draw_job", "draw_jobs", "make_job", "place_jobs", "share_of"]

#: Write ports of the buffers, by their depth.
PORTS = {
    "weight_buffer_depth": "i_step",
    "block_row_buffer_depth": "i_count",
    "entry_buffer_depth": "i_entry",
    "channel_buffer_depth": "i_channel",
}

#: Fields of an `EXECUTE` that say where a buffer's part begins, by its depth.
BASES = {
    "weight_buffer_depth": "step_base",
    "block_row_buffer_depth": "count_base",
    "entry_buffer_depth": "entry_base",
    "channel_buffer_depth": "channel_base",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A command with all that it needs and gives.

    Parameters
    ----------
    name : str
        Name for messages.
    fields : dict
        The `EXECUTE`.
    data : dict
        What its part of each buffer holds, by the buffer's depth: steps as (values, offsets), words as integers.
    windows : numpy.ndarray
        ``int8`` of shape (windows, words, columns, M), in the order of their use.
    slots : numpy.ndarray
        ``int8`` of shape (slots, columns, M): the results.
    steps : int
        Steps of a pixel tile.
    """

    name: str
    fields: dict[str, int]
    data: dict[str, list]
    windows: np.ndarray
    slots: np.ndarray
    steps: int

    @property
    def pixel_tiles(self) -> int:
        """Pixel tiles of the command."""
        windows = 1 if self.fields["sharing"] == Sharing.SHARED else self.fields["row_tiles"]
        return len(self.windows) // windows


def make_job(
    parts: Sequence[tuple[ProductLayer, np.ndarray]],
    config: Config,
    sharing: Sharing,
    *,
    block_tiles: int = 1,
    before: np.ndarray | None = None,
    is_open: bool = False,
) -> tuple[Job, np.ndarray]:
    """Make a job of one layer for all windows, or of several that have a window each.

    Parameters
    ----------
    parts : sequence
        Layers with their activations: one that is SHARED, or several of one row tile and one K each.
    config : Config
        The configuration.
    sharing : Sharing
        How they use their windows.
    block_tiles : int
        Row tiles that share their entries, where each has its own window.
    before : numpy.ndarray, optional
        Sums that the command before left open.
    is_open : bool
        Leave the sums open, for the next command.

    Returns
    -------
    Job
        The command; everything lies at the beginning of its buffer, until `place_jobs`.
    numpy.ndarray
        Its sums, ``int32``.
    """
    first, x = parts[0]
    num_pixels = x.shape[1]
    pixel_tiles = -(-num_pixels // config.columns)
    pad = ((0, 0), (0, pixel_tiles * config.columns - num_pixels))
    padded = [np.pad(x, pad) for _, x in parts]
    fields = layer_command(first, config, num_pixels) | {"sharing": sharing, "open": int(is_open)}
    if sharing is not Sharing.SHARED:
        fields |= {"row_tiles": len(parts), "block_tiles": block_tiles}

    # Groups x M x pixel tiles x lanes becomes windows x words x lanes x M.
    tiled = np.stack([x.reshape(-1, config.group_size, pixel_tiles, config.columns) for x in padded])
    windows = tiled.transpose(3, 0, 1, 4, 2).reshape(-1, first.packed.pattern.groups, config.columns, config.group_size)

    # Results of whole row tiles: the rows beyond the last channel have parameters 0.
    sums = []
    for (layer, _), x in zip(parts, padded, strict=True):
        part = accumulate(layer, x)
        sums.append(np.pad(part, ((0, -len(part) % config.rows), (0, 0))))
    total = np.concatenate(sums)
    if sharing is Sharing.SPLIT:
        total = np.sum(sums, axis=0, dtype=np.int32)
    if before is not None:
        total = total + before
    scaled = parts if sharing is not Sharing.SPLIT else parts[:1]
    words = [int(word) for layer, _ in scaled for word in layer.channel_words()]
    channels = np.zeros((3, len(words)), np.int64)
    place = 0
    for layer, _ in scaled:
        for row, values in enumerate((layer.bias, layer.multiplier, layer.shift)):
            channels[row, place : place + layer.num_channels] = values
        place += layer.packed.row_tiles * config.rows
    limits = (first.output_zero_point, first.clamp_min, first.clamp_max)
    results = requantize(total, *channels[:, :, None], *limits)
    # Words x M x pixel tiles x lanes becomes slots x lanes x M.
    slots = results.reshape(-1, config.group_size, pixel_tiles, config.columns).transpose(2, 0, 3, 1)
    slots = slots.reshape(-1, config.columns, config.group_size)

    packed = [layer.packed for layer, _ in parts]
    lists = packed if sharing is Sharing.SHARED else packed[::block_tiles]
    steps = [step for each in packed for step in zip(each.values.tolist(), each.offsets.tolist(), strict=True)]
    data = {
        "weight_buffer_depth": steps,
        "block_row_buffer_depth": [count for each in lists for count in each.counts.tolist()],
        "entry_buffer_depth": [entry for each in lists for entry in each.entries.tolist()],
        "channel_buffer_depth": words,
    }
    name = f"{first.name} {sharing.name} {len(parts)}"
    return Job(name, fields, data, windows, slots[:0] if is_open else slots, len(steps)), total


def draw_job(config: Config, rng: np.random.Generator, sharing: Sharing, *, case: str = "random") -> list[Job]:
    """Draw a command, or two of which the first leaves its sums to the second.

    Layers with windows of their own are cut from one layer: its block rows become its parts, so that all have one K.
    """
    seed = int(rng.integers(2**31))
    layer, x = random_layer(config, case, seed=seed)
    if sharing is Sharing.SHARED:
        return [make_job([(layer, x)], config, sharing)[0]]

    shares_entries = sharing is Sharing.GROUPED and rng.random() < 0.5
    pattern = layer.packed.pattern
    count = int(rng.integers(1, 5))
    parts = []
    for _ in range(count):
        row = 0 if shares_entries else int(rng.integers(pattern.block_rows))
        channels = min(config.rows, layer.num_channels)
        shape = (channels, pattern.shape[1])
        own = Pattern(shape, pattern.block, pattern.group, pattern.n[row : row + 1])
        weights = rng.integers(-127, 128, (channels, pattern.groups, pattern.group)).astype(np.int8)
        rank = rng.random(weights.shape).argsort(axis=2).argsort(axis=2)
        weights[rank >= np.repeat(own.n[0], own.column_groups)[:, None]] = 0
        weights = weights.reshape(channels, -1)[:, : shape[1]]
        part = ProductLayer(
            layer.name,
            pack(weights, own, rows=config.rows),
            *(values[:channels] for values in (layer.bias, layer.multiplier, layer.shift)),
            layer.output_zero_point,
            layer.clamp_min,
            layer.clamp_max,
        )
        inputs = rng.integers(-128, 128, x.shape).astype(np.int8)
        parts.append((part, inputs))
    if sharing is Sharing.SPLIT and count > 1 and rng.random() < 0.5:
        # An open sum stays in the array, so there can be one pixel tile only.
        parts = [(part, inputs[:, : config.columns]) for part, inputs in parts]
        cut = int(rng.integers(1, count))
        first, sums = make_job(parts[:cut], config, sharing, is_open=True)
        return [first, make_job(parts[cut:], config, sharing, before=sums)[0]]
    return [make_job(parts, config, sharing, block_tiles=count if shares_entries else 1)[0]]


def share_of(config: Config, share: int) -> Config:
    """Return a configuration with a part of every buffer but the column buffer, for jobs that lie side by side."""
    return dataclasses.replace(
        config,
        weight_buffer_depth=config.weight_buffer_depth // share,
        entry_buffer_depth=config.entry_buffer_depth // share,
        block_row_buffer_depth=config.block_row_buffer_depth // share,
        channel_buffer_depth=config.channel_buffer_depth // share // config.rows * config.rows,
    )


def draw_jobs(config: Config, *, seed: int, number: int, share: int) -> list[Job]:
    """Draw jobs of all cases and all kinds of sharing, each of which fits a share of every buffer but the column buffer."""
    rng = np.random.default_rng(seed)
    part = share_of(config, share)
    table = cases(part)
    jobs: list[Job] = []
    drawn = 0
    while len(jobs) < number:
        sharing = list(Sharing)[drawn % len(Sharing)]
        some = draw_job(part, rng, sharing, case=table[drawn // len(Sharing) * 7 % len(table)].name)
        if all(len(words) <= getattr(part, name) for job in some for name, words in job.data.items()):
            jobs += some
        drawn += 1
    return jobs


def place_jobs(jobs: Sequence[Job], config: Config, *, share: int) -> list[Job]:
    """Give jobs parts of the buffers in turn, each a ``share``-th."""
    placed = []
    for number, job in enumerate(jobs):
        bases = {}
        for depth, base in BASES.items():
            whole = config.rows if base == "channel_base" else 1
            bases[base] = number % share * (getattr(config, depth) // share // whole * whole)
        placed.append(dataclasses.replace(job, fields=job.fields | bases))
    return placed


def check_counters(job: Job, counters: dict[str, int]) -> None:
    """Check all that a command's counters must be, whatever held the engine up."""
    fields = job.fields
    counts = job.data["block_row_buffer_depth"]
    walked = sum(counts[tile // fields["block_tiles"]] for tile in range(fields["row_tiles"])) * job.pixel_tiles
    assert counters["active"] == job.steps * job.pixel_tiles, job.name
    assert counters["total"] == counters["active"] + sum(counters[cause] for cause in IDLE_CAUSES), job.name
    assert counters["windows"] == len(job.windows), job.name
    assert counters["blocks_walked"] == walked, job.name
    assert counters["blocks_skipped"] == fields["block_columns"] * fields["row_tiles"] * job.pixel_tiles - walked, job.name


class Writer(Process):
    """Write words to the ports of the buffers, one of each a cycle."""

    def __init__(self, bench: Bench, encoders: dict[str, Callable]) -> None:
        super().__init__(bench)
        self.encoders = encoders
        self.queues: dict[str, list[int]] = {name: [] for name in encoders}
        self.driven = dict.fromkeys(encoders, 0)

    def send(self, name: str, base: int, words: Sequence) -> None:
        """Queue words for the places from ``base`` on."""
        encode = self.encoders[name]
        self.queues[name] += [encode({"enable": 1, "address": base + place, "data": word}) for place, word in enumerate(words)]

    @property
    def left(self) -> int:
        """Words that are not yet written."""
        return sum(len(queue) for queue in self.queues.values()) + sum(value != 0 for value in self.driven.values())

    def step(self) -> None:
        for name, queue in self.queues.items():
            value = queue.pop(0) if queue else 0
            if value != self.driven[name]:
                getattr(self.dut, name).value = self.driven[name] = value


class Watcher(Process):
    """Keep what the engine reports: where each cycle went, counters, errors."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.forget()

    def forget(self) -> None:
        self.causes: list[Cause | None] = []  # None is a cycle that nobody is charged for
        self.counters: list[dict[str, int]] = []
        self.open_done = 0
        self.errors: list[int] = []

    def step(self) -> None:
        busy = int(self.dut.o_busy.value)
        self.causes.append(Cause(int(self.dut.o_cause.value)) if busy else None)
        self.open_done += int(self.dut.o_open_done.value)
        if int(self.dut.o_counters_valid.value):
            self.counters.append(COUNTERS.unpack(int(self.dut.o_counters.value)))
        if int(self.dut.o_error.value):
            self.errors.append(int(self.dut.o_error_code.value))


class EngineBench:
    """Load and run jobs, and compare slots and counters.

    Parameters
    ----------
    bench : Bench
        The bench.
    config : Config
        The engine's configuration.
    """

    def __init__(self, bench: Bench, config: Config) -> None:
        self.bench, self.config = bench, config
        engine = LayerEngine(config)
        encoders = {}
        for name in PORTS.values():
            shape = getattr(engine, name).shape()
            encode_port, _ = layout_codec(shape)
            _, decode_data = layout_codec(shape["data"].shape)
            # Words are integers, steps are pairs.
            prepare = (lambda step: {"values": step[0], "offsets": step[1]}) if name == "i_step" else decode_data
            encoders[name] = lambda write, encode=encode_port, prepare=prepare: encode(write | {"data": prepare(write["data"])})
        self.writer = Writer(bench, encoders)
        self.watcher = Watcher(bench)
        encode_window, _ = layout_codec(engine.i_window.payload.shape())
        columns, group = config.columns, config.group_size
        self.commands = bench.source("i_command")
        self.windows = bench.source("i_window", encode_window)
        self.slots = bench.sink(
            "o_slots", lambda word: np.frombuffer(word.to_bytes(columns * group, "little"), np.int8).reshape(columns, group)
        )

    async def load(self, job: Job) -> None:
        """Write a job's part of every buffer."""
        for depth, words in job.data.items():
            self.writer.send(PORTS[depth], job.fields[BASES[depth]], words)
        await self.bench.until(
            lambda: self.writer.left == 0, progress=lambda: self.writer.left, what=lambda: f"{job.name}: {self.writer.left} words to write"
        )

    def send_command(self, job: Job) -> None:
        """Send a job's command."""
        self.commands.send([EXECUTE.pack(**job.fields)])

    def send_windows(self, job: Job) -> None:
        """Send a job's windows."""
        for window in job.windows:
            last = len(window) - 1
            self.windows.send({"data": word.tolist(), "last": number == last} for number, word in enumerate(window))

    def start(self, job: Job) -> None:
        """Send a job's command and windows."""
        self.send_command(job)
        self.send_windows(job)

    async def finish(self, jobs: Sequence[Job]) -> None:
        """Wait until ``jobs``, the first of those that are not forgotten, have sent their slots and reported their counters."""
        slots = sum(len(job.slots) for job in jobs)
        await self.bench.until(
            lambda: len(self.slots.transfers) >= slots and len(self.watcher.counters) >= len(jobs),
            progress=lambda: len(self.slots.transfers),
            what=lambda: f"{len(self.slots.transfers)} of {slots} slots came, {len(self.watcher.counters)} of {len(jobs)} commands ended",
            patience=20_000,
        )

    async def run(self, jobs: Sequence[Job], *, share: int) -> None:
        """Run jobs that were placed in a ``share``-th of the buffers each: load the next ones while others are at work."""
        for number, job in enumerate(jobs):
            await self.finish(jobs[: max(0, number + 1 - share)])
            await self.load(job)
            self.start(job)
        await self.finish(jobs)
        await self.check(jobs)

    async def check(self, jobs: Sequence[Job]) -> None:
        """Compare everything with what must have come by now, and forget it."""
        await self.bench.wait(5)
        place = 0
        for job in jobs:
            seen = np.array(self.slots.transfers[place : place + len(job.slots)], np.int8).reshape(job.slots.shape)
            np.testing.assert_array_equal(seen, job.slots, err_msg=job.name)
            place += len(job.slots)
        assert len(self.slots.transfers) == place
        assert len(self.watcher.counters) == len(jobs)
        for job, counters in zip(jobs, self.watcher.counters, strict=True):
            check_counters(job, counters)
        assert self.watcher.open_done == sum(job.fields["open"] for job in jobs)
        assert not self.watcher.errors
        assert sum(counters["total"] for counters in self.watcher.counters) == sum(cause is not None for cause in self.watcher.causes)
        self.forget()

    def forget(self) -> None:
        """Forget what came."""
        self.slots.transfers.clear()
        self.watcher.forget()
