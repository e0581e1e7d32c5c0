"""Command lists at random, right ones and damaged ones, for the tests of what reads and checks commands."""

import random
from collections.abc import Iterator

from crisp.arch import EXECUTE, LOAD, STORE, Config, ExecuteKind, LoadTarget, MemoryWindow, Opcode, Sharing
from crisp.arch.command_rules import COMMAND_WORDS, READABLE, WRITABLE
from crisp.arch.command_stream import MemoryRange
from crisp.arch.loads import PATCH_ROW_BYTES, element_bytes, offset_steps, target_depth

__all__ = ["WINDOWS", "damage", "end", "random_commands", "random_execute", "random_load", "random_store", "to_bytes"]

#: Windows that the random commands stay in.
WINDOWS = {
    MemoryWindow.PROGRAM: MemoryRange(0x12_3450_0000, 1 << 20),
    MemoryWindow.SCRATCH: MemoryRange(0x13_0000_0040, 1 << 19),
    MemoryWindow.INPUT: MemoryRange(0xFF_FFF0_0000, 1 << 20),  # ends with the address space
    MemoryWindow.OUTPUT: MemoryRange(0, 1 << 18),
}

Queues = dict[Opcode, int]


def waits(rng: random.Random, issued: Queues) -> dict[str, int]:
    """Return waits for commands that stand before."""
    return {f"wait_{queue.name.lower()}": rng.randint(max(0, count - 100), count) % (1 << 16) for queue, count in issued.items()}


