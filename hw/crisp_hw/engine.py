"""Layer engine: matrix products from on-chip buffers. The golden model is ``crisp.golden.engine``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from crisp.arch import CHANNEL, COUNT, COUNTERS, ENTRY, EXECUTE, Config, ErrorCode

from .block_walker import BlockWalker
from .channel_buffer import ChannelBuffer
from .collector import Collector
from .column_buffer import ColumnBuffer
from .drain_tree import DrainTree
from .layouts import fields_layout, slot_layout, step_layout, window_word_layout, word_layout, write_port_layout
from .performance import PerformanceCounters
from .requantize import Requantize, output_layout
from .step_issuer import Cause, StepIssuer
from .systolic_array import SystolicArray
from .weight_buffer import WeightBuffer

__all__ = ["LayerEngine"]


class LayerEngine(wiring.Component):
    """Compute ``Y = requantize(W @ X + bias)`` for packed weights W and windows X, a step a cycle.

    ::

        i_command -> block_walker -> step_issuer -+-> weight_buffer <- i_step
                      ^- i_count, i_entry         +-> column_buffer <- i_window
                                                  |        |
                                                  |        v
                                                  |   systolic_array -> drain trees -> requantize -> collector -> o_slots
                                                  +------------------------ channel_buffer --^
                                                                                 ^- i_channel

    Each command computes all row tiles of all its pixel tiles, from windows that arrive in the order of their use. Commands follow each
    other without a gap: while the steps of one are issued, the blocks of the next are listed ahead, its windows arrive behind those of
    this one, and the results of the one before are on their way with parameters of their own.

    Latency: rows + columns + 9 cycles from the last step to the last result, for up to 16 rows a drain bank.
    Throughput: one step a cycle, for every N:M and any number of absent blocks, as long as a tile has at least
    rows / drain_rows steps.
    Flow control: commands, windows and slots are streams; inside, the array is held back only by not issuing. Write ports take a word
    in every cycle; who writes waits until no command uses what is overwritten.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    i_step, i_count, i_entry, i_channel : In, write port
        Packed weights and channel parameters, see `write_port_layout`.
    i_command : In, stream
        Words `EXECUTE` of kind PRODUCT.
    i_window : In, stream
        Windows, in the order of their use.
    o_slots : Out, stream
        M neighbouring rows of all columns: pixel tile by pixel tile, row tile by row tile, ``rows / M`` each.
    o_open_done : Out
        A command that leaves its sums open, and so has no slots, has read the last of its weights; pulses once for each.
    o_busy : Out
        There are steps to issue, or results on their way, because of this engine or of whom it waits for.
    o_cause : Out
        With ``o_busy``: what this cycle goes to.
    o_counters : Out
        Where the cycles of a command went.
    o_counters_valid : Out
        They are complete; pulses once a command, in order, and not later than in the cycle behind its last slot.
    o_error : Out
        Counts, entries or addresses break the contract. The engine then stays as it is, or computes what nobody wants, until reset;
        whatever it has promised to others it keeps.
    o_error_code : Out, `ErrorCode`
        With ``o_error``: what was found.
    o_error_listing : Out
        With ``o_error``: in the command that was taken last, whose blocks are being listed. Else it is the oldest one whose steps are
        not all issued.
    o_steps_end : Out
        All steps of that one are issued.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_step": In(write_port_layout(step_layout(config.rows, config.group_size), config.weight_buffer_depth)),
            "i_count": In(write_port_layout(word_layout(COUNT), config.block_row_buffer_depth)),
            "i_entry": In(write_port_layout(word_layout(ENTRY), config.entry_buffer_depth)),
            "i_channel": In(write_port_layout(word_layout(CHANNEL), config.channel_buffer_depth)),
            "i_command": In(stream.Signature(word_layout(EXECUTE))),
            "i_window": In(stream.Signature(window_word_layout(config.columns, config.group_size))),
            "o_slots": Out(stream.Signature(slot_layout(config.columns, config.group_size))),
            "o_open_done": Out(1),
            "o_busy": Out(1),
            "o_cause": Out(Cause),
            "o_counters": Out(word_layout(COUNTERS)),
            "o_counters_valid": Out(1),
            "o_error": Out(1),
            "o_error_code": Out(ErrorCode),
            "o_error_listing": Out(1),
            "o_steps_end": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config

        # Kept blocks, then steps. What is issued belongs to the oldest command, whose blocks were listed before.
        m.submodules.block_walker = walker = BlockWalker(
            columns=config.columns,
            group_size=config.group_size,
            entry_depth=config.entry_buffer_depth,
            block_row_depth=config.block_row_buffer_depth,
            column_depth=config.column_buffer_depth,
            clusters=config.clusters,
        )
        m.submodules.step_issuer = issuer = StepIssuer(
            weight_depth=config.weight_buffer_depth,
            column_depth=config.column_buffer_depth,
            bank_rows=config.bank_rows,
        )
        issue_layout = fields_layout(
            EXECUTE,
            *("open", "block_columns", "window_words", "step_base", "channel_base"),
            *("zero_point", "clamp_min", "clamp_max"),
        )
        m.submodules.commands = commands = SyncFIFOBuffered(width=issue_layout.size, depth=4)
        command = Signal(issue_layout)
        m.d.comb += command.eq(commands.r_data)
        m.d.comb += [walker.i_count.eq(self.i_count), walker.i_entry.eq(self.i_entry)]
        m.d.comb += walker.i_command.valid.eq(self.i_command.valid & commands.w_rdy)
        m.d.comb += commands.w_en.eq(self.i_command.valid & walker.i_command.ready)
        m.d.comb += self.i_command.ready.eq(walker.i_command.ready & commands.w_rdy)
        walked, issued = Signal.like(walker.i_command.payload), Signal(issue_layout)
        for fields in (walked, issued):
            m.d.comb += [fields[name].eq(self.i_command.payload[name]) for name, _ in fields.shape()]
        m.d.comb += [walker.i_command.payload.eq(walked), commands.w_data.eq(issued)]
        connect(m, walker.o_block, issuer.i_block)
        m.d.comb += [issuer.i_command.eq(commands.r_rdy), commands.r_en.eq(issuer.o_command_end)]
        m.d.comb += self.o_steps_end.eq(issuer.o_command_end)

        # Operands.
        m.submodules.weight_buffer = weights = WeightBuffer(
            rows=config.rows, group_size=config.group_size, depth=config.weight_buffer_depth
        )
        m.submodules.column_buffer = columns = ColumnBuffer(
            columns=config.columns, group_size=config.group_size, depth=config.column_buffer_depth
        )
        m.d.comb += [weights.i_write.eq(self.i_step), weights.i_base.eq(command.step_base), weights.i_step.eq(issuer.o_step)]
        m.d.comb += [weights.i_issue.eq(issuer.o_issue), weights.i_last.eq(issuer.o_tile_end)]
        connect(m, flipped(self.i_window), columns.i_window)
        m.d.comb += [columns.i_window_words.eq(command.window_words), columns.i_word.eq(issuer.o_word)]
        m.d.comb += columns.i_release.eq(issuer.o_window_end)
        m.d.comb += [issuer.i_complete.eq(columns.o_complete), issuer.i_arrived.eq(columns.o_arrived)]

        # Products.
        m.submodules.systolic_array = array = SystolicArray(rows=config.rows, columns=config.columns, group_size=config.group_size)
        m.d.comb += [array.i_weights.eq(weights.o_weights), array.i_groups.eq(columns.o_groups)]

        # A tile's parameters wait for its sums, one queue a bank: where its channels lie, and what its results become.
        bank_depth = config.channel_buffer_depth // config.drain_rows
        tile_layout = data.StructLayout({"place": range(bank_depth), "output": output_layout()})
        tile = Signal(tile_layout)
        place = Signal(range(2 * bank_depth))  # of the tile's first channel, from the command's first on
        tile_place = command.channel_base // config.drain_rows + place
        m.d.comb += tile.place.eq(tile_place)
        m.d.comb += tile.output.output_zero_point.eq(command.zero_point)
        m.d.comb += [tile.output.clamp_min.eq(command.clamp_min), tile.output.clamp_max.eq(command.clamp_max)]
        with m.If(issuer.o_tile_end):
            m.d.sync += place.eq(Mux(issuer.o_pixel_tile_end, 0, place + config.bank_rows))

        # A tile's token travels beside its sums, from its last step to each bank.
        until_sum = WeightBuffer.LATENCY + SystolicArray.LATENCY + DrainTree.latency(config.bank_rows)
        until_channel = until_sum - ChannelBuffer.LATENCY
        until_result = until_sum + Requantize.LATENCY
        tokens = Signal(until_result + config.rows)
        m.d.sync += tokens.eq(Cat(issuer.o_tile_end, tokens))

        # Results, bank by bank.
        m.submodules.channel_buffer = channels = ChannelBuffer(
            banks=config.drain_rows, bank_rows=config.bank_rows, depth=config.channel_buffer_depth
        )
        m.submodules.collector = collector = Collector(
            columns=config.columns,
            group_size=config.group_size,
            banks=config.drain_rows,
            bank_rows=config.bank_rows,
            tiles=config.output_tiles,
        )
        m.d.comb += channels.i_write.eq(self.i_channel)
        for bank in range(config.drain_rows):
            first = bank * config.bank_rows
            m.submodules[f"tiles_{bank}"] = tiles = SyncFIFO(width=tile_layout.size, depth=config.output_tiles)
            arriving = Signal(tile_layout, name=f"arriving_{bank}")
            arrives = tokens[until_channel + first - 1]
            m.d.comb += [tiles.w_en.eq(issuer.o_tile_end), tiles.w_data.eq(tile)]
            m.d.comb += [arriving.eq(tiles.r_data), tiles.r_en.eq(arrives)]
            m.d.comb += [channels.i_tiles[bank].eq(arrives), channels.i_places[bank].eq(arriving.place)]

            # Zero point and clamps are needed in the last cycle of requantization, a cycle later in each column.
            output = Signal(output_layout(), name=f"output_{bank}")
            with m.If(arrives):
                m.d.sync += output.eq(arriving.output)
            for number in range(ChannelBuffer.LATENCY + Requantize.LATENCY - 2):
                delayed = Signal(output_layout(), name=f"output_{bank}_early_{number}")
                m.d.sync += delayed.eq(output)
                output = delayed
            channel = channels.o_channels[bank]
            for column in range(config.columns):
                m.submodules[f"drain_tree_{bank}_{column}"] = tree = DrainTree(rows=config.bank_rows)
                m.submodules[f"requantize_{bank}_{column}"] = lane = Requantize()
                for row in range(config.bank_rows):
                    m.d.comb += tree.i_sums[row].eq(array.o_sums[column][first + row])
                m.d.comb += [lane.i_sum.eq(tree.o_sum), lane.i_channel.eq(channel), lane.i_output.eq(output)]
                m.d.comb += collector.i_values[bank][column].eq(lane.o_value)
                channel = lane.o_channel
                delayed = Signal(output_layout(), name=f"output_{bank}_{column}")
                m.d.sync += delayed.eq(output)
                output = delayed
            m.d.comb += collector.i_starts[bank].eq(tokens[until_result + first - 1])
        m.d.comb += [collector.i_reserve.eq(issuer.o_tile_end), issuer.i_room.eq(collector.o_room)]
        connect(m, collector.o_slots, flipped(self.o_slots))

        # A command without results ends when its last operands have passed the array.
        open_ends = Signal(WeightBuffer.LATENCY + config.rows + config.columns)
        m.d.sync += open_ends.eq(Cat(issuer.o_command_end & command.open, open_ends))
        m.d.comb += self.o_open_done.eq(open_ends[-1])

        # Account.
        m.submodules.performance = performance = PerformanceCounters()
        m.d.comb += [performance.i_command.eq(commands.r_rdy), performance.i_command_end.eq(issuer.o_command_end)]
        m.d.comb += [performance.i_cause.eq(issuer.o_cause), performance.i_empty.eq(collector.o_empty & ~open_ends[:-1].any())]
        m.d.comb += [performance.i_block_end.eq(issuer.o_block_end), performance.i_list_end.eq(issuer.o_list_end)]
        m.d.comb += [performance.i_window_end.eq(issuer.o_window_end), performance.i_block_columns.eq(command.block_columns)]
        m.d.comb += [self.o_busy.eq(performance.o_busy), self.o_cause.eq(issuer.o_cause)]
        m.d.comb += [self.o_counters.eq(performance.o_counters), self.o_counters_valid.eq(performance.o_valid)]

        # Find what is wrong: the lists, or an address beyond the end of its buffer.
        leaves_channels = (tile_place > bank_depth - config.bank_rows) | (command.channel_base % config.rows != 0)
        m.d.comb += self.o_error.eq(walker.o_error | weights.o_error | (issuer.o_tile_end & leaves_channels))
        m.d.comb += self.o_error_code.eq(Mux(walker.o_error, walker.o_error_code, ErrorCode.METADATA_RANGE))
        m.d.comb += self.o_error_listing.eq(walker.o_error)
        return m
