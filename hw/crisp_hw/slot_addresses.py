"""Slot addresses: where the words of a command's results, or of its residuals, lie. The golden model is in ``crisp.golden.vector_unit``."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE, ExecuteKind, Sharing

from .lane_ring import PLACE, LaneRing
from .layouts import read_request_layout, word_layout
from .pixel_walk import PixelWalk

__all__ = ["SlotAddresses"]

TENSORS = ("output", "residual")


class SlotAddresses(wiring.Component):
    """Give the address of every lane for each slot of a command: pixel tile by pixel tile, row tile by row tile, word by word.

    ``address = base + row_tile * tile_stride + word * pitch + (place + word * word_dq) mod ring``, where lanes go from place to place as
    the pixel walk leads them; no step exceeds the ring. Not enabled are lanes beyond the last pixel, and all lanes of words beyond
    ``output_words``.

    Latency: ``columns + LATENCY`` cycles from ``i_start`` to the first slot. Throughput: a slot a cycle. Flow control: output is a stream.

    Parameters
    ----------
    tensor : str
        ``output`` or ``residual``: which of the command's tensors.
    columns : int
        Lanes.
    tile_words : int
        Words of a pixel in a row tile of a product.
    words : int
        Words of the activation buffer.

    Members
    -------
    i_command : In
        The `EXECUTE`; constant from ``i_start`` on until its last slot has left.
    i_start : In
        Begin; not while a command is under way.
    o_slots : Out, stream
        ``request``: addresses and enables. ``wanted``: lane 0 is enabled. ``last``: the command's last slot.
    """

    LATENCY = PixelWalk.SETTLING + 4

    def __init__(self, *, tensor: str, columns: int, tile_words: int, words: int):
        if tensor not in TENSORS:
            raise ValueError(f"tensor must be one of {', '.join(TENSORS)}, not {tensor!r}")
        self.tensor = tensor
        self.columns = columns
        self.tile_words = tile_words
        self.words = words
        self.slot_layout = data.StructLayout({"request": read_request_layout(columns, words), "wanted": 1, "last": 1})
        super().__init__({
            "i_command": In(word_layout(EXECUTE)),
            "i_start": In(1),
            "o_slots": Out(stream.Signature(self.slot_layout)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        command = self.i_command
        base, ring, first, tile_stride, pitch = (command[f"{self.tensor}_{name}"] for name in ("base", "ring", "q", "tile_stride", "pitch"))
        is_product = command.kind == ExecuteKind.PRODUCT
        is_single = is_product & (command.sharing == Sharing.SPLIT)

        # Lanes go from pixel tile to pixel tile.
        m.submodules.pixel_walk = walk = PixelWalk(columns=self.columns)
        m.d.comb += [walk.i_start.eq(self.i_start), walk.i_pixels.eq(command.pixels), walk.i_width.eq(command.width)]
        m.d.comb += [walk.i_first_column.eq(command.first_column), walk.i_tile_columns.eq(command.tile_columns)]
        m.submodules.lane_ring = lanes = LaneRing(columns=self.columns)
        m.d.comb += [lanes.i_walk.eq(walk.o_walk), lanes.i_first.eq(first), lanes.i_ring.eq(ring)]
        m.d.comb += [lanes.i_lane_step.eq(1), lanes.i_tile_step.eq(command.output_tile_dq)]
        m.d.comb += lanes.i_wrap_step.eq(command.output_wrap_dq)

        # At every pixel tile: row tile by row tile, word by word. What ends with a slot is known before it moves.
        moves = Signal()
        step = Signal()
        m.d.comb += step.eq(walk.o_ready & moves)
        words_after = Signal(range(self.tile_words))
        tiles_after = Signal.like(command.row_tiles)
        words_left = Signal.like(command.output_words)
        ends_tile = Signal()
        is_last_tile = Signal()
        is_wanted = Signal()
        ends_pixels = ends_tile & is_last_tile
        last_word = Signal.like(words_after)
        last_tile = Signal.like(tiles_after)
        m.d.sync += [last_word.eq(Mux(is_product, self.tile_words - 1, 0)), last_tile.eq(Mux(is_single, 0, command.row_tiles - 1))]
        m.d.comb += walk.i_advance.eq(step & ends_pixels)
        with m.If(step):
            m.d.sync += [words_after.eq(words_after - 1), ends_tile.eq(words_after == 1)]
            m.d.sync += [words_left.eq(words_left - 1), is_wanted.eq(is_wanted & (words_left != 1))]
            with m.If(ends_tile):
                m.d.sync += [words_after.eq(last_word), ends_tile.eq(last_word == 0)]
                m.d.sync += [tiles_after.eq(tiles_after - 1), is_last_tile.eq(tiles_after == 1)]
        with m.If(~walk.o_ready | walk.i_advance):
            m.d.sync += [words_after.eq(last_word), ends_tile.eq(last_word == 0)]
            m.d.sync += [tiles_after.eq(last_tile), is_last_tile.eq(last_tile == 0)]
            m.d.sync += [words_left.eq(command.output_words), is_wanted.eq(command.output_words != 0)]

        # The plane, and how far its word lies from the place of the pixel: also less the ring, for lanes that go around it.
        tile_base = Signal(PLACE)
        plane = Signal(PLACE)
        offset = Signal(PLACE)
        offset_less_ring = Signal(signed(len(offset) + 1))
        next_less_ring = offset_less_ring + command.output_word_dq
        goes_around = next_less_ring >= 0
        ring_less_twice = Signal(signed(len(offset) + 1))
        m.d.sync += ring_less_twice.eq(command.output_word_dq - ring)
        with m.If(step):
            m.d.sync += plane.eq(plane + pitch)
            m.d.sync += offset.eq(Mux(goes_around, next_less_ring, offset + command.output_word_dq))
            m.d.sync += offset_less_ring.eq(Mux(goes_around, offset_less_ring + ring_less_twice, next_less_ring))
            with m.If(ends_tile):
                m.d.sync += [tile_base.eq(tile_base + tile_stride), plane.eq(tile_base + tile_stride)]
                m.d.sync += [offset.eq(0), offset_less_ring.eq(-ring)]
        with m.If(~walk.o_ready):
            m.d.sync += [offset.eq(0), offset_less_ring.eq(-ring)]
        with m.If(~walk.o_ready | walk.i_advance):
            m.d.sync += [tile_base.eq(base), plane.eq(base)]

        # 1: which lanes go around the ring.
        valid = Signal()
        last = Signal()
        wanted = Signal()
        enables = Signal(self.columns)
        around = Signal(self.columns)
        places = Signal.like(lanes.o_places)
        distance = Signal(PLACE)
        distance_around = Signal(PLACE)
        with m.If(moves):
            m.d.sync += [valid.eq(walk.o_ready), last.eq(walk.o_last & ends_pixels), wanted.eq(is_wanted)]
            m.d.sync += enables.eq(walk.o_valids & is_wanted.replicate(self.columns))
            m.d.sync += [distance.eq(plane + offset), distance_around.eq(plane + offset_less_ring), places.eq(lanes.o_places)]
            for lane in range(self.columns):
                m.d.sync += around[lane].eq(lanes.o_places[lane] + offset_less_ring >= 0)

        # 2: addresses. A slot that cannot leave at once is set aside, so that what moves does not depend on who takes it: far too many
        # registers would hang on that.
        slot = Signal(self.slot_layout)
        m.d.comb += [slot.last.eq(last), slot.wanted.eq(wanted), slot.request.enables.eq(enables)]
        for lane in range(self.columns):
            m.d.comb += slot.request.addresses[lane].eq(places[lane] + Mux(around[lane], distance_around, distance))
        aside = Signal(self.slot_layout)
        is_aside = Signal()
        m.d.comb += moves.eq(~is_aside)
        with m.If(moves):
            m.d.sync += aside.eq(slot)
        with m.If(~self.o_slots.valid | self.o_slots.ready):
            m.d.sync += [self.o_slots.valid.eq(is_aside | valid), self.o_slots.payload.eq(Mux(is_aside, aside, slot)), is_aside.eq(0)]
        with m.Elif(moves):
            m.d.sync += is_aside.eq(valid)
        return m
