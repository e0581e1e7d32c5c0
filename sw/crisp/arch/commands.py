"""The command stream: what the machine is told, one declaration for compiler, golden machine, gateware and documentation.

A program is a list of commands in memory. Each has whole units of 32 bytes: LOAD, STORE and END one, EXECUTE four. The fetcher hands
them to three queues that work at the same time, each in its own order. What must not overtake is said in every command: how many
commands of each queue must be complete before it begins. Counts run modulo 2^16; a command may wait for at most 2^15 - 1 commands back.

Addresses of the activation buffer are counted in words of M bytes; address a lies in bank a mod banks, at place a div banks. A tensor is
a stack of planes, one for each M channels, ``pitch`` words apart; a plane holds one word a pixel, row after row, in a ring of ``ring``
pixels: pixel q of the image lies at place q mod ring.
"""

import enum

from .config import ACTIVATION_ADDRESS_WIDTH
from .fields import Field, Word

__all__ = [
    "END",
    "EXECUTE",
    "LOAD",
    "NUM_MEMORY_WINDOWS",
    "RUN",
    "STORE",
    "UNIT_BYTES",
    "ExecuteKind",
    "LoadTarget",
    "MemoryWindow",
    "Opcode",
    "Sharing",
    "Spread",
]

#: Bytes of a unit: commands are whole units, and begin at one.
UNIT_BYTES = 32

ADDRESS = ACTIVATION_ADDRESS_WIDTH


class Opcode(enum.IntEnum):
    """What a command does; 0 is none, so that cleared memory is no program."""

    LOAD = 1  #: Memory to a buffer.
    STORE = 2  #: Activation buffer to memory.
    EXECUTE = 3  #: Product or pooling, from activation buffer to activation buffer.
    END = 4  #: The program ends when all queues have run empty.


class MemoryWindow(enum.IntEnum):
    """Part of memory that the host opens to the machine, by base and size. Offsets in commands count from the base."""

    PROGRAM = 0  #: Commands and constants; read only.
    SCRATCH = 1  #: Activations that do not fit on chip; read and written.
    INPUT = 2  #: Read only.
    OUTPUT = 3  #: Written only.


NUM_MEMORY_WINDOWS = len(MemoryWindow)


class LoadTarget(enum.IntEnum):
    """Where a LOAD puts its bytes."""

    STEPS = 0  #: Weight buffer: for every 8 / log2 M steps (2 where M = 8) a word of offsets, then the values; see ``packing``.
    DENSE_STEPS = 1  #: Weight buffer: values only; the offset of step s is s mod M.
    COUNTS = 2  #: Words COUNT.
    ENTRIES = 3  #: Words ENTRY.
    CHANNELS = 4  #: Words CHANNEL.
    RUNS = 5  #: Words RUN.
    TABLE = 6  #: The 256 bytes of the activation table.
    ACTIVATIONS = 7  #: Activation buffer: a row of memory a plane.
    PATCHES = 8  #: Activation buffer: each row of an image cut into overlapping patches, one a pixel.


class ExecuteKind(enum.IntEnum):
    """What an EXECUTE computes from the windows of its pixel tiles."""

    PRODUCT = 0  #: Weights times windows, requantized.
    MAX = 1  #: Maximum of the words of each window, byte by byte: max pooling, or with one word a copy.


class Sharing(enum.IntEnum):
    """Which row tiles of a pixel tile use which window."""

    SHARED = 0  #: All row tiles use one window.
    SPLIT = 1  #: Row tile p multiplies window p and adds to one sum: a K that is too long for the column buffer. One row tile results.
    GROUPED = 2  #: Row tile p uses a window of its own, ``part_stride`` words further: depthwise and grouped convolution, pooling.


class Spread(enum.IntEnum):
    """What of an EXECUTE's product the clusters take in turn; all is cluster 0's where there is one."""

    ROW_TILES = 0  #: Row tile t is cluster t mod clusters' row tile t div clusters. With SPLIT, which has one, all is cluster 0's.
    PIXEL_TILES = 1  #: Pixel tile p is cluster p mod clusters': each cluster has the weights of all row tiles.


def header(opcode: Opcode) -> tuple[Field, ...]:
    """Return the fields that every command begins with."""
    return (
        Field("opcode", 4, f"{opcode.value}: {opcode.name}."),
        Field("wait_load", 16, "LOADs that must be complete before this begins, modulo 2^16."),
        Field("wait_execute", 16, "EXECUTEs, likewise."),
        Field("wait_store", 16, "STOREs, likewise."),
    )


