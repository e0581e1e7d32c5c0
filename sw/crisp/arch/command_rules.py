"""What must hold of a command before it has any effect: one declaration that the golden model and the gateware evaluate alike.

A rule is a condition under which a command is refused, written with operators that Python's integers and Amaranth's values share.
The first rule in order that is broken tells the error. Products are not written in a rule: the gateware takes their bits one a cycle,
so they are declared beside them and come in by name.

That waits count only commands that stand before is what makes a standstill impossible: the oldest command that is not complete has
nothing left to wait for.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from .commands import END, EXECUTE, LOAD, STORE, UNIT_BYTES, ExecuteKind, LoadTarget, MemoryWindow, Opcode, Sharing, Spread
from .config import Config
from .error_codes import ErrorCode
from .fields import Word
from .loads import PATCH_ROW_BYTES, element_bytes, offset_steps, target_depth
from .registers import MEMORY_ADDRESS_WIDTH

__all__ = [
    "CLUSTERED",
    "COMMAND_WORDS",
    "READABLE",
    "WRITABLE",
    "Product",
    "Rule",
    "any_of",
    "command_products",
    "command_rules",
    "list_rules",
]

#: The word of each command.
COMMAND_WORDS: dict[Opcode, Word] = {Opcode.LOAD: LOAD, Opcode.STORE: STORE, Opcode.EXECUTE: EXECUTE, Opcode.END: END}

#: Windows that a LOAD may read, and that a STORE may write.
READABLE = (MemoryWindow.PROGRAM, MemoryWindow.SCRATCH, MemoryWindow.INPUT)
WRITABLE = (MemoryWindow.SCRATCH, MemoryWindow.OUTPUT)

#: Targets that are written row by row into the activation buffer.
PLANES = (LoadTarget.ACTIVATIONS, LoadTarget.PATCHES)

#: Targets of which every cluster has its own.
CLUSTERED = (LoadTarget.STEPS, LoadTarget.DENSE_STEPS, LoadTarget.COUNTS, LoadTarget.ENTRIES, LoadTarget.CHANNELS)

#: log2 of the groups of the largest block: 64 weights, 2 a group.
MAX_BLOCK_GROUPS_LOG2 = 5


@dataclasses.dataclass(frozen=True)
class Rule:
    """A condition under which a command is refused.

    Parameters
    ----------
    name : str
        What it is about, mostly a field.
    code : ErrorCode
        What is reported.
    broken : callable
        ``broken(fields, around)`` gives the condition: integers or one-bit values. ``fields`` has the command's fields as attributes,
        ``around`` what they are compared with: ``issued_load``, ``issued_execute``, ``issued_store`` (commands that stand before, modulo
        2^16), ``window_base`` and ``window_size`` of the command's window, and the `Product` values by their names.
    """

    name: str
    code: ErrorCode
    broken: Callable[[Any, Any], Any]


@dataclasses.dataclass(frozen=True)
class Product:
    """A product, and what is added to it, that rules refer to: mostly where something ends.

    Parameters
    ----------
    name : str
        Its name.
    factors : callable
        ``factors(fields)`` gives both, the first one of at most 16 bits, of which only those count.
    addend : callable
        ``addend(fields)`` gives what is added.
    """

    name: str
    factors: Callable[[Any], tuple[Any, Any]]
    addend: Callable[[Any], Any] = lambda fields: 0

    def value(self, fields: Any) -> int:
        """Compute it of integers."""
        factor, step = self.factors(fields)
        return (factor & 0xFFFF) * step + self.addend(fields)


def command_products(opcode: Opcode, config: Config) -> tuple[Product, ...]:
    """Return the products that the rules of a command refer to.

    Parameters
    ----------
    opcode : Opcode
        Which command.
    config : Config
        The machine.
    """
    word_bits = log2(config.group_size)

    def ends(tensor: str) -> tuple[Product, ...]:
        """Where a tensor of results ends: its last row tile, the words of that, and those of a whole one."""

        def field(f: Any, name: str) -> Any:
            return getattr(f, f"{tensor}_{name}")

        return (
            Product(
                f"{tensor}_tile_end",
                lambda f: (last_tile(f, config), field(f, "tile_stride")),
                lambda f: field(f, "base") + field(f, "ring"),
            ),
            Product(f"{tensor}_last_words", lambda f: (last_word(f, config), field(f, "pitch"))),
            Product(f"{tensor}_all_words", lambda f: (config.tile_words - 1, field(f, "pitch"))),
        )

    match opcode:
        case Opcode.LOAD:
            return (
                Product("memory_end", lambda f: (f.rows - 1, f.row_stride), lambda f: f.offset + f.row_bytes),
                Product("row_end", lambda f: (f.rows - 1, f.destination_stride), lambda f: f.destination + (f.row_bytes >> word_bits)),
                Product("patch_end", lambda f: (f.patch_words - (f.patch_words != 0), f.destination_stride), lambda f: f.destination),
                Product("patch_pixels", lambda f: (f.rows, f.patches)),
                Product("step_words", lambda f: (0, 0), lambda f: words_of_steps(config.weight_buffer_depth - f.destination, config)),
            )
        case Opcode.STORE:
            return (
                Product("memory_end", lambda f: (f.rows - 1, f.row_stride), lambda f: f.offset + f.row_bytes),
                Product("row_end", lambda f: (f.rows - 1, f.source_stride), lambda f: f.source + (f.row_bytes >> word_bits)),
            )
        case Opcode.EXECUTE:
            return (*ends("output"), *ends("residual"))
        case Opcode.END:
            return ()


def any_of(conditions: Iterable[Any]) -> Any:
    """Join conditions by or."""
    first, *rest = conditions
    for condition in rest:
        first = first | condition
    return first


def log2(power: int) -> int:
    """Return the logarithm of a power of two: shifts are what both sides share."""
    return power.bit_length() - 1


def words_of_steps(steps: Any, config: Config) -> Any:
    """Return the words in memory of so many steps: one each, and one of offsets for every few."""
    together = offset_steps(config.group_size)
    return steps + ((steps + together - 1) >> log2(together))


def either(condition: Any, yes: Any, no: Any) -> Any:
    """Choose by a condition, in a way that both sides share."""
    return (-condition & yes) | (-(1 - condition) & no)


def last_tile(f: Any, config: Config) -> Any:
    """Return the row tile in which the last word of a pixel is written."""
    last = f.output_words - (f.output_words != 0)
    return either(f.kind == ExecuteKind.MAX, last, last >> log2(config.tile_words))


def most_tiles(f: Any, config: Config) -> Any:
    """Return the row tiles of cluster 0, which has most; not of SPLIT."""
    share = (f.row_tiles + config.clusters - 1) >> log2(config.clusters)
    return either(f.spread == Spread.ROW_TILES, share, f.row_tiles)


def last_word(f: Any, config: Config) -> Any:
    """Return its place in the tile."""
    return either(f.kind == ExecuteKind.MAX, 0, (f.output_words - (f.output_words != 0)) & (config.tile_words - 1))


def is_one_of(value: Any, options: Iterable[int]) -> Any:
    """Tell whether a value is one of several."""
    return any_of(value == int(option) for option in options)


def exceeds(end: Any, limit: Any) -> Any:
    """Tell whether an exclusive end lies beyond a limit."""
    return end > limit


def is_late(count: Any, wait: Any) -> Any:
    """Tell whether a count modulo 2^16 is beyond the commands that stand before."""
    return ((count - wait) & 0x8000) != 0


def is_misaligned(value: Any, multiple: int) -> Any:
    """Tell whether a value is no multiple of a power of two."""
    return (value & (multiple - 1)) != 0


def common_rules() -> tuple[Rule, ...]:
    """Return the rules of every command."""
    return (
        Rule("wait_load", ErrorCode.WAIT, lambda f, a: is_late(a.issued_load, f.wait_load)),
        Rule("wait_execute", ErrorCode.WAIT, lambda f, a: is_late(a.issued_execute, f.wait_execute)),
        Rule("wait_store", ErrorCode.WAIT, lambda f, a: is_late(a.issued_store, f.wait_store)),
    )


def memory_rules(config: Config, windows: tuple[MemoryWindow, ...]) -> tuple[Rule, ...]:
    """Return the rules of what a LOAD or STORE touches in memory."""
    beat = config.beat_bytes
    return (
        Rule("offset", ErrorCode.ALIGNMENT, lambda f, a: is_misaligned(f.offset, beat)),
        Rule("row_stride", ErrorCode.ALIGNMENT, lambda f, a: is_misaligned(f.row_stride, beat)),
        Rule(
            "window",
            ErrorCode.WINDOW_PERMISSION,
            lambda f, a: is_one_of(f.window, [window for window in MemoryWindow if window not in windows]),
        ),
        Rule("rows", ErrorCode.WINDOW_RANGE, lambda f, a: exceeds(a.memory_end, a.window_size)),
        Rule("window", ErrorCode.WINDOW_RANGE, lambda f, a: exceeds(a.window_base + a.window_size, 1 << MEMORY_ADDRESS_WIDTH)),
    )


def load_rules(config: Config) -> tuple[Rule, ...]:
    """Return the rules of LOAD."""
    words = config.activation_words

    def is_too_long(f: Any, a: Any, target: LoadTarget) -> Any:
        """Tell whether more bytes come than the buffer has room for behind the destination."""
        size, depth = element_bytes(target, config), target_depth(target, config)
        if target is LoadTarget.STEPS:
            return (f.destination > depth) | (f.row_bytes > size * a.step_words)
        return f.destination * size + f.row_bytes > depth * size

    flat = [target for target in LoadTarget if target not in PLANES]
    shared = [target for target in LoadTarget if target not in CLUSTERED]
    return (
        Rule("target", ErrorCode.TARGET, lambda f, a: f.target > max(LoadTarget)),
        Rule("rows", ErrorCode.ZERO_DIMENSION, lambda f, a: f.rows == 0),
        Rule("row_bytes", ErrorCode.ZERO_DIMENSION, lambda f, a: f.row_bytes == 0),
        Rule(
            "patches",
            ErrorCode.ZERO_DIMENSION,
            lambda f, a: (f.target == LoadTarget.PATCHES) & ((f.patches == 0) | (f.patch_words == 0) | (f.patch_step == 0)),
        ),
        Rule("rows", ErrorCode.ROWS, lambda f, a: is_one_of(f.target, flat) & (f.rows != 1)),
        *(
            Rule(
                f"{target.name.lower()} row_bytes",
                ErrorCode.ROW_BYTES,
                lambda f, a, target=target: (f.target == target) & is_misaligned(f.row_bytes, element_bytes(target, config)),  # type: ignore[misc]
            )
            for target in LoadTarget
            if element_bytes(target, config) > 1
        ),
        Rule("row_bytes", ErrorCode.PATCHES, lambda f, a: (f.target == LoadTarget.PATCHES) & (f.row_bytes > PATCH_ROW_BYTES)),
        *memory_rules(config, READABLE),
        *(
            Rule(
                f"{target.name.lower()} destination",
                ErrorCode.BUFFER_RANGE,
                lambda f, a, target=target: (f.target == target) & is_too_long(f, a, target),  # type: ignore[misc]
            )
            for target in flat
        ),
        Rule(
            "activations destination",
            ErrorCode.BUFFER_RANGE,
            lambda f, a: (f.target == LoadTarget.ACTIVATIONS) & exceeds(a.row_end, words),
        ),
        Rule(
            "patches destination",
            ErrorCode.BUFFER_RANGE,
            lambda f, a: (f.target == LoadTarget.PATCHES) & exceeds(a.patch_end + a.patch_pixels, words),
        ),
        Rule("cluster", ErrorCode.CLUSTER, lambda f, a: f.cluster >= config.clusters),
        Rule("cluster of all", ErrorCode.CLUSTER, lambda f, a: (f.all_clusters == 1) & (f.cluster != 0)),
        Rule(
            "cluster of a shared buffer",
            ErrorCode.CLUSTER,
            lambda f, a: is_one_of(f.target, shared) & ((f.all_clusters == 1) | (f.cluster != 0)),
        ),
    )


def store_rules(config: Config) -> tuple[Rule, ...]:
    """Return the rules of STORE."""
    return (
        Rule("target", ErrorCode.TARGET, lambda f, a: f.target != 0),
        Rule("rows", ErrorCode.ZERO_DIMENSION, lambda f, a: f.rows == 0),
        Rule("row_bytes", ErrorCode.ZERO_DIMENSION, lambda f, a: f.row_bytes == 0),
        Rule("row_bytes", ErrorCode.ROW_BYTES, lambda f, a: is_misaligned(f.row_bytes, config.group_size)),
        *memory_rules(config, WRITABLE),
        Rule("source", ErrorCode.BUFFER_RANGE, lambda f, a: exceeds(a.row_end, config.activation_words)),
    )


def execute_rules(config: Config) -> tuple[Rule, ...]:
    """Return the rules of EXECUTE. Addresses that the gather reads depend on runs, and are checked as they come."""
    words = config.activation_words

    def is_product(f: Any) -> Any:
        return f.kind == ExecuteKind.PRODUCT

    def has_results(f: Any) -> Any:
        return f.open == 0

    def adds(f: Any) -> Any:
        return has_results(f) & (f.residual == 1)

    def output_tiles(f: Any, a: Any) -> Any:
        """Channels of a SPLIT product are those of one row tile."""
        one = (f.sharing == Sharing.SPLIT) & (f.channel_base + config.rows > config.channel_buffer_depth)
        all_tiles = (f.sharing != Sharing.SPLIT) & (f.channel_base + most_tiles(f, config) * config.rows > config.channel_buffer_depth)
        return is_product(f) & has_results(f) & (one | all_tiles)

    def reaches_beyond(tensor: str, applies: Callable[[Any], Any]) -> Rule:
        """Refuse results that would not end within the buffer: those of the last tile, and of the one before, which has all its words."""

        def broken(f: Any, a: Any) -> Any:
            tile_end, last_words, all_words = (getattr(a, f"{tensor}_{name}") for name in ("tile_end", "last_words", "all_words"))
            last = exceeds(tile_end + last_words, words)
            before = exceeds(tile_end + all_words, words + getattr(f, f"{tensor}_tile_stride"))
            return applies(f) & (last | (is_product(f) & (last_tile(f, config) != 0) & before))

        return Rule(f"{tensor}_words", ErrorCode.BUFFER_RANGE, broken)

    def zero(name: str, applies: Callable[[Any], Any] = lambda f: 1) -> Rule:
        return Rule(name, ErrorCode.ZERO_DIMENSION, lambda f, a: applies(f) & (getattr(f, name) == 0))

    def beyond(name: str, depth: int, applies: Callable[[Any], Any] = lambda f: 1) -> Rule:
        return Rule(name, ErrorCode.BUFFER_RANGE, lambda f, a: applies(f) & (getattr(f, name) >= depth))

    def too_far(name: str, limit: str, applies: Callable[[Any], Any] = lambda f: 1) -> Rule:
        return Rule(f"{name} in {limit}", ErrorCode.WALK, lambda f, a: applies(f) & (getattr(f, name) >= getattr(f, limit)))

    return (
        zero("row_tiles"),
        zero("pixels"),
        zero("width"),
        zero("input_ring"),
        zero("window_words", is_product),
        zero("block_tiles", is_product),
        zero("block_columns", is_product),
        zero("tail_groups", is_product),
        zero("output_ring", has_results),
        zero("output_words", has_results),
        zero("residual_ring", adds),
        Rule(
            "channel_base",
            ErrorCode.ALIGNMENT,
            lambda f, a: is_product(f) & has_results(f) & is_misaligned(f.channel_base, config.rows),
        ),
        beyond("step_base", config.weight_buffer_depth, is_product),
        beyond("count_base", config.block_row_buffer_depth, is_product),
        beyond("entry_base", config.entry_buffer_depth, is_product),
        Rule("channel_base", ErrorCode.BUFFER_RANGE, output_tiles),
        beyond("run_base", config.run_buffer_depth),
        beyond("input_base", words),
        reaches_beyond("output", has_results),
        reaches_beyond("residual", adds),
        Rule("sharing", ErrorCode.SHARING, lambda f, a: f.sharing > max(Sharing)),
        Rule(
            "sharing of MAX", ErrorCode.SHARING, lambda f, a: (f.kind == ExecuteKind.MAX) & ((f.sharing == Sharing.SPLIT) | (f.open == 1))
        ),
        Rule(
            "row_tiles of MAX",
            ErrorCode.SHARING,
            lambda f, a: (f.kind == ExecuteKind.MAX) & (f.sharing == Sharing.SHARED) & (f.row_tiles != 1),
        ),
        Rule(
            "pixels of an open sum",
            ErrorCode.SHARING,
            lambda f, a: (f.open == 1) & ((f.pixels > config.columns) | ((f.sharing != Sharing.SPLIT) & (most_tiles(f, config) > 1))),
        ),
        Rule("block_groups_log2", ErrorCode.BLOCKS, lambda f, a: is_product(f) & (f.block_groups_log2 > MAX_BLOCK_GROUPS_LOG2)),
        Rule("tail_groups", ErrorCode.BLOCKS, lambda f, a: is_product(f) & (f.tail_groups > (1 << f.block_groups_log2))),
        Rule(
            "window_words of blocks",
            ErrorCode.WINDOW_WORDS,
            lambda f, a: is_product(f) & (((f.block_columns - 1) << f.block_groups_log2) + f.tail_groups != f.window_words),
        ),
        Rule("window_words", ErrorCode.WINDOW_WORDS, lambda f, a: is_product(f) & exceeds(f.window_words, config.column_buffer_depth)),
        too_far("first_column", "width"),
        too_far("tile_columns", "width"),
        too_far("first_q", "input_ring"),
        too_far("lane_dq", "input_ring"),
        too_far("tile_dq", "input_ring"),
        too_far("wrap_dq", "input_ring"),
        too_far("output_q", "output_ring", has_results),
        too_far("output_tile_dq", "output_ring", has_results),
        too_far("output_wrap_dq", "output_ring", has_results),
        too_far("output_word_dq", "output_ring", has_results),
        too_far("residual_q", "residual_ring", adds),
        too_far("output_tile_dq", "residual_ring", adds),
        too_far("output_wrap_dq", "residual_ring", adds),
        too_far("output_word_dq", "residual_ring", adds),
    )


def command_rules(opcode: Opcode, config: Config) -> tuple[Rule, ...]:
    """Return the rules of a command, in the order in which they count; reserved bits come before all.

    Parameters
    ----------
    opcode : Opcode
        Which command.
    config : Config
        The machine.
    """
    match opcode:
        case Opcode.LOAD:
            return (*common_rules(), *load_rules(config))
        case Opcode.STORE:
            return (*common_rules(), *store_rules(config))
        case Opcode.EXECUTE:
            return (*common_rules(), *execute_rules(config))
        case Opcode.END:
            return common_rules()


def list_rules(config: Config) -> tuple[Rule, ...]:
    """Return the rules of the whole list, before its first command is read.

    ``fields`` has ``command_offset`` and ``command_units``; ``around`` has ``window_base`` and ``window_size`` of window PROGRAM.
    """
    return (
        Rule("command_units", ErrorCode.TRUNCATED, lambda f, a: f.command_units == 0),
        Rule("command_offset", ErrorCode.ALIGNMENT, lambda f, a: is_misaligned(f.command_offset, config.beat_bytes)),
        Rule(
            "command_units",
            ErrorCode.WINDOW_RANGE,
            lambda f, a: exceeds(f.command_offset + f.command_units * UNIT_BYTES, a.window_size),
        ),
        Rule("window", ErrorCode.WINDOW_RANGE, lambda f, a: exceeds(a.window_base + a.window_size, 1 << MEMORY_ADDRESS_WIDTH)),
    )
