"""Block walker: reads the list of kept blocks ahead of the array, so that an absent block costs no cycle."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp.arch import COUNT, ENTRY, EXECUTE, ErrorCode, Sharing, Spread

from .layouts import block_layout, fields_layout, word_layout, write_port_layout

__all__ = ["BlockWalker", "walker_command_layout"]


def walker_command_layout() -> data.StructLayout:
    """Lay out what of an `EXECUTE` the walk depends on."""
    return fields_layout(
        EXECUTE,
        *("sharing", "spread", "open", "row_tiles", "pixels"),
        *("block_tiles", "block_groups_log2", "block_columns", "tail_groups", "count_base", "entry_base"),
    )


class BlockWalker(wiring.Component):
    """Hold block entries and list the kept blocks in the order of work: pixel tile, row tile, kept block.

    The entries of a block row are read once for each of its row tiles, and all of them once for each pixel tile. The
    count of a block row says in advance where its list ends, so that the next list follows without a gap.

    Latency: `LATENCY` cycles from a command to its first block. Throughput: one block a cycle; between two commands one cycle is lost,
    which the blocks listed in advance make up for.
    Flow control: ``i_command`` waits until all blocks of the command before are listed; ``o_block`` is prefetched into a FIFO that is
    deeper than the loop from its credit to its data. What is written must not be in use.

    What is read is checked. After an error nothing more is listed until reset.

    Parameters
    ----------
    columns : int
        Columns of the array: pixels of a tile.
    group_size : int
        M, the largest N of a block.
    entry_depth : int
        Block entries.
    block_row_depth : int
        Block rows.
    column_depth : int
        Words of a lane of the column buffer.
    clusters : int
        Clusters, of which each has every so manieth pixel tile where the command is spread by them.

    Members
    -------
    i_count, i_entry : In, write port
        Kept blocks of a block row; a kept block.
    i_command : In, stream
        What to walk.
    o_block : Out, stream
        Kept blocks.
    o_error : Out
        Something that was read breaks the contract; pulses once.
    o_error_code : Out, `ErrorCode`
        With ``o_error``: what.
    """

    LATENCY = 6
    PREFETCH = 8

    def __init__(self, *, columns: int, group_size: int, entry_depth: int, block_row_depth: int, column_depth: int, clusters: int = 1):
        self.columns = columns
        self.group_size = group_size
        self.entry_depth = entry_depth
        self.block_row_depth = block_row_depth
        self.column_depth = column_depth
        self.clusters = clusters
        super().__init__({
            "i_count": In(write_port_layout(word_layout(COUNT), block_row_depth)),
            "i_entry": In(write_port_layout(word_layout(ENTRY), entry_depth)),
            "i_command": In(stream.Signature(walker_command_layout())),
            "o_block": Out(stream.Signature(block_layout(column_depth))),
            "o_error": Out(1),
            "o_error_code": Out(ErrorCode),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # Write.
        m.submodules.counts = counts = Memory(shape=word_layout(COUNT), depth=self.block_row_depth, init=[])
        m.submodules.entries = entries = Memory(shape=word_layout(ENTRY), depth=self.entry_depth, init=[])
        for port, memory in ((self.i_count, counts), (self.i_entry, entries)):
            write = memory.write_port()
            m.d.comb += [write.en.eq(port.enable), write.addr.eq(port.address), write.data.eq(port.data)]

        # Where the walk stands. An address may point one behind its buffer's end, as long as nothing is read there.
        command = Signal(walker_command_layout())
        walking = Signal()
        entry_address = Signal(len(command.entry_base) + 1)
        row_address = Signal.like(entry_address)  # first entry of this block row
        blocks_left = Signal(COUNT.fields[0].width)  # of this row tile
        ends_block_row = Signal()  # this row tile is its block row's last
        ends_pixel_tile = Signal()  # it is its pixel tile's last
        pixels_left = Signal.like(command.pixels)

        pixels_on = Mux(command.spread == Spread.PIXEL_TILES, self.clusters * self.columns, self.columns)  # to its next tile

        # What ends with a block is known before the walk is there.
        last_of_list = Signal()
        is_last_pixel_tile = Signal()
        last_of_pixel_tile = last_of_list & ends_pixel_tile
        last_of_command = last_of_pixel_tile & is_last_pixel_tile

        # Step to the next block whenever the FIFO has room for it.
        credits = Signal(range(self.PREFETCH + 1), init=self.PREFETCH)
        step = Signal()
        m.d.comb += step.eq(walking & (credits != 0))
        m.d.sync += credits.eq(credits - step + (self.o_block.valid & self.o_block.ready))

        # Take the next command in the cycle of the last step, and begin in the cycle behind it.
        halted = Signal()
        start = Signal()
        m.d.comb += self.i_command.ready.eq(~halted & ~start & (~walking | (step & last_of_command)))
        taken = self.i_command.valid & self.i_command.ready
        m.d.sync += start.eq(taken)
        with m.If(taken):
            m.d.sync += command.eq(self.i_command.payload)

        # The row tile that begins next. It is known while this one is walked, so its count is read ahead: in every cycle, that of the
        # one that may begin in the cycle behind it.
        tile_layout = data.StructLayout({
            "block_row": len(command.count_base) + 1,
            "block_tiles_left": command.block_tiles.shape(),
            "row_tiles_left": command.row_tiles.shape(),
        })  # fmt: skip
        tile = Signal(tile_layout)
        next_tile = Signal(tile_layout)
        begins_tile = start | (step & last_of_list)
        m.d.comb += next_tile.eq(tile)
        with m.If(begins_tile):
            m.d.sync += ends_block_row.eq(tile.block_tiles_left == 1)
            m.d.sync += ends_pixel_tile.eq(tile.row_tiles_left == 1)
            m.d.comb += next_tile.row_tiles_left.eq(tile.row_tiles_left - 1)
            m.d.comb += next_tile.block_tiles_left.eq(tile.block_tiles_left - 1)
            with m.If(tile.block_tiles_left == 1):
                m.d.comb += [next_tile.block_row.eq(tile.block_row + 1), next_tile.block_tiles_left.eq(command.block_tiles)]
            with m.If(tile.row_tiles_left == 1):
                m.d.comb += [next_tile.block_row.eq(command.count_base), next_tile.row_tiles_left.eq(command.row_tiles)]
                m.d.comb += next_tile.block_tiles_left.eq(command.block_tiles)
        with m.If(taken):
            payload = self.i_command.payload
            m.d.comb += [next_tile.block_row.eq(payload.count_base), next_tile.row_tiles_left.eq(payload.row_tiles)]
            m.d.comb += next_tile.block_tiles_left.eq(payload.block_tiles)
        m.d.sync += tile.eq(next_tile)
        count = counts.read_port()
        m.d.comb += count.addr.eq(next_tile.block_row[: len(count.addr)])

        # Walk: block by block, and from tile to tile.
        with m.If(begins_tile):
            m.d.sync += [blocks_left.eq(count.data.blocks), last_of_list.eq(count.data.blocks == 1)]
        with m.Elif(step):
            m.d.sync += [blocks_left.eq(blocks_left - 1), last_of_list.eq(blocks_left == 2)]
        with m.If(step):
            m.d.sync += entry_address.eq(entry_address + 1)
            with m.If(last_of_list & ends_block_row):
                m.d.sync += row_address.eq(entry_address + 1)
            with m.Elif(last_of_list):
                m.d.sync += entry_address.eq(row_address)
        with m.If(start | (step & last_of_pixel_tile)):
            m.d.sync += [entry_address.eq(command.entry_base), row_address.eq(command.entry_base)]

        with m.If(start):
            m.d.sync += [walking.eq(1), pixels_left.eq(command.pixels), is_last_pixel_tile.eq(command.pixels <= pixels_on)]
        with m.Elif(step & last_of_pixel_tile):
            m.d.sync += [walking.eq(~last_of_command), pixels_left.eq(pixels_left - pixels_on)]
            m.d.sync += is_last_pixel_tile.eq(pixels_left <= pixels_on << 1)

        # Read the entry, with a register behind the RAM; what belongs to it keeps step.
        read = entries.read_port()
        m.d.comb += read.addr.eq(entry_address[: len(read.addr)])
        beside = {
            "last_of_list": last_of_list,
            "last_of_tile": last_of_list & (ends_pixel_tile | (command.sharing != Sharing.SPLIT)) & ~command.open,
            "last_of_window": last_of_list & (ends_pixel_tile | (command.sharing != Sharing.SHARED)),
            "last_of_pixel_tile": last_of_pixel_tile,
            "last_of_command": last_of_command,
            "block_columns": command.block_columns,
            "block_groups_log2": command.block_groups_log2,
            "tail_groups": command.tail_groups,
        }
        valid = step
        for stage in ("read", "entry"):
            delayed = Signal(name=f"{stage}_valid")
            m.d.sync += delayed.eq(valid)
            valid = delayed
            registers = {name: Signal.like(value, name=f"{stage}_{name}") for name, value in beside.items()}
            m.d.sync += [registers[name].eq(value) for name, value in beside.items()]
            beside = registers
        entry = Signal(word_layout(ENTRY))
        m.d.sync += entry.eq(read.data)
        block_columns, groups_log2, tail_groups = (beside.pop(name) for name in ("block_columns", "block_groups_log2", "tail_groups"))

        # Turn the index into a place in the window.
        m.submodules.prefetch = prefetch = SyncFIFO(width=block_layout(self.column_depth).size, depth=self.PREFETCH)
        block = Signal(block_layout(self.column_depth))
        block_valid = Signal()
        is_tail = entry.index == block_columns - 1
        whole_groups = Signal(7)
        m.d.comb += whole_groups.eq(1 << groups_log2)
        m.d.sync += block_valid.eq(valid & ~self.o_error & ~halted)
        m.d.sync += block.address.eq(entry.index << groups_log2)
        m.d.sync += block.groups_minus_1.eq(Mux(is_tail, tail_groups, whole_groups) - 1)
        m.d.sync += block.n_minus_1.eq(entry.n_minus_1)
        m.d.sync += [block[name].eq(flag) for name, flag in beside.items()]
        m.d.comb += prefetch.w_data.eq(block)
        m.d.comb += prefetch.w_en.eq(block_valid)
        m.d.comb += self.o_block.payload.as_value().eq(prefetch.r_data)
        m.d.comb += self.o_block.valid.eq(prefetch.r_rdy)
        m.d.comb += prefetch.r_en.eq(self.o_block.ready)

        # Check. Indices must ascend in a list, so each must be at least what the one before leaves.
        least_index = Signal(ENTRY.fields[0].width + 1)
        with m.If(valid):
            m.d.sync += least_index.eq(Mux(beside["last_of_list"], 0, entry.index + 1))
        wrong_index = (entry.index < least_index) | (entry.index >= block_columns)
        wrong_count = (count.data.blocks == 0) | (count.data.blocks > command.block_columns)
        leaves_counts = tile.block_row >= self.block_row_depth
        leaves_entries = entry_address >= self.entry_depth
        with m.If(~halted):
            with m.If(valid & wrong_index):
                m.d.comb += [self.o_error.eq(1), self.o_error_code.eq(ErrorCode.METADATA_INDEX)]
            with m.Elif(valid & (entry.n_minus_1 >= self.group_size)):
                m.d.comb += [self.o_error.eq(1), self.o_error_code.eq(ErrorCode.METADATA_N)]
            with m.Elif((begins_tile & leaves_counts) | (step & leaves_entries)):
                m.d.comb += [self.o_error.eq(1), self.o_error_code.eq(ErrorCode.METADATA_RANGE)]
            with m.Elif(begins_tile & wrong_count):
                m.d.comb += [self.o_error.eq(1), self.o_error_code.eq(ErrorCode.METADATA_COUNT)]
        with m.If(self.o_error):
            m.d.sync += [halted.eq(1), walking.eq(0)]
        return m