LOAD = Word(
    "load",
    256,
    (
        *header(Opcode.LOAD),
        Field("target", 4, "Buffer: LoadTarget."),
        Field("window", 2, "MemoryWindow."),
        Field("cluster", 3, "STEPS, DENSE_STEPS, COUNTS, ENTRIES, CHANNELS: cluster whose buffer it is; of others 0."),
        Field("all_clusters", 1, "1: the buffers of all clusters take it; then cluster is 0."),
        Field("offset", 32, "Byte of the window at which the first row begins; a multiple of the bus width."),
        Field("row_bytes", 26, "Bytes of a row."),
        Field("rows", 16, "Rows; 1 but for ACTIVATIONS and PATCHES."),
        Field("row_stride", 32, "Bytes from one row to the next in memory; a multiple of the bus width."),
        Field("destination", ADDRESS, "First address of the buffer; steps, words or bytes, as the buffer has them."),
        Field("destination_stride", ADDRESS, "Words from one row to the next in the activation buffer."),
        Field("patch_step", 8, "PATCHES: bytes from one patch to the next."),
        Field("patch_words", 4, "PATCHES: words of a patch; word w of all patches of a row goes to plane w."),
        Field("patch_lead", 8, "PATCHES: bytes of the first patch that lie before the row."),
        Field("patches", 14, "PATCHES: patches of a row; row y of the image begins y x patches words behind the destination."),
        Field("fill", 8, "PATCHES: value of bytes before and behind the row.", signed=True),
    ),
    "Memory to a buffer.",
)

STORE = Word(
    "store",
    256,
    (
        *header(Opcode.STORE),
        Field("target", 4, "0."),
        Field("window", 2, "MemoryWindow."),
        Field("offset", 32, "Byte of the window at which the first row begins; a multiple of the bus width."),
        Field("row_bytes", 26, "Bytes of a row; a multiple of M. The rest of the last bus word is not written."),
        Field("rows", 16, "Rows."),
        Field("row_stride", 32, "Bytes from one row to the next in memory; a multiple of the bus width."),
        Field("source", ADDRESS, "First word in the activation buffer."),
        Field("source_stride", ADDRESS, "Words from one row to the next in the activation buffer."),
    ),
    "Activation buffer to memory, a row a plane.",
)

END = Word(
    "end",
    256,
    header(Opcode.END),
    "Last command: waits for its counts, then for all queues, and raises the interrupt.",
)

RUN = Word(
    "run",
    64,
    (
        Field("dy", 8, "Row of the input less the pixel's: outside the image where row or column is.", signed=True),
        Field("dx", 8, "Column, likewise.", signed=True),
        Field(
            "pixels",
            16,
            "Place in the plane's ring less the pixel's: dy x width + dx, at most a ring either way.",
            signed=True,
        ),
        Field("plane", ADDRESS, "Words from plane 0 to the first plane."),
        Field("words_minus_1", 9, "Words less one: as many planes, one after the other."),
        Field("last", 1, "Ends the window."),
    ),
    "Some neighbouring words of a window: one tap of the kernel, and planes that follow each other. The runs of a window list the words "
    "that its blocks use, so that convolution geometry is data and no word is gathered in vain.",
)

