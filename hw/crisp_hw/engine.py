"""Layer engine: one matrix product from on-chip buffers. The golden model is ``crisp.golden.engine``."""

from amaranth import Cat, Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crisp.arch import CHANNEL, COUNT, COUNTERS, ENTRY, LAYER, Config

from .block_walker import BlockWalker
from .channel_buffer import ChannelBuffer
from .collector import Collector
from .column_buffer import ColumnBuffer
from .drain_tree import DrainTree
from .layouts import step_layout, window_layout, word_layout
from .performance import PerformanceCounters
from .requantize import Requantize
from .step_issuer import StepIssuer
from .systolic_array import SystolicArray
from .weight_buffer import WeightBuffer

__all__ = ["LayerEngine"]


class LayerEngine(wiring.Component):
    """Compute ``Y = requantize(W @ X + bias)`` for packed weights W and windows X, a step a cycle.

    ::

        i_count, i_entry -> block_walker -> step_issuer -+-> weight_buffer <- i_step
                                                         +-> column_buffer <- i_window
                                                         |        |
                                                         |        v
                                                         |   systolic_array -> drain trees -> requantize -> collectors -> o_words
                                                         +------------------------ channel_buffer --^
                                                                                        ^- i_channel

    While idle, ``i_step``, ``i_count``, ``i_entry`` and ``i_channel`` load a layer's weights. A command on ``i_layer``
    starts it; the windows of its pixel tiles then arrive on ``i_window`` while results leave on ``o_words``. When the
    last result has left, ``o_done`` pulses and the next layer may be loaded, from address 0 again.

    Latency: rows + columns + 8 cycles from the last step to the last result, for up to 16 rows a drain bank.
    Throughput: one step a cycle, for every N:M and any number of absent blocks, as long as a tile has at least
    rows / drain_rows steps.
    Flow control: all ports are streams; inside, the array is held back only by not issuing.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    i_step, i_count, i_entry, i_channel : In, stream
        Packed weights and channel parameters.
    i_layer : In, stream
        Command; taken when idle.
    i_window : In, stream
        Windows, one a pixel tile.
    o_words : Out, array of streams
        Output ``bank * lane_groups + group``: words of ``bank_rows`` channels, see `Collector`.
    o_busy, o_done : Out
        A layer runs; it ends in this cycle.
    o_counters : Out
        Where the cycles of the last layer went.
    o_digest : Out, 32 bit
        Hash of the configuration.
    """

    def __init__(self, config: Config):
        self.config = config
        self.column_address_width = len(Signal(range(config.column_buffer_depth)))
        window = window_layout(config.columns, config.group_size, self.column_address_width)
        words = data.ArrayLayout(signed(8), config.bank_rows)
        super().__init__({
            "i_step": In(stream.Signature(step_layout(config.rows, config.group_size))),
            "i_count": In(stream.Signature(word_layout(COUNT))),
            "i_entry": In(stream.Signature(word_layout(ENTRY))),
            "i_channel": In(stream.Signature(word_layout(CHANNEL))),
            "i_layer": In(stream.Signature(word_layout(LAYER))),
            "i_window": In(stream.Signature(window)),
            "o_words": Out(stream.Signature(words)).array(config.drain_rows * config.lane_groups),
            "o_busy": Out(1),
            "o_done": Out(1),
            "o_counters": Out(word_layout(COUNTERS)),
            "o_digest": Out(32),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.d.comb += self.o_digest.eq(config.digest)

        # A layer: taken when idle, kept while it runs.
        layer = Signal(word_layout(LAYER))
        running = Signal()
        start = Signal()
        m.d.comb += self.i_layer.ready.eq(~running)
        m.d.sync += start.eq(self.i_layer.valid & ~running)
        with m.If(self.i_layer.valid & ~running):
            m.d.sync += [layer.eq(self.i_layer.payload), running.eq(1)]
        with m.Elif(self.o_done):
            m.d.sync += running.eq(0)
        m.d.comb += self.o_busy.eq(running)

        # Kept blocks, then steps.
        m.submodules.block_walker = walker = BlockWalker(
            entry_depth=config.entry_buffer_depth,
            block_row_depth=config.block_row_buffer_depth,
            column_depth=config.column_buffer_depth,
        )
        m.submodules.step_issuer = issuer = StepIssuer(
            weight_depth=config.weight_buffer_depth,
            column_depth=config.column_buffer_depth,
            bank_rows=config.bank_rows,
        )
        connect(m, flipped(self.i_count), walker.i_count)
        connect(m, flipped(self.i_entry), walker.i_entry)
        connect(m, walker.o_block, issuer.i_block)
        m.d.comb += [walker.i_load.eq(~running), walker.i_start.eq(start), walker.i_layer.eq(layer)]
        m.d.comb += issuer.i_run.eq(running)

        # Operands.
        m.submodules.weight_buffer = weights = WeightBuffer(
            rows=config.rows, group_size=config.group_size, depth=config.weight_buffer_depth
        )
        m.submodules.column_buffer = columns = ColumnBuffer(
            columns=config.columns,
            group_size=config.group_size,
            depth=config.column_buffer_depth,
            slots=config.window_slots_max,
        )
        connect(m, flipped(self.i_step), weights.i_step)
        m.d.comb += [weights.i_load.eq(~running), weights.i_issue.eq(issuer.o_issue)]
        m.d.comb += [weights.i_last.eq(issuer.o_tile_end), weights.i_address.eq(issuer.o_weight_address)]
        connect(m, flipped(self.i_window), columns.i_window)
        m.d.comb += [columns.i_load.eq(running), columns.i_address.eq(issuer.o_column_address)]
        m.d.comb += [columns.i_window_words.eq(layer.window_words), columns.i_windows.eq(layer.windows)]
        m.d.comb += columns.i_release.eq(issuer.o_window_end)
        m.d.comb += [issuer.i_complete.eq(columns.o_complete), issuer.i_arrived.eq(columns.o_arrived)]

        # Products.
        m.submodules.systolic_array = array = SystolicArray(rows=config.rows, columns=config.columns, group_size=config.group_size)
        m.d.comb += [array.i_weights.eq(weights.o_weights), array.i_groups.eq(columns.o_groups)]

        # Results, bank by bank. A tile's token travels beside its sums, from its last step to each bank.
        m.submodules.channel_buffer = channels = ChannelBuffer(
            banks=config.drain_rows, bank_rows=config.bank_rows, depth=config.channel_buffer_depth
        )
        connect(m, flipped(self.i_channel), channels.i_channel)
        m.d.comb += channels.i_load.eq(~running)

        until_sum = WeightBuffer.LATENCY + SystolicArray.LATENCY + DrainTree.latency(config.bank_rows)
        until_channel = until_sum - ChannelBuffer.LATENCY
        until_complete = until_sum + Requantize.LATENCY + config.bank_rows - 1
        tiles = Signal(until_complete + config.rows - config.bank_rows)
        window_ends = Signal.like(tiles)
        m.d.sync += tiles.eq(Cat(issuer.o_tile_end, tiles))
        m.d.sync += window_ends.eq(Cat(issuer.o_window_end, window_ends))

        collectors = []
        for bank in range(config.drain_rows):
            first = bank * config.bank_rows
            m.d.comb += channels.i_tiles[bank].eq(tiles[until_channel + first - 1])
            m.d.comb += channels.i_window_ends[bank].eq(window_ends[until_channel + first - 1])

            m.submodules[f"collector_{bank}"] = collector = Collector(
                columns=config.columns, bank_rows=config.bank_rows, tiles=config.output_tiles
            )
            channel = channels.o_channels[bank]
            for column in range(config.columns):
                m.submodules[f"drain_tree_{bank}_{column}"] = tree = DrainTree(rows=config.bank_rows)
                m.submodules[f"requantize_{bank}_{column}"] = lane = Requantize()
                for row in range(config.bank_rows):
                    m.d.comb += tree.i_sums[row].eq(array.o_sums[column][first + row])
                m.d.comb += [lane.i_sum.eq(tree.o_sum), lane.i_channel.eq(channel)]
                m.d.comb += lane.i_output.output_zero_point.eq(layer.output_zero_point)
                m.d.comb += [lane.i_output.clamp_min.eq(layer.clamp_min), lane.i_output.clamp_max.eq(layer.clamp_max)]
                m.d.comb += collector.i_values[column].eq(lane.o_value)
                channel = lane.o_channel
            m.d.comb += collector.i_complete.eq(tiles[until_complete + first - 1])
            m.d.comb += collector.i_reserve.eq(issuer.o_tile_end)
            for group, words in enumerate(collector.o_words):
                connect(m, words, flipped(self.o_words[bank * config.lane_groups + group]))
            collectors.append(collector)

        m.d.comb += issuer.i_room.eq(Cat(collector.o_room for collector in collectors).all())
        is_empty = Cat(collector.o_empty for collector in collectors).all()
        m.d.comb += self.o_done.eq(running & issuer.o_finished & is_empty)

        # Account.
        m.submodules.performance = performance = PerformanceCounters()
        m.d.comb += [performance.i_start.eq(start), performance.i_run.eq(running), performance.i_cause.eq(issuer.o_cause)]
        m.d.comb += performance.i_window.eq(issuer.o_window_end)
        m.d.comb += [performance.i_walked.eq(walker.o_walked), performance.i_skipped.eq(walker.o_skipped)]
        m.d.comb += self.o_counters.eq(performance.o_counters)
        return m
