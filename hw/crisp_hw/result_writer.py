"""Result writer: results of every command, finished, to the activation buffer. The golden model is ``crisp.golden.vector_unit``."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crisp.arch import EXECUTE, Config, ExecuteKind, Sharing, Spread

from .cluster_share import participants, turn_bits
from .layouts import read_request_layout, read_response_signature, slot_layout, word_layout, write_request_layout
from .residual_reader import ResidualReader
from .slot_addresses import SlotAddresses
from .vector_unit import VectorUnit

__all__ = ["ResultWriter"]

#: Cycles from a residual's request to its answer that no slot waits for.
READ_CYCLES = 12


class ResultWriter(wiring.Component):
    """Take the results of commands, one after the other; add residuals, look up, and write where the command says.

    Slots come in the order pixel tile, row tile, word: of a product from the array, of a maximum from pooling. A command is complete when
    all that it wrote can be read. Only then is it taken from its stream and the next one begun, so residuals may be the results
    of any command before.

    Latency: ``VectorUnit.LATENCY`` cycles from a slot to its write request; the first slot of a command waits until lanes have found their
    places, ``columns + SlotAddresses.LATENCY`` cycles, and those of the buffer and the vector unit if there is a residual.
    Throughput: a slot in ``group_size / drain_rows`` cycles, at least one. Flow control: streams.

    Parameters
    ----------
    config : Config
        The configuration.

    Members
    -------
    i_command : In, stream
        Each `EXECUTE`, taken when it is complete.
    o_complete : Out
        A command is complete in this cycle.
    i_open_done : In
        A cluster has read the last of its weights of a command that is ``open``. It has no results, and is complete, in its turn, when all
        have that take part.
    o_turn : Out
        Cluster that the next product is to come from.
    i_products, i_maxima : In, streams
        Slots of results; which of them a command has says its kind.
    i_table : In
        Entry of the activation table to write.
    o_request : Out, stream
        Residuals to read.
    i_response : In
        Residuals.
    o_write : Out, stream
        What to write.
    i_writing : In
        The buffer has taken writes that a read request of this cycle would not yet see.
    """

    def __init__(self, config: Config):
        self.config = config
        columns, group_size = config.columns, config.group_size
        slots = stream.Signature(slot_layout(columns, group_size))
        shape = {"columns": columns, "tile_words": config.tile_words, "words": config.activation_words}
        self.vector_unit = VectorUnit(columns=columns, group_size=group_size, num_bytes=config.result_bytes)
        self.addresses = SlotAddresses(tensor="output", **shape)
        depth = -(-READ_CYCLES // self.vector_unit.slot_cycles) + 2
        self.residual_reader = ResidualReader(group_size=group_size, depth=depth, **shape)
        super().__init__({
            "i_command": In(stream.Signature(word_layout(EXECUTE))),
            "o_complete": Out(1),
            "i_open_done": In(config.clusters),
            "o_turn": Out(turn_bits(config.clusters)),
            "i_products": In(slots),
            "i_maxima": In(slots),
            "i_table": In(self.vector_unit.i_write.shape()),
            "o_request": Out(stream.Signature(read_request_layout(columns, config.activation_words))),
            "i_response": In(read_response_signature(columns, group_size)),
            "o_write": Out(stream.Signature(write_request_layout(columns, group_size, config.activation_words))),
            "i_writing": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        command = self.i_command.payload
        is_maximum = command.kind == ExecuteKind.MAX

        # Begin a command when the one before it is complete.
        running = Signal()
        starts = Signal()
        all_taken = Signal()
        m.d.comb += starts.eq(self.i_command.valid & ~running & ~command.open)
        with m.If(starts):
            m.d.sync += running.eq(1)

        # Fetch residuals.
        m.submodules.residual_reader = residuals = self.residual_reader
        m.d.comb += [residuals.i_command.eq(command), residuals.i_start.eq(starts & command.residual)]
        connect(m, residuals.o_request, flipped(self.o_request))
        connect(m, flipped(self.i_response), residuals.i_response)

        # Finish results.
        m.submodules.vector_unit = vector_unit = self.vector_unit
        m.d.comb += [vector_unit.i_residual.eq(command.residual), vector_unit.i_table.eq(command.table)]
        for name, _ in vector_unit.i_scales.shape():
            m.d.comb += vector_unit.i_scales[name].eq(command[name])
        m.d.comb += vector_unit.i_write.eq(self.i_table)
        m.d.comb += vector_unit.i_slots.valid.eq(Mux(is_maximum, self.i_maxima.valid, self.i_products.valid))
        m.d.comb += vector_unit.i_slots.payload.eq(Mux(is_maximum, self.i_maxima.payload, self.i_products.payload))
        m.d.comb += self.i_maxima.ready.eq(vector_unit.i_slots.ready & is_maximum)
        m.d.comb += self.i_products.ready.eq(vector_unit.i_slots.ready & ~is_maximum)
        connect(m, residuals.o_slots, vector_unit.i_residuals)

        # Take as many slots as the command has: those behind them are the next one's, and wait.
        word = Signal(range(self.config.tile_words))
        tile = Signal.like(command.row_tiles)
        pixels_left = Signal.like(command.pixels)
        has_slots = Signal()
        ends_tile = Signal()
        ends_pixels = Signal()
        takes_slot = vector_unit.i_slots.valid & vector_unit.i_slots.ready
        is_split = ~is_maximum & (command.sharing == Sharing.SPLIT)
        m.d.comb += vector_unit.i_enable.eq(running & has_slots)
        m.d.comb += ends_tile.eq(is_maximum | (word == self.config.tile_words - 1))
        m.d.comb += ends_pixels.eq(ends_tile & (is_split | (tile == command.row_tiles - 1)))
        with m.If(starts):
            m.d.sync += [word.eq(0), tile.eq(0), pixels_left.eq(command.pixels), has_slots.eq(1)]
        with m.Elif(takes_slot):
            m.d.sync += word.eq(Mux(ends_tile, 0, word + 1))
            with m.If(ends_tile):
                m.d.sync += tile.eq(Mux(ends_pixels, 0, tile + 1))
            with m.If(ends_pixels):
                m.d.sync += pixels_left.eq(pixels_left - self.config.columns)
                m.d.sync += has_slots.eq(pixels_left > self.config.columns)

        # Clusters take turns from tile to tile.
        if self.config.clusters > 1:
            is_by_pixels = command.spread == Spread.PIXEL_TILES
            with m.If(starts):
                m.d.sync += self.o_turn.eq(0)
            with m.Elif(takes_slot & ends_tile):
                with m.If(is_by_pixels):
                    m.d.sync += self.o_turn.eq(self.o_turn + ends_pixels)
                with m.Else():
                    m.d.sync += self.o_turn.eq(Mux(ends_pixels, 0, self.o_turn + 1))

        # Write them; slots of which no lane is wanted are dropped.
        m.submodules.addresses = addresses = self.addresses
        m.d.comb += [addresses.i_command.eq(command), addresses.i_start.eq(starts)]
        slot, finished = addresses.o_slots, vector_unit.o_slots
        is_wanted = slot.payload.wanted
        both = slot.valid & finished.valid
        takes = Signal()
        m.d.comb += takes.eq(both & (self.o_write.ready | ~is_wanted))
        m.d.comb += [slot.ready.eq(takes), finished.ready.eq(takes)]
        m.d.comb += self.o_write.valid.eq(both & is_wanted)
        m.d.comb += self.o_write.payload.addresses.eq(slot.payload.request.addresses)
        m.d.comb += self.o_write.payload.enables.eq(slot.payload.request.enables)
        m.d.comb += self.o_write.payload.data.eq(finished.payload)
        with m.If(takes & slot.payload.last):
            m.d.sync += all_taken.eq(1)

        # Complete.
        takes_part = participants(command, clusters=self.config.clusters, columns=self.config.columns)
        completes_open = Signal()
        waiting = []
        for cluster in range(self.config.clusters):
            open_done = Signal(8, name=f"open_done_{cluster}")
            m.d.sync += open_done.eq(open_done + self.i_open_done[cluster] - (completes_open & takes_part[cluster]))
            waiting.append(takes_part[cluster] & (open_done == 0))
        m.d.comb += completes_open.eq(self.i_command.valid & command.open & ~Cat(waiting).any())
        m.d.comb += self.o_complete.eq((all_taken & ~self.i_writing) | completes_open)
        m.d.comb += self.i_command.ready.eq(self.o_complete)
        with m.If(self.o_complete):
            m.d.sync += [running.eq(0), all_taken.eq(0)]
        return m
