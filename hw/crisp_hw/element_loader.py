"""Element loader: beats to the small words of buffers: steps, counts, entries, channels, runs, the activation table."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import CHANNEL, COUNT, ENTRY, RUN, Config, LoadTarget
from crisp.arch.config import ACTIVATION_ADDRESS_WIDTH
from crisp.arch.loads import TABLE_DEPTH, offset_bits, offset_steps

from .axi_reader import beat_layout
from .layouts import step_layout, word_layout, write_port_layout

__all__ = ["ElementLoader", "element_command_layout"]

#: Words of each target, but for steps, which have as many bytes as the array has rows.
WORDS = {LoadTarget.COUNTS: COUNT, LoadTarget.ENTRIES: ENTRY, LoadTarget.CHANNELS: CHANNEL, LoadTarget.RUNS: RUN}


def element_command_layout() -> data.StructLayout:
    """Lay out what to load: target, bytes, first address of the buffer."""
    return data.StructLayout({
        "target": unsigned(4),
        "row_bytes": unsigned(26),
        "destination": unsigned(ACTIVATION_ADDRESS_WIDTH),
    })  # fmt: skip


class ElementLoader(wiring.Component):
    """Cut a row of memory into elements and write them to consecutive addresses of a buffer.

    An element of STEPS is a word of as many bytes as the array has rows: the offsets of the next ``offset_steps`` steps, or the values of
    a step. Elements are powers of two of bytes, so they fill beats, or beats fill them; bytes behind the last whole one are dropped.

    Latency: one cycle from the beat that completes an element. Throughput: an element a cycle, or where several beats make one, a beat a
    cycle. Flow control: beats are a stream; write ports have none, since buffers always take.

    Parameters
    ----------
    config : Config
        Bus, array and buffers.

    Members
    -------
    i_start : In
        Begin; ``i_command`` stays until ``o_done``.
    i_command : In
        What to load.
    i_beats : In, stream
        The row.
    o_step, o_count, o_entry, o_channel, o_run, o_table : Out
        Write ports of the buffers.
    o_done : Out
        The last element is written in this cycle at the latest; for one cycle.
    """

    LATENCY = 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_start": In(1),
            "i_command": In(element_command_layout()),
            "i_beats": In(stream.Signature(beat_layout(config.axi_data_width))),
            "o_step": Out(write_port_layout(step_layout(config.rows, config.group_size), config.weight_buffer_depth)),
            "o_count": Out(write_port_layout(word_layout(COUNT), config.block_row_buffer_depth)),
            "o_entry": Out(write_port_layout(word_layout(ENTRY), config.entry_buffer_depth)),
            "o_channel": Out(write_port_layout(word_layout(CHANNEL), config.channel_buffer_depth)),
            "o_run": Out(write_port_layout(word_layout(RUN), config.run_buffer_depth)),
            "o_table": Out(write_port_layout(unsigned(8), TABLE_DEPTH)),
            "o_done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, command, beat = self.config, self.i_command, self.i_beats.payload
        beat_bytes, rows = config.beat_bytes, config.rows
        sizes = {
            LoadTarget.STEPS: rows,
            LoadTarget.DENSE_STEPS: rows,
            **{target: word.num_bytes for target, word in WORDS.items()},
            LoadTarget.TABLE: 1,
        }
        largest = max(sizes.values())

        # How far the row is: elements left, the place in the beat of an element smaller than it, or the place in an element of the beat.
        active = Signal()
        left = Signal.like(command.row_bytes)
        place = Signal(range(max(largest, beat_bytes)))
        completes = Signal()  # an element ends with this place
        empties = Signal()  # the beat does
        next_place = Signal(range(max(largest, beat_bytes) + 1))
        step_bytes = Signal.like(next_place)  # bytes that are looked at in a cycle
        last_place = Signal.like(place)  # of an element that is larger than a beat, or of elements in a beat
        is_large = Signal()  # an element is larger than a beat
        reaches_end = place == last_place
        m.d.comb += [next_place.eq(place + step_bytes), completes.eq(~is_large | reaches_end), empties.eq(is_large | reaches_end)]
        works = Signal()
        writes = Signal()
        ends = Signal()
        m.d.comb += works.eq(active & self.i_beats.valid)
        m.d.comb += self.i_beats.ready.eq(active & (empties | (left <= 1)))
        m.d.comb += writes.eq(works & completes & (left != 0))
        m.d.comb += ends.eq(works & self.i_beats.ready & beat.last)
        with m.If(works):
            m.d.sync += place.eq(Mux(self.i_beats.ready & (completes | (left == 0)), 0, next_place))
        with m.If(writes):
            m.d.sync += left.eq(left - 1)
        m.d.sync += self.o_done.eq(ends)
        with m.If(ends):
            m.d.sync += active.eq(0)
        with m.If(self.i_start):
            m.d.sync += [active.eq(1), place.eq(0)]
            with m.Switch(command.target):
                for target, size in sizes.items():
                    with m.Case(target):
                        m.d.sync += left.eq(command.row_bytes >> (size.bit_length() - 1))
                        m.d.sync += [
                            step_bytes.eq(min(size, beat_bytes)),
                            last_place.eq(max(size, beat_bytes) - min(size, beat_bytes)),
                            is_large.eq(size > beat_bytes),
                        ]

        # Bytes of beats that are over, for elements that are larger than a beat.
        earlier = Signal(8 * max(0, largest - beat_bytes))
        with m.If(works & self.i_beats.ready):
            m.d.sync += earlier.eq(Cat(earlier, beat.data)[8 * beat_bytes :])

        def element(size: int):
            if size > beat_bytes:
                return Cat(earlier[len(earlier) - 8 * (size - beat_bytes) :], beat.data)
            if size == beat_bytes:
                return beat.data
            return beat.data.word_select(place[size.bit_length() - 1 : beat_bytes.bit_length() - 1], 8 * size)

        # Write.
        address = Signal.like(command.destination)
        with m.If(self.i_start):
            m.d.sync += address.eq(command.destination)
        ports = {
            LoadTarget.COUNTS: self.o_count,
            LoadTarget.ENTRIES: self.o_entry,
            LoadTarget.CHANNELS: self.o_channel,
            LoadTarget.RUNS: self.o_run,
            LoadTarget.TABLE: self.o_table,
        }
        for target, port in ports.items():
            is_target = command.target == target
            m.d.sync += port.enable.eq(writes & is_target)
            m.d.sync += [port.address.eq(address), Value.cast(port.data).eq(element(sizes[target]))]
            with m.If(writes & is_target):
                m.d.sync += address.eq(address + 1)

        # Steps: a word of offsets, from which each step takes its part, or offsets that count.
        phase = Signal(range(offset_steps(config.group_size) + 1))
        step_offset = Signal(range(config.group_size))
        step_bits = rows * offset_bits(config.group_size)
        offsets = Signal(8 * rows)
        is_packed = command.target == LoadTarget.STEPS
        is_step = is_packed | (command.target == LoadTarget.DENSE_STEPS)
        is_offsets = is_packed & (phase == 0)
        step = self.o_step.data
        m.d.sync += self.o_step.enable.eq(writes & is_step & ~is_offsets)
        m.d.sync += self.o_step.address.eq(address)
        for row in range(rows):
            m.d.sync += step.values[row].eq(element(rows)[8 * row : 8 * row + 8])
            m.d.sync += step.offsets[row].eq(Mux(is_packed, offsets.word_select(row, offset_bits(config.group_size)), step_offset))
        with m.If(writes & is_step):
            m.d.sync += phase.eq(Mux(phase == offset_steps(config.group_size), 0, phase + 1))
            with m.If(is_offsets):
                m.d.sync += offsets.eq(element(rows))
            with m.Else():
                m.d.sync += offsets.eq(offsets >> step_bits)
                m.d.sync += [address.eq(address + 1), step_offset.eq(step_offset + 1)]
        with m.If(self.i_start):
            m.d.sync += [phase.eq(0), step_offset.eq(0)]
        return m