def rows_in_window(rng: random.Random, config: Config, window: MemoryWindow, rows: int, row_bytes: int) -> dict[str, int]:
    """Return offset and stride under which rows stay in a window, often at its very end."""
    beat, size = config.beat_bytes, WINDOWS[window].size
    stride = -(-row_bytes // beat) * beat
    if rows > 1:
        stride += beat * rng.randint(0, (size - rows * stride) // (rows - 1) // beat)
    last = (size - (rows - 1) * stride - row_bytes) // beat * beat
    offset = rng.choice((last, rng.randint(0, last // beat) * beat))
    return {"window": window, "offset": offset, "row_stride": stride, "rows": rows, "row_bytes": row_bytes}


#: Targets of which every cluster has its own buffer.
CLUSTERED = (LoadTarget.STEPS, LoadTarget.DENSE_STEPS, LoadTarget.COUNTS, LoadTarget.ENTRIES, LoadTarget.CHANNELS)


def random_cluster(rng: random.Random, config: Config, target: LoadTarget) -> dict[str, int]:
    """Return which clusters a target is of."""
    takes_all = target in CLUSTERED and rng.random() < 0.3
    return {"cluster": rng.randrange(config.clusters) if target in CLUSTERED and not takes_all else 0, "all_clusters": int(takes_all)}


def random_load(rng: random.Random, config: Config, issued: Queues) -> int:
    """Return the word of a right LOAD."""
    target = rng.choice(list(LoadTarget))
    depth, size = target_depth(target, config), element_bytes(target, config)
    rows, stride = 1, rng.randrange(1 << 22)
    patches = {"patch_step": 0, "patch_words": 0, "patch_lead": 0, "patches": 0, "fill": 0}
    if target is LoadTarget.PATCHES:
        words = rng.randint(1, 4)
        patches = {"patch_step": rng.randint(1, 16), "patch_words": words, "patch_lead": rng.randint(0, 16), "fill": rng.randint(-128, 127)}
        patches["patches"] = rng.randint(1, 60)
        rows = rng.randint(1, 40)
        used = rows * patches["patches"]
        stride = rng.randint(0, (depth - used) // max(1, words - 1))
        used += (words - 1) * stride
        row_bytes = rng.randint(1, min(PATCH_ROW_BYTES, 500))
    elif target is LoadTarget.ACTIVATIONS:
        rows, number = rng.randint(1, 20), rng.randint(1, 300)
        stride = rng.randint(0, (depth - number) // max(1, rows - 1))
        used, row_bytes = (rows - 1) * stride + number, number * size
    else:
        used = rng.randint(1, depth)
        number = used + -(-used // offset_steps(config.group_size)) if target is LoadTarget.STEPS else used
        row_bytes = number * size
    memory = rows_in_window(rng, config, rng.choice(READABLE), rows, row_bytes)
    place = {"destination": rng.choice((depth - used, rng.randint(0, depth - used))), "destination_stride": stride}
    which = {"target": target, **random_cluster(rng, config, target)}
    return LOAD.pack(opcode=Opcode.LOAD, **waits(rng, issued), **which, **memory, **place, **patches)


def random_store(rng: random.Random, config: Config, issued: Queues) -> int:
    """Return the word of a right STORE."""
    rows, number = rng.randint(1, 20), rng.randint(1, 300)
    depth = config.activation_words
    stride = rng.randint(0, (depth - number) // max(1, rows - 1))
    used = (rows - 1) * stride + number
    memory = rows_in_window(rng, config, rng.choice(WRITABLE), rows, number * config.group_size)
    source = {"source": rng.choice((depth - used, rng.randint(0, depth - used))), "source_stride": stride}
    return STORE.pack(opcode=Opcode.STORE, **waits(rng, issued), target=0, **memory, **source)


def tensors(rng: random.Random, config: Config, kind: ExecuteKind, output_words: int) -> dict[str, int]:
    """Return where results and residuals lie: within the buffer, often at its very end."""
    values = {}
    numbers = [divmod(number, 1 if kind is ExecuteKind.MAX else config.tile_words) for number in range(output_words)]
    for tensor in ("output", "residual"):
        ring, stride, pitch = rng.randint(1, 60), rng.randint(0, 200), rng.choice((0, rng.randint(0, 50)))
        used = max(tile * stride + word * pitch for tile, word in numbers) + ring
        base = rng.choice((config.activation_words - used, rng.randint(0, config.activation_words - used)))
        values |= {f"{tensor}_base": base, f"{tensor}_ring": ring, f"{tensor}_tile_stride": stride, f"{tensor}_pitch": pitch}
    return values


def random_execute(rng: random.Random, config: Config, issued: Queues) -> int:
    """Return the word of an EXECUTE that no rule refuses; most of its numbers mean nothing."""
    values = {field.name: rng.randint(field.low, field.high) for field in EXECUTE.fields}
    kind = rng.choice(list(ExecuteKind))
    word_limit = rng.randint(1, 40)
    log2 = rng.randint(0, 3)
    tail = rng.randint(1, 1 << log2)
    columns = rng.randint(1, (config.column_buffer_depth - tail) >> log2)
    tiles = rng.randint(1, config.channel_buffer_depth // config.rows)
    rings = {"input_ring": rng.randint(1, (1 << 22) - 1), **tensors(rng, config, kind, word_limit)}
    smaller = min(rings["output_ring"], rings["residual_ring"])
    width = rng.randint(1, (1 << 14) - 1)
    values |= {
        "opcode": Opcode.EXECUTE,
        **waits(rng, issued),
        "kind": kind,
        "sharing": Sharing.GROUPED if kind is ExecuteKind.MAX else rng.choice(list(Sharing)),
        "open": 0 if kind is ExecuteKind.MAX else rng.randint(0, 1),
        "row_tiles": tiles,
        "pixels": rng.randint(1, (1 << 20) - 1),
        "block_tiles": rng.randint(1, 16),
        "block_groups_log2": log2,
        "block_columns": columns,
        "tail_groups": tail,
        "window_words": ((columns - 1) << log2) + tail,
        "step_base": rng.randrange(config.weight_buffer_depth),
        "count_base": rng.randrange(config.block_row_buffer_depth),
        "entry_base": rng.randrange(config.entry_buffer_depth),
        "channel_base": rng.randint(0, config.channel_buffer_depth // config.rows - tiles) * config.rows,
        "run_base": rng.randrange(config.run_buffer_depth),
        "width": width,
        "first_column": rng.randrange(width),
        "tile_columns": rng.randrange(min(width, 128)),
        **rings,
        **{name: rng.randrange(rings["input_ring"]) for name in ("first_q", "lane_dq", "tile_dq", "wrap_dq")},
        "input_base": rng.randrange(config.activation_words),
        **{name: rng.randrange(smaller) for name in ("output_tile_dq", "output_wrap_dq")},
        "output_word_dq": rng.randrange(min(smaller, 1 << 14)),
        "output_q": rng.randrange(rings["output_ring"]),
        "residual_q": rng.randrange(rings["residual_ring"]),
        "output_words": word_limit,
    }
    if values["open"]:
        values |= {"pixels": rng.randint(1, config.columns)} | ({} if values["sharing"] is Sharing.SPLIT else {"row_tiles": 1})
    return EXECUTE.pack(**values)


def end(issued: Queues) -> int:
    """Return the word of an END that waits for everything."""
    counts = {f"wait_{queue.name.lower()}": count % (1 << 16) for queue, count in issued.items()}
    return COMMAND_WORDS[Opcode.END].pack(opcode=Opcode.END, **counts)


def random_commands(rng: random.Random, config: Config, number: int, issued: Queues | None = None) -> Iterator[tuple[Opcode, int]]:
    """Yield right commands and END; ``issued`` counts them."""
    makers = {Opcode.LOAD: random_load, Opcode.STORE: random_store, Opcode.EXECUTE: random_execute}
    issued = dict.fromkeys(makers, 0) if issued is None else issued
    for _ in range(number):
        opcode = rng.choice(list(makers))
        yield opcode, makers[opcode](rng, config, issued)
        issued[opcode] += 1
    yield Opcode.END, end(issued)


def damage(rng: random.Random, opcode: Opcode, word: int) -> int:
    """Return a command of which something is different: bits, or a field that has a value of which there are most faults."""
    layout = COMMAND_WORDS[opcode]
    if rng.random() < 0.4:
        for _ in range(rng.randint(1, 2)):
            word ^= 1 << rng.randrange(4, layout.width if rng.random() < 0.3 else layout.used)
        return word
    field = rng.choice(layout.fields[1:])
    low, mask = layout.shift(field.name), (1 << field.width) - 1
    old = word >> low & mask
    new = rng.choice((0, 1, mask, mask >> 1, old + 1, old - 1, old * 2, rng.randint(0, mask), rng.randint(0, 15)))
    return word & ~(mask << low) | (new & mask) << low


def to_bytes(commands: list[tuple[Opcode, int]]) -> bytes:
    """Return commands as they lie in memory."""
    return b"".join(word.to_bytes(COMMAND_WORDS[opcode].num_bytes, "little") for opcode, word in commands)