EXECUTE = Word(
    "execute",
    1024,
    (
        *header(Opcode.EXECUTE),
        Field("kind", 1, "ExecuteKind."),
        Field("sharing", 2, "Sharing."),
        Field("spread", 1, "Spread. What addresses a cluster's buffers below is the same for all clusters."),
        Field("residual", 1, "1: add a tensor to the result."),
        Field("table", 1, "1: look the result up in the activation table."),
        Field(
            "open",
            1,
            "1: the sums go on in the next command, so this one has no results: its last step does not end the sum. They stay in the "
            "array, so the command has one pixel tile, and one row tile a cluster or SPLIT.",
        ),
        Field("row_tiles", 16, "Row tiles; with SPLIT the parts of K; with MAX planes."),
        Field("pixels", 20, "Output pixels."),
        # The kept blocks and the weights.
        Field("block_tiles", 16, "Row tiles that share a block row's entries."),
        Field("block_groups_log2", 4, "log2 of the groups of a whole block."),
        Field("block_columns", 12, "Blocks that a window has."),
        Field("tail_groups", 7, "Groups of a window's last block, at least 1."),
        Field("window_words", 13, "Words of a window."),
        Field("step_base", 16, "First step in the weight buffer."),
        Field("count_base", 12, "First count."),
        Field("entry_base", 14, "First entry."),
        Field("channel_base", 14, "First channel, a multiple of the array's rows."),
        Field("run_base", 14, "First run."),
        # The walk over output pixels. Lane l of a pixel tile begins l pixels after its first.
        Field("width", 14, "Output pixels of a row; behind them the walk wraps to the next row."),
        Field("first_column", 14, "Column of the first output pixel."),
        Field("tile_columns", 7, "Columns that a lane advances from tile to tile: array columns mod width."),
        Field("lane_dx", 14, "Input columns from a pixel to the next.", signed=True),
        Field("tile_dx", 14, "Input columns from a tile to the next, unless it wraps.", signed=True),
        Field("tile_dy", 14, "Input rows, likewise.", signed=True),
        Field("wrap_dx", 15, "Input columns that a wrap adds.", signed=True),
        Field("wrap_dy", 8, "Input rows that a wrap adds.", signed=True),
        Field("lane_dq", ADDRESS, "Places in the input's ring from a pixel to the next."),
        Field("tile_dq", ADDRESS, "Places in the input's ring from a tile to the next, modulo the ring."),
        Field("wrap_dq", ADDRESS, "Places that a wrap adds, modulo the ring."),
        # Input.
        Field("first_y", 15, "Row of the first pixel's window.", signed=True),
        Field("first_x", 15, "Column of the first pixel's window.", signed=True),
        Field("first_q", ADDRESS, "Its place in the ring, modulo the ring."),
        Field("input_height", 14, "Rows of the input: beyond them is padding."),
        Field("input_width", 14, "Columns of the input."),
        Field("input_base", ADDRESS, "Address of plane 0."),
        Field("input_ring", ADDRESS, "Pixels of a plane's ring."),
        Field("input_pitch", ADDRESS, "Words from a plane to the next."),
        Field("part_stride", ADDRESS, "GROUPED: words from one part's plane 0 to the next part's."),
        Field("pad", 8, "Value of padding.", signed=True),
        # Requantization.
        Field("zero_point", 8, "Zero point of the product's output.", signed=True),
        Field("clamp_min", 8, "Smallest output.", signed=True),
        Field("clamp_max", 8, "Largest output.", signed=True),
        # Output.
        Field("output_base", ADDRESS, "Address of plane 0."),
        Field("output_ring", ADDRESS, "Pixels of a plane's ring."),
        Field("output_q", ADDRESS, "Place of the first pixel in the ring."),
        Field("output_tile_dq", ADDRESS, "Places from a tile to the next; less than the rings of output and residual."),
        Field("output_wrap_dq", ADDRESS, "Places that a wrap adds, beyond the one step."),
        Field("output_tile_stride", ADDRESS, "Words from a row tile's first plane to the next row tile's."),
        Field("output_pitch", ADDRESS, "Words from one word of a row tile to the next: the plane pitch, or 0."),
        Field("output_word_dq", 14, "Places from one word of a row tile to the next: 0, or a row's width."),
        Field("output_words", 14, "Words of a pixel in all row tiles: those beyond are not written."),
        # Residual.
        Field("residual_base", ADDRESS, "Address of plane 0."),
        Field("residual_ring", ADDRESS, "Pixels of a plane's ring."),
        Field("residual_q", ADDRESS, "Place of the first pixel in the ring."),
        Field("residual_tile_stride", ADDRESS, "Words from a row tile's first plane to the next row tile's."),
        Field("residual_pitch", ADDRESS, "Words from one word of a row tile to the next."),
        Field("result_zero_point", 8, "Zero point of the result, as the addition takes it.", signed=True),
        Field("residual_zero_point", 8, "Zero point of the residual.", signed=True),
        Field("result_multiplier", 16, "Scale mantissa of the result."),
        Field("residual_multiplier", 16, "Scale mantissa of the residual."),
        Field("sum_shift", 6, "Right shift of the sum."),
        Field("sum_zero_point", 8, "Zero point of the sum.", signed=True),
        Field("sum_clamp_min", 8, "Smallest sum.", signed=True),
        Field("sum_clamp_max", 8, "Largest sum.", signed=True),
    ),
    "Gather the windows of all pixel tiles, multiply or take the maximum, requantize, add, look up, and write back.",
)
