"""Load unit: carries LOADs out. The golden model is ``crisp.golden.load_unit``."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from crisp.arch import LOAD, Config, LoadTarget
from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH

from .axi import ADDRESS_WIDTH, transfer_layout
from .axi_reader import beat_layout
from .chunk_widener import WORDS_WIDTH, ChunkWidener
from .element_loader import ElementLoader
from .layouts import fields_layout, write_request_layout
from .patch_cutter import PatchCutter
from .row_walker import RowWalker
from .write_collector import WriteCollector

__all__ = ["LoadUnit", "load_command_layout"]

#: Bits of a row's length.
LOAD_BYTES_WIDTH = next(field.width for field in LOAD.fields if field.name == "row_bytes")

#: Fields of a LOAD that say where its rows lie in memory; all but row_bytes and rows are of no use once they are asked for.
MEMORY_FIELDS = ("offset", "row_stride")

#: Fields that say what becomes of the rows.
BUFFER_FIELDS = (
    "target",
    "cluster",
    "all_clusters",
    "row_bytes",
    "rows",
    "destination",
    "destination_stride",
    "patch_step",
    "patch_words",
    "patch_lead",
    "patches",
    "fill",
)


def load_command_layout() -> data.StructLayout:
    """Lay out a LOAD that was checked: its fields, and the first byte of its memory window."""
    return data.StructLayout({"fields": fields_layout(LOAD, *BUFFER_FIELDS, *MEMORY_FIELDS), "base": unsigned(ADDRESS_WIDTH)})


class LoadUnit(wiring.Component):
    """Read rows of memory and write them to the buffers.

    ::

        i_command -> row_walker -> o_transfer                        (rows of several LOADs ahead)
            |
          queue -> element_loader <- i_beats -> o_step, o_count, o_entry, o_channel, o_run, o_table
                   buffer_rows    <- i_beats -> widener -+-> collector -> o_write
                   patch_cutter   <- i_beats -> widener -+

    LOADs are carried out one after the other, but the rows of the next ones are asked for while one is at work, so that memory's latency
    costs only once.

    Throughput: of ACTIVATIONS a beat a cycle, or where a beat has more words than a request, a request a cycle; of others as
    `ElementLoader` and `PatchCutter`. Flow control: streams; write ports are always taken.

    Parameters
    ----------
    config : Config
        Bus, array and buffers.

    Members
    -------
    i_command : In, stream
        Checked LOADs.
    o_transfer, i_beats : Out and In, streams
        To and from a client of `AxiReader`.
    o_step, o_count, o_entry, o_channel, o_run, o_table : Out
        Write ports of the buffers.
    o_clusters : Out
        Clusters that the first four of them write to.
    o_write : Out, stream
        To the activation buffer.
    i_writing : In
        Requests that the activation buffer has accepted are not yet in its RAMs.
    o_done : Out
        One more LOAD is complete, in order; for one cycle.
    o_idle : Out
        No LOAD is under way.
    """

    #: LOADs whose rows may be asked for ahead of the one at work, it included.
    COMMANDS_AHEAD = 3

    def __init__(self, config: Config):
        self.config = config
        self.element_loader = ElementLoader(config)
        ports = self.element_loader.signature.members
        names = ("o_step", "o_count", "o_entry", "o_channel", "o_run", "o_table")
        super().__init__({
            "i_command": In(stream.Signature(load_command_layout())),
            "o_transfer": Out(stream.Signature(transfer_layout(LOAD_BYTES_WIDTH))),
            "i_beats": In(stream.Signature(beat_layout(config.axi_data_width))),
            **{name: ports[name] for name in names},
            "o_clusters": Out(config.clusters),
            "o_write": Out(stream.Signature(write_request_layout(config.columns, config.group_size, config.activation_words))),
            "i_writing": In(1),
            "o_done": Out(1),
            "o_idle": Out(1),
        })  # fmt: skip
        self.port_names = names

    def elaborate(self, platform):
        m = Module()
        config = self.config
        group_bits = (config.group_size - 1).bit_length()

        # Ask for rows.
        m.submodules.memory_rows = memory_rows = RowWalker(address_width=ADDRESS_WIDTH, size_width=LOAD_BYTES_WIDTH)
        m.submodules.queue = queue = SyncFIFO(width=fields_layout(LOAD, *BUFFER_FIELDS).size, depth=self.COMMANDS_AHEAD - 1)
        asked = self.i_command.payload.fields
        # A walk begins when the one before is over, in the cycle behind it: so who hands LOADs in does not hang on who takes rows.
        may_walk = ~memory_rows.o_row.valid & queue.w_rdy
        m.d.comb += [self.i_command.ready.eq(may_walk), memory_rows.i_walk.valid.eq(self.i_command.valid & may_walk)]
        m.d.comb += memory_rows.i_walk.payload.address.eq(self.i_command.payload.base + asked.offset)
        m.d.comb += memory_rows.i_walk.payload.stride.eq(asked.row_stride)
        m.d.comb += memory_rows.i_walk.payload.size.eq(asked.row_bytes)
        m.d.comb += memory_rows.i_walk.payload.rows.eq(asked.rows)
        m.d.comb += queue.w_en.eq(self.i_command.valid & self.i_command.ready)
        m.d.comb += queue.w_data.eq(asked.as_value()[: len(queue.w_data)])
        m.d.comb += self.o_transfer.payload.address.eq(memory_rows.o_row.payload.address)
        m.d.comb += self.o_transfer.payload.bytes.eq(memory_rows.o_row.payload.size)
        m.d.comb += [self.o_transfer.valid.eq(memory_rows.o_row.valid), memory_rows.o_row.ready.eq(self.o_transfer.ready)]

        # The LOAD at work, in a register: begun once, kept until it is complete.
        waiting = data.View(fields_layout(LOAD, *BUFFER_FIELDS), queue.r_data)
        command = Signal(fields_layout(LOAD, *BUFFER_FIELDS))
        has_command = Signal()
        is_activations = Signal()
        is_patches = Signal()
        is_elements = Signal()
        active = Signal()
        starts = Signal()
        ends = Signal()
        m.d.comb += starts.eq(has_command & ~active)
        m.d.comb += queue.r_en.eq(~has_command | ends)
        with m.If(queue.r_en):
            m.d.sync += [has_command.eq(queue.r_rdy), command.eq(waiting)]
            m.d.sync += is_activations.eq(waiting.target == LoadTarget.ACTIVATIONS)
            m.d.sync += is_patches.eq(waiting.target == LoadTarget.PATCHES)
            m.d.sync += is_elements.eq((waiting.target != LoadTarget.ACTIVATIONS) & (waiting.target != LoadTarget.PATCHES))
        with m.If(starts):
            m.d.sync += active.eq(1)
        with m.If(ends):
            m.d.sync += active.eq(0)
        m.d.sync += self.o_done.eq(ends)
        m.d.comb += self.o_idle.eq(~queue.r_rdy & ~has_command & ~memory_rows.o_row.valid & ~self.o_done)

        # Elements.
        m.submodules.element_loader = elements = self.element_loader
        m.d.comb += elements.i_start.eq(starts & is_elements)
        m.d.comb += [elements.i_command[name].eq(command[name]) for name in ("target", "row_bytes", "destination")]
        for name in self.port_names:
            m.d.comb += getattr(self, name).eq(getattr(elements, name))
        if config.clusters > 1:
            m.d.sync += self.o_clusters.eq(Mux(command.all_clusters, ~0, 1 << command.cluster))
        else:
            m.d.comb += self.o_clusters.eq(1)

        # Rows of activations and words of patches, widened to the wider of beats and words.
        wide_bytes = max(config.beat_bytes, config.group_size)
        m.submodules.beat_widener = beat_widener = ChunkWidener(chunk_bytes=config.beat_bytes, wide_bytes=wide_bytes)
        m.submodules.word_widener = word_widener = ChunkWidener(chunk_bytes=config.group_size, wide_bytes=wide_bytes)
        m.submodules.buffer_rows = buffer_rows = RowWalker(address_width=ACTIVATION_ADDRESS_WIDTH, size_width=WORDS_WIDTH)
        m.submodules.patch_cutter = patches = PatchCutter(data_width=config.axi_data_width, group_size=config.group_size)
        chunk, row = beat_widener.i_chunk.payload, buffer_rows.o_row.payload
        beats = self.i_beats
        m.d.comb += buffer_rows.i_walk.valid.eq(starts & is_activations)
        m.d.comb += buffer_rows.i_walk.payload.address.eq(command.destination)
        m.d.comb += buffer_rows.i_walk.payload.stride.eq(command.destination_stride)
        m.d.comb += buffer_rows.i_walk.payload.size.eq(command.row_bytes >> group_bits)
        m.d.comb += buffer_rows.i_walk.payload.rows.eq(command.rows)
        takes_beat = Signal()
        m.d.comb += takes_beat.eq(active & is_activations & buffer_rows.o_row.valid)
        m.d.comb += beat_widener.i_chunk.valid.eq(beats.valid & takes_beat)
        m.d.comb += buffer_rows.o_row.ready.eq(beats.valid & beat_widener.i_chunk.ready & chunk.last)
        m.d.comb += [chunk.data.eq(beats.payload.data), chunk.last.eq(beats.payload.last)]
        m.d.comb += [chunk.address.eq(row.address), chunk.words.eq(row.size), chunk.final.eq(row.last)]
        m.d.comb += patches.i_start.eq(starts & is_patches)
        m.d.comb += [patches.i_command[name].eq(command[name]) for name in patches.i_command.shape().members]
        wiring.connect(m, patches.o_chunk, word_widener.i_chunk)

        # Beats go to the one at work.
        for loader, is_selected in ((elements, is_elements), (patches, is_patches)):
            m.d.comb += loader.i_beats.payload.eq(beats.payload)
            m.d.comb += loader.i_beats.valid.eq(beats.valid & active & is_selected)
        with m.If(active & is_elements):
            m.d.comb += beats.ready.eq(elements.i_beats.ready)
        with m.Elif(active & is_patches):
            m.d.comb += beats.ready.eq(patches.i_beats.ready)
        with m.Elif(active):
            m.d.comb += beats.ready.eq(takes_beat & beat_widener.i_chunk.ready)

        # What it makes of them goes to the activation buffer.
        m.submodules.collector = collector = WriteCollector(
            chunk_bytes=wide_bytes, columns=config.columns, group_size=config.group_size, words=config.activation_words
        )
        for widener, is_selected in ((word_widener, is_patches), (beat_widener, ~is_patches)):
            with m.If(is_selected):
                m.d.comb += [collector.i_chunk.payload.eq(widener.o_chunk.payload), collector.i_chunk.valid.eq(widener.o_chunk.valid)]
                m.d.comb += widener.o_chunk.ready.eq(collector.i_chunk.ready)
        wiring.connect(m, collector.o_write, wiring.flipped(self.o_write))
        wrote_all = Signal()
        with m.If(self.o_write.valid & self.o_write.ready & collector.o_final):
            m.d.sync += wrote_all.eq(1)

        # Complete when the buffer has it.
        m.d.comb += ends.eq(elements.o_done | (wrote_all & ~self.i_writing))
        with m.If(ends):
            m.d.sync += wrote_all.eq(0)
        return m
