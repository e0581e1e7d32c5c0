"""Patch cutter: rows of an image to overlapping patches, so that a layer of few channels wastes no words."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crisp.arch import LOAD
from crisp.arch.loads import PATCH_ROW_BYTES

from .axi_reader import beat_layout
from .chunk_widener import chunk_layout
from .layouts import fields_layout
from .write_collector import exceeds

__all__ = ["PatchCutter", "patch_command_layout"]

#: Bits of a byte's place in a row: as far as the last patch can reach, and before the row.
PLACE_WIDTH = 24


def patch_command_layout() -> data.StructLayout:
    """Lay out the fields of a LOAD that tell how rows are cut."""
    names = ("row_bytes", "rows", "destination", "destination_stride", "patch_step", "patch_words", "patch_lead", "patches", "fill")
    return fields_layout(LOAD, *names)


class PatchCutter(wiring.Component):
    """Cut rows: word w of patch i is the M bytes from ``i * patch_step + w * M - patch_lead`` on, ``fill`` beyond the row.

    Words w of all patches of row y are neighbours from ``destination + y * patches + w * destination_stride`` on. A row lies in two RAMs,
    lines in turn, so that M bytes at any place are read in one cycle; the next row comes into the other half meanwhile.

    Latency: `LATENCY` cycles from the end of a row's beats to its first word. Throughput: a beat and a word a cycle. Flow control: streams.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    group_size : int
        M.

    Members
    -------
    i_start : In
        Begin; ``i_command`` stays until the last word left.
    i_command : In
        How rows are cut; at most ``PATCH_ROW_BYTES`` each.
    i_beats : In, stream
        The rows, each from a new beat on.
    o_chunk : Out, stream
        Words.
    """

    LATENCY = 3

    def __init__(self, *, data_width: int, group_size: int):
        self.data_width = data_width
        self.group_size = group_size
        super().__init__({
            "i_start": In(1),
            "i_command": In(patch_command_layout()),
            "i_beats": In(stream.Signature(beat_layout(data_width))),
            "o_chunk": Out(stream.Signature(chunk_layout(group_size))),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        command = self.i_command
        beat_bytes = self.data_width // 8
        line_bytes = max(beat_bytes, self.group_size)
        line_beats = line_bytes // beat_bytes
        half_depth = PATCH_ROW_BYTES // (2 * line_bytes)  # lines of a row that lie in one RAM

        # Rows come in, but none of the next command's. A half is full from a row's last beat to its last word.
        full = Signal(2)
        rows_due = Signal.like(command.rows)
        half_in = Signal()
        slot = Signal(range(line_beats))
        line_in = Signal(range(2 * half_depth))
        arrives = Signal()
        m.d.comb += self.i_beats.ready.eq(~full.bit_select(half_in, 1) & (rows_due != 0))
        m.d.comb += arrives.eq(self.i_beats.valid & self.i_beats.ready)
        memories, reads = [], []
        for parity, name in enumerate(("even", "odd")):
            shape = data.ArrayLayout(unsigned(self.data_width), line_beats)
            m.submodules[name] = memory = Memory(shape=shape, depth=2 * half_depth, init=[])
            write = memory.write_port(granularity=1)
            m.d.comb += write.addr.eq(Cat(line_in[1:], half_in))
            m.d.comb += [write.data[index].eq(self.i_beats.payload.data) for index in range(line_beats)]
            m.d.comb += [write.en[index].eq(arrives & (line_in[0] == parity) & (slot == index)) for index in range(line_beats)]
            memories.append(memory)
            reads.append(memory.read_port())
        with m.If(arrives):
            m.d.sync += [slot.eq(slot + 1), line_in.eq(line_in + (slot == line_beats - 1))]
            with m.If(slot == line_beats - 1):
                m.d.sync += slot.eq(0)
            with m.If(self.i_beats.payload.last):
                m.d.sync += [slot.eq(0), line_in.eq(0), half_in.eq(~half_in), rows_due.eq(rows_due - 1)]
                m.d.sync += full.bit_select(half_in, 1).eq(1)

        # Words of a row that is there: patch by patch, then plane by plane.
        half_out = Signal()
        rows_left = Signal.like(command.rows)
        planes_left = Signal.like(command.patch_words)
        patches_left = Signal.like(command.patches)
        place = Signal(signed(PLACE_WIDTH))
        plane_place = Signal(signed(PLACE_WIDTH))
        row_address = Signal.like(command.destination)
        plane_address = Signal.like(command.destination)
        advances = Signal()
        asks = Signal()
        ends_plane = Signal()
        ends_row = Signal()
        m.d.comb += advances.eq(~self.o_chunk.valid | self.o_chunk.ready)
        m.d.comb += asks.eq(full.bit_select(half_out, 1) & (rows_left != 0))
        m.d.comb += [ends_plane.eq(patches_left == 1), ends_row.eq(ends_plane & (planes_left == 1))]
        with m.If(asks & advances):
            m.d.sync += [patches_left.eq(patches_left - 1), place.eq(place + command.patch_step)]
            with m.If(ends_plane):
                m.d.sync += [patches_left.eq(command.patches), planes_left.eq(planes_left - 1)]
                m.d.sync += [place.eq(plane_place + self.group_size), plane_place.eq(plane_place + self.group_size)]
                m.d.sync += plane_address.eq(plane_address + command.destination_stride)
            with m.If(ends_row):
                m.d.sync += [planes_left.eq(command.patch_words), rows_left.eq(rows_left - 1)]
                m.d.sync += [place.eq(-command.patch_lead), plane_place.eq(-command.patch_lead)]
                m.d.sync += [row_address.eq(row_address + command.patches), plane_address.eq(row_address + command.patches)]
                m.d.sync += [full.bit_select(half_out, 1).eq(0), half_out.eq(~half_out)]
        with m.If(self.i_start):
            m.d.sync += rows_due.eq(command.rows)
            m.d.sync += [patches_left.eq(command.patches), planes_left.eq(command.patch_words), rows_left.eq(command.rows)]
            m.d.sync += [place.eq(-command.patch_lead), plane_place.eq(-command.patch_lead)]
            m.d.sync += [row_address.eq(command.destination), plane_address.eq(command.destination)]

        # 1: read the line that the word begins in, and the one behind it.
        line_bits = (line_bytes - 1).bit_length()
        line_width = (half_depth - 1).bit_length()
        line = place[line_bits : line_bits + 1 + line_width]
        for parity, read in enumerate(reads):
            behind = Signal(line_width, name=f"line_{parity}")
            m.d.comb += behind.eq((line + 1 - parity) >> 1)
            m.d.comb += [read.addr.eq(Cat(behind, half_out)), read.en.eq(advances)]
        chunk_1 = Signal(chunk_layout(self.group_size))
        valid_1 = Signal()
        place_1 = Signal(signed(PLACE_WIDTH))
        with m.If(advances):
            m.d.sync += [valid_1.eq(asks), place_1.eq(place)]
            m.d.sync += [chunk_1.address.eq(plane_address), chunk_1.words.eq(command.patches), chunk_1.last.eq(ends_plane)]
            m.d.sync += chunk_1.final.eq(ends_row & (rows_left == 1))

        # 2: cut it out of both, and fill what lies beyond the row.
        two_lines = Cat(*(read.data for read in reads))
        around = Cat(two_lines, two_lines[: 8 * (self.group_size - 1)])
        word = around.bit_select(Cat(Const(0, 3), place_1[: line_bits + 1]), 8 * self.group_size)
        left = Signal(signed(PLACE_WIDTH + 1))  # bytes of the row from the word's begin on
        m.d.comb += left.eq(command.row_bytes[:PLACE_WIDTH] - place_1)
        group_bits = (self.group_size - 1).bit_length()
        begins_just_before = place_1[group_bits:].all()
        inside = [
            # In a word that begins less than M bytes before the row, those bytes lie in it that carry into the next M.
            ~left[-1] & is_left & (~place_1[-1] | (begins_just_before & (place_1[:group_bits] + byte >= self.group_size)))
            for byte, is_left in enumerate(exceeds(left, self.group_size))
        ]
        with m.If(advances):
            m.d.sync += [self.o_chunk.valid.eq(valid_1), self.o_chunk.payload.eq(chunk_1)]
            for byte, is_inside in enumerate(inside):
                m.d.sync += self.o_chunk.payload.data.word_select(byte, 8).eq(Mux(is_inside, word.word_select(byte, 8), command.fill))
        return m
