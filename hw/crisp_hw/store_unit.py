"""Store unit: carries STOREs out. The golden model is ``crisp.golden.store_unit``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from crisp.arch import STORE, Config
from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH

from .axi import ADDRESS_WIDTH, transfer_layout
from .chunk_widener import WORDS_WIDTH
from .layouts import fields_layout, read_request_layout, read_response_signature
from .row_walker import ROWS_WIDTH, RowWalker
from .skid_buffer import SkidBuffer
from .write_collector import exceeds, wide_lanes

__all__ = ["StoreUnit", "store_command_layout"]

#: Bits of a row's length.
STORE_BYTES_WIDTH = next(field.width for field in STORE.fields if field.name == "row_bytes")


def store_command_layout() -> data.StructLayout:
    """Lay out a STORE that was checked: its fields, and the first byte of its memory window."""
    fields = fields_layout(STORE, "offset", "row_bytes", "rows", "row_stride", "source", "source_stride")
    return data.StructLayout({"fields": fields, "base": unsigned(ADDRESS_WIDTH)})


class StoreUnit(wiring.Component):
    """Read rows of neighbouring words from the activation buffer and write them to memory.

    ::

        i_command -+-> memory_rows -> o_transfer
                   +-> buffer_rows -> o_read; i_read -> answers -> o_data
                   +-> rows of each STORE, counted down by i_done -> o_done

    A request reads a power of two of words, and is made only while there is room for its answer. STOREs follow each other without
    a gap: while the responses of one are awaited the next ones are already read.

    Throughput: a beat a cycle or a request a cycle, whichever is less. Flow control: streams, and credits for answers.

    Parameters
    ----------
    config : Config
        Bus and activation buffer.

    Members
    -------
    i_command : In, stream
        Checked STOREs.
    o_read, i_read : Out and In
        Requests to the activation buffer, and its answers.
    o_transfer, o_data : Out, streams
        To `AxiWriter`.
    i_done : In
        `AxiWriter` has completed one more row.
    o_done : Out
        One more STORE is complete, in order; for one cycle.
    o_idle : Out
        No STORE is under way.
    """

    #: Answers that there is room for: more than the cycles from a request to its answer.
    ANSWERS = 16

    #: STOREs that may be under way.
    COMMANDS_AHEAD = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_command": In(stream.Signature(store_command_layout())),
            "o_read": Out(stream.Signature(read_request_layout(config.columns, config.activation_words))),
            "i_read": In(read_response_signature(config.columns, config.group_size)),
            "o_transfer": Out(stream.Signature(transfer_layout(STORE_BYTES_WIDTH))),
            "o_data": Out(stream.Signature(unsigned(config.axi_data_width))),
            "i_done": In(1),
            "o_done": Out(1),
            "o_idle": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = wide_lanes(config.columns)
        group_bits = (config.group_size - 1).bit_length()
        request_bytes = lanes * config.group_size
        beat_bytes = config.beat_bytes

        # A STORE goes three ways at once.
        m.submodules.memory_rows = memory_rows = RowWalker(address_width=ADDRESS_WIDTH, size_width=STORE_BYTES_WIDTH)
        m.submodules.buffer_rows = buffer_rows = RowWalker(address_width=ACTIVATION_ADDRESS_WIDTH, size_width=WORDS_WIDTH)
        m.submodules.under_way = under_way = SyncFIFO(width=ROWS_WIDTH, depth=self.COMMANDS_AHEAD)
        fields = self.i_command.payload.fields
        ways = (memory_rows.i_walk.ready, buffer_rows.i_walk.ready, under_way.w_rdy)
        m.d.comb += self.i_command.ready.eq(Cat(*ways).all())
        begins = self.i_command.valid & self.i_command.ready
        m.d.comb += [memory_rows.i_walk.valid.eq(begins), buffer_rows.i_walk.valid.eq(begins), under_way.w_en.eq(begins)]
        m.d.comb += memory_rows.i_walk.payload.address.eq(self.i_command.payload.base + fields.offset)
        m.d.comb += memory_rows.i_walk.payload.stride.eq(fields.row_stride)
        m.d.comb += memory_rows.i_walk.payload.size.eq(fields.row_bytes)
        m.d.comb += memory_rows.i_walk.payload.rows.eq(fields.rows)
        m.d.comb += buffer_rows.i_walk.payload.address.eq(fields.source)
        m.d.comb += buffer_rows.i_walk.payload.stride.eq(fields.source_stride)
        m.d.comb += buffer_rows.i_walk.payload.size.eq(fields.row_bytes >> group_bits)
        m.d.comb += buffer_rows.i_walk.payload.rows.eq(fields.rows)
        m.d.comb += under_way.w_data.eq(fields.rows)
        m.d.comb += self.o_transfer.payload.address.eq(memory_rows.o_row.payload.address)
        m.d.comb += self.o_transfer.payload.bytes.eq(memory_rows.o_row.payload.size)
        m.d.comb += [self.o_transfer.valid.eq(memory_rows.o_row.valid), memory_rows.o_row.ready.eq(self.o_transfer.ready)]

        # Ask for the words of a row.
        row = buffer_rows.o_row
        words_before = Signal(WORDS_WIDTH)  # words of the row that were asked for
        left = Signal(WORDS_WIDTH)
        ends_row = Signal()
        credit = Signal(range(self.ANSWERS + 1), init=self.ANSWERS)
        may_ask = Signal()
        asks = Signal()
        m.d.comb += left.eq(row.payload.size - words_before)
        m.d.comb += ends_row.eq(left <= lanes)
        m.submodules.requests = requests = SkidBuffer(self.o_read.payload.shape())
        wiring.connect(m, requests.o_data, wiring.flipped(self.o_read))
        m.d.comb += may_ask.eq((credit != 0) & requests.i_data.ready)
        m.d.comb += asks.eq(row.valid & may_ask)
        m.d.comb += row.ready.eq(may_ask & ends_row)
        with m.If(asks):
            m.d.sync += words_before.eq(Mux(ends_row, 0, words_before + lanes))
        m.d.comb += requests.i_data.valid.eq(asks)
        for lane, is_left in enumerate(exceeds(left, lanes)):
            m.d.comb += requests.i_data.payload.addresses[lane].eq(row.payload.address + words_before + lane)
            m.d.comb += requests.i_data.payload.enables[lane].eq(is_left)

        # Remember of each request how many beats its answer makes; where several make one, whether it ends the row.
        parts = max(1, request_bytes // beat_bytes)
        number = max(1, beat_bytes // request_bytes)
        shape = data.StructLayout({"last_part": range(parts), "ends_row": 1})
        m.submodules.asked = asked = SyncFIFO(width=shape.size, depth=self.ANSWERS)
        remembered = Signal(shape)
        with m.If(ends_row):
            beat_bits = (request_bytes // parts).bit_length() - 1
            m.d.comb += remembered.last_part.eq(((left << group_bits) - 1) >> beat_bits)
        with m.Else():
            m.d.comb += remembered.last_part.eq(parts - 1)
        m.d.comb += remembered.ends_row.eq(ends_row)
        m.d.comb += [asked.w_data.eq(remembered), asked.w_en.eq(asks)]

        # Answers to beats.
        m.submodules.answers = answers = SyncFIFOBuffered(width=8 * request_bytes, depth=self.ANSWERS)
        m.d.comb += answers.w_data.eq(Cat(*(self.i_read.payload[lane].as_value() for lane in range(lanes))))
        m.d.comb += answers.w_en.eq(self.i_read.valid)
        current = data.View(shape, asked.r_data)
        takes = Signal()
        m.d.comb += [answers.r_en.eq(takes), asked.r_en.eq(takes)]
        m.d.sync += credit.eq(credit + takes - asks)
        if number == 1:
            part = Signal(range(parts))
            sends = self.o_data.valid & self.o_data.ready
            m.d.comb += self.o_data.valid.eq(answers.r_rdy)
            m.d.comb += self.o_data.payload.eq(answers.r_data.word_select(part, 8 * beat_bytes))
            m.d.comb += takes.eq(sends & (part == current.last_part))
            with m.If(sends):
                m.d.sync += part.eq(Mux(takes, 0, part + 1))
        else:
            place = Signal(range(number))
            collected = [Signal(8 * request_bytes, name=f"collected_{index}") for index in range(number - 1)]
            completes = (place == number - 1) | current.ends_row
            contents = [Mux(place == index, answers.r_data, held) for index, held in enumerate(collected)]
            m.d.comb += self.o_data.payload.eq(Cat(*contents, answers.r_data))
            m.d.comb += self.o_data.valid.eq(answers.r_rdy & completes)
            m.d.comb += takes.eq(answers.r_rdy & (~completes | self.o_data.ready))
            for index, held in enumerate(collected):
                with m.If(takes & (place == index)):
                    m.d.sync += held.eq(answers.r_data)
            with m.If(takes):
                m.d.sync += place.eq(Mux(completes, 0, place + 1))

        # Rows that are in memory.
        rows_done = Signal(ROWS_WIDTH)
        ends = Signal()
        m.d.comb += ends.eq(self.i_done & (rows_done + 1 == under_way.r_data))
        m.d.comb += under_way.r_en.eq(ends)
        with m.If(self.i_done):
            m.d.sync += rows_done.eq(Mux(ends, 0, rows_done + 1))
        m.d.sync += self.o_done.eq(ends)
        m.d.comb += self.o_idle.eq(~under_way.r_rdy & ~self.o_done)
        return m
