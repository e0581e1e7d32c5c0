"""Block walker: reads the list of kept blocks ahead of the array, so that an absent block costs no cycle."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp.arch import COUNT, ENTRY, LAYER

from .layouts import block_layout, word_layout

__all__ = ["BlockWalker"]


class BlockWalker(wiring.Component):
    """Hold block entries and list the kept blocks in the order of work: pixel tile, row tile, kept block.

    The entries of a block row are read once for each of its row tiles, and all of them once for each pixel tile. The
    count of a block row says in advance where its list ends, so that the next list follows without a gap.

    Latency: `LATENCY` cycles from ``i_start`` to the first block. Throughput: one block a cycle.
    Flow control: ``i_count`` and ``i_entry`` fill the buffers while ``i_load`` is high; ``o_block`` is prefetched into
    a FIFO that is deeper than the loop from its credit to its data.

    Parameters
    ----------
    entry_depth : int
        Block entries.
    block_row_depth : int
        Block rows.
    column_depth : int
        Words of a lane of the column buffer.

    Members
    -------
    i_count, i_entry : In, stream
        Kept blocks a block row, and the kept blocks.
    i_load : In
        High while the two may be taken; low takes the next ones to address 0 again.
    i_start : In
        Begin to walk ``i_layer``, which stays until the walk ends.
    i_layer : In
        The layer.
    o_block : Out, stream
        Kept blocks.
    o_walked, o_skipped : Out
        A block was listed in this cycle; how many absent ones were passed over for it.
    """

    LATENCY = 5
    PREFETCH = 8

    def __init__(self, *, entry_depth: int, block_row_depth: int, column_depth: int):
        self.entry_depth = entry_depth
        self.block_row_depth = block_row_depth
        self.column_depth = column_depth
        super().__init__({
            "i_count": In(stream.Signature(word_layout(COUNT))),
            "i_entry": In(stream.Signature(word_layout(ENTRY))),
            "i_load": In(1),
            "i_start": In(1),
            "i_layer": In(word_layout(LAYER)),
            "o_block": Out(stream.Signature(block_layout(column_depth))),
            "o_walked": Out(1),
            "o_skipped": Out(COUNT.fields[0].width),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        layer = self.i_layer

        # Load.
        m.submodules.counts = counts = Memory(shape=word_layout(COUNT), depth=self.block_row_depth, init=[])
        m.submodules.entries = entries = Memory(shape=word_layout(ENTRY), depth=self.entry_depth, init=[])
        for source, memory in ((self.i_count, counts), (self.i_entry, entries)):
            write = memory.write_port()
            pointer = Signal(range(memory.depth + 1))
            m.d.comb += source.ready.eq(self.i_load & (pointer != memory.depth))
            m.d.comb += write.en.eq(source.valid & source.ready)
            m.d.comb += write.addr.eq(pointer)
            m.d.comb += write.data.eq(source.payload)
            with m.If(~self.i_load):
                m.d.sync += pointer.eq(0)
            with m.Elif(write.en):
                m.d.sync += pointer.eq(pointer + 1)

        # Where the walk stands.
        walking = Signal()
        entry_address = Signal(range(self.entry_depth))
        row_address = Signal(range(self.entry_depth))  # first entry of this block row
        blocks_left = Signal(COUNT.fields[0].width)  # of this row tile
        ends_block_row = Signal()  # this row tile is its block row's last
        ends_window = Signal()  # it is its pixel tile's last
        pixel_tiles_left = Signal.like(layer.pixel_tiles)
        windows_left = Signal.like(layer.windows)  # slots until the column buffer wraps
        window_address = Signal(range(self.column_depth))

        last_of_tile = blocks_left == 1
        last_of_window = last_of_tile & ends_window
        last_of_layer = last_of_window & (pixel_tiles_left == 1)

        # Step to the next block whenever the FIFO has room for it.
        credits = Signal(range(self.PREFETCH + 1), init=self.PREFETCH)
        step = Signal()
        m.d.comb += step.eq(walking & (credits != 0))
        m.d.sync += credits.eq(credits - step + (self.o_block.valid & self.o_block.ready))

        # The row tile that begins next, known while this one is walked, so that its count is at hand in time.
        tile_layout = data.StructLayout({
            "block_row": range(self.block_row_depth),
            "block_tiles_left": layer.block_tiles.shape(),
            "row_tiles_left": layer.row_tiles.shape(),
        })  # fmt: skip
        first_tile = Signal(tile_layout)
        next_tile = Signal(tile_layout)
        tile = Signal(tile_layout)
        m.d.comb += [first_tile.block_tiles_left.eq(layer.block_tiles), first_tile.row_tiles_left.eq(layer.row_tiles)]
        m.d.comb += tile.eq(Mux(self.i_start, first_tile, next_tile))
        count = counts.read_port(domain="comb")
        m.d.comb += count.addr.eq(tile.block_row)
        begins_tile = self.i_start | (step & last_of_tile)
        with m.If(begins_tile):
            m.d.sync += ends_block_row.eq(tile.block_tiles_left == 1)
            m.d.sync += ends_window.eq(tile.row_tiles_left == 1)
            m.d.sync += next_tile.row_tiles_left.eq(tile.row_tiles_left - 1)
            with m.If(tile.block_tiles_left == 1):
                m.d.sync += [next_tile.block_row.eq(tile.block_row + 1), next_tile.block_tiles_left.eq(layer.block_tiles)]
            with m.Else():
                m.d.sync += [next_tile.block_row.eq(tile.block_row), next_tile.block_tiles_left.eq(tile.block_tiles_left - 1)]
            with m.If(tile.row_tiles_left == 1):
                m.d.sync += next_tile.eq(first_tile)

        # Walk: block by block, and from tile to tile and window to window.
        with m.If(begins_tile):
            m.d.sync += blocks_left.eq(count.data.blocks)
        with m.Elif(step):
            m.d.sync += blocks_left.eq(blocks_left - 1)
        with m.If(step):
            m.d.sync += entry_address.eq(entry_address + 1)
            with m.If(last_of_tile & ends_block_row):
                m.d.sync += row_address.eq(entry_address + 1)
            with m.Elif(last_of_tile):
                m.d.sync += entry_address.eq(row_address)
        with m.If(self.i_start | (step & last_of_window)):
            m.d.sync += [entry_address.eq(0), row_address.eq(0)]

        with m.If(self.i_start):
            m.d.sync += [walking.eq(1), pixel_tiles_left.eq(layer.pixel_tiles)]
            m.d.sync += [windows_left.eq(layer.windows), window_address.eq(0)]
        with m.Elif(step & last_of_window):
            m.d.sync += [walking.eq(~last_of_layer), pixel_tiles_left.eq(pixel_tiles_left - 1)]
            m.d.sync += windows_left.eq(Mux(windows_left == 1, layer.windows, windows_left - 1))
            m.d.sync += window_address.eq(Mux(windows_left == 1, 0, window_address + layer.window_words))

        # Read the entry, with a register behind the RAM; flags keep step.
        read = entries.read_port()
        m.d.comb += read.addr.eq(entry_address)
        flags = {
            "window_address": window_address,
            "last_of_tile": last_of_tile,
            "last_of_window": last_of_window,
            "last_of_layer": last_of_layer,
        }
        valid = step
        for stage in ("read", "entry"):
            delayed = Signal(name=f"{stage}_valid")
            m.d.sync += delayed.eq(valid)
            valid = delayed
            registers = {name: Signal.like(flag, name=f"{stage}_{name}") for name, flag in flags.items()}
            m.d.sync += [registers[name].eq(flag) for name, flag in flags.items()]
            flags = registers
        entry = Signal(word_layout(ENTRY))
        m.d.sync += entry.eq(read.data)

        # Turn the index into an address.
        m.submodules.prefetch = prefetch = SyncFIFO(width=block_layout(self.column_depth).size, depth=self.PREFETCH)
        block = Signal(block_layout(self.column_depth))
        block_valid = Signal()
        is_tail = entry.index == layer.block_columns - 1
        whole_groups = Signal(7)
        m.d.comb += whole_groups.eq(1 << layer.block_groups_log2)
        m.d.sync += block_valid.eq(valid)
        m.d.sync += block.address.eq(flags.pop("window_address") + (entry.index << layer.block_groups_log2))
        m.d.sync += block.groups_minus_1.eq(Mux(is_tail, layer.tail_groups, whole_groups) - 1)
        m.d.sync += block.n_minus_1.eq(entry.n_minus_1)
        m.d.sync += [block[name].eq(flag) for name, flag in flags.items()]
        m.d.comb += prefetch.w_data.eq(block)
        m.d.comb += prefetch.w_en.eq(block_valid)
        m.d.comb += self.o_block.payload.as_value().eq(prefetch.r_data)
        m.d.comb += self.o_block.valid.eq(prefetch.r_rdy)
        m.d.comb += prefetch.r_en.eq(self.o_block.ready)

        # Count what was passed over: the gap before each block, and the one behind a tile's last.
        expected = Signal(ENTRY.fields[0].width + 1)
        with m.If(self.i_start):
            m.d.sync += expected.eq(0)
        with m.Elif(valid):
            m.d.sync += expected.eq(Mux(flags["last_of_tile"], 0, entry.index + 1))
        before = Signal.like(expected)
        behind = Signal.like(expected)
        counted = Signal()
        m.d.sync += [counted.eq(valid), before.eq(entry.index - expected)]
        m.d.sync += behind.eq(Mux(flags["last_of_tile"], layer.block_columns - 1 - entry.index, 0))
        m.d.sync += [self.o_walked.eq(counted), self.o_skipped.eq(Mux(counted, before + behind, 0))]
        return m
