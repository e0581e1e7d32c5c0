"""Step issuer: turns kept blocks into one step a cycle, and holds back only what would collide."""

import enum

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import block_layout

__all__ = ["Cause", "StepIssuer"]


class Cause(enum.Enum):
    """Why a cycle issued no step; or that it did."""

    ACTIVE = 0  #: A step was issued.
    WEIGHTS = 1  #: No kept block was at hand.
    WINDOWS = 2  #: The pixel tile's window had not come far enough.
    DRAIN = 3  #: The tile before had not drained far enough: a tile of fewer steps than a drain bank has rows.
    OUTPUT = 4  #: The output had no room for another tile.
    TAIL = 5  #: There is no command whose steps are not all issued; results may be on their way.


class StepIssuer(wiring.Component):
    """Walk the groups and steps of each block: one step a cycle, no cycle between blocks, tiles, windows or commands.

    Latency: a step and its word are registers, valid in the cycle of its ``o_issue``. Throughput: one step a cycle.
    Flow control: the array cannot stall, so a step is either issued or not. A step waits for its word of the window, the
    last step of a window until the window is complete, and the last step of a tile until the tile before has left the drain
    bank (``bank_rows`` cycles) and the output has room. All other steps go at once.

    Parameters
    ----------
    weight_depth : int
        Steps of the weight buffer.
    column_depth : int
        Words of a lane of the column buffer.
    bank_rows : int
        Rows of a drain bank: least number of cycles from the last step of a tile to that of the next.

    Members
    -------
    i_block : In, stream
        Kept blocks.
    i_command : In
        There is a command whose steps are not all issued; blocks come only while there is.
    i_complete, i_arrived : In
        The oldest window is complete; its word ``o_word`` has come.
    i_room : In
        The output has room for another tile.
    o_issue : Out
        A step is issued.
    o_step, o_word : Out
        Which one of its pixel tile, counted from 0, and which word of its window it meets.
    o_block_end, o_list_end, o_tile_end, o_window_end, o_pixel_tile_end, o_command_end : Out
        It is the last of its block; of the blocks of its row tile; of a sum; of its window; of its pixel tile; of its command.
    o_cause : Out
        What this cycle went to.
    """

    def __init__(self, *, weight_depth: int, column_depth: int, bank_rows: int):
        self.weight_depth = weight_depth
        self.bank_rows = bank_rows
        self.column_depth = column_depth
        super().__init__({
            "i_block": In(stream.Signature(block_layout(column_depth))),
            "i_command": In(1),
            "i_complete": In(1),
            "i_arrived": In(1),
            "i_room": In(1),
            "o_issue": Out(1),
            "o_step": Out(range(weight_depth + 1)),
            "o_word": Out(range(column_depth)),
            "o_block_end": Out(1),
            "o_list_end": Out(1),
            "o_tile_end": Out(1),
            "o_window_end": Out(1),
            "o_pixel_tile_end": Out(1),
            "o_command_end": Out(1),
            "o_cause": Out(Cause),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()

        # The block at work.
        block = Signal(block_layout(self.column_depth))
        block_valid = Signal()
        groups_left = Signal.like(block.groups_minus_1)
        steps_left = Signal.like(block.n_minus_1)
        drain_timer = Signal(range(self.bank_rows))

        # Decide. What ends with a step is known before it is looked at.
        is_group_end = Signal()
        is_last_group = Signal()
        is_block_end = is_group_end & is_last_group
        is_tile_end = is_block_end & block.last_of_tile
        lacks_window = ~self.i_arrived | (is_block_end & block.last_of_window & ~self.i_complete)
        drains = is_tile_end & (drain_timer != 0)
        lacks_room = is_tile_end & ~self.i_room
        m.d.comb += self.o_issue.eq(block_valid & ~lacks_window & ~drains & ~lacks_room)
        m.d.comb += self.o_block_end.eq(self.o_issue & is_block_end)
        m.d.comb += self.o_list_end.eq(self.o_block_end & block.last_of_list)
        m.d.comb += self.o_tile_end.eq(self.o_block_end & block.last_of_tile)
        m.d.comb += self.o_window_end.eq(self.o_block_end & block.last_of_window)
        m.d.comb += self.o_pixel_tile_end.eq(self.o_block_end & block.last_of_pixel_tile)
        m.d.comb += self.o_command_end.eq(self.o_block_end & block.last_of_command)

        # Advance.
        with m.If(self.o_issue):
            m.d.sync += self.o_step.eq(self.o_step + 1)
            m.d.sync += [steps_left.eq(steps_left - 1), is_group_end.eq(steps_left == 1)]
            with m.If(is_group_end):
                m.d.sync += [steps_left.eq(block.n_minus_1), is_group_end.eq(block.n_minus_1 == 0)]
                m.d.sync += [groups_left.eq(groups_left - 1), is_last_group.eq(groups_left == 1)]
                m.d.sync += self.o_word.eq(self.o_word + 1)
        with m.If(self.o_pixel_tile_end):
            m.d.sync += self.o_step.eq(0)
        with m.If(self.o_tile_end):
            m.d.sync += drain_timer.eq(self.bank_rows - 1)
        with m.Elif(drain_timer != 0):
            m.d.sync += drain_timer.eq(drain_timer - 1)

        # Take the next block in the cycle in which this one ends.
        m.d.comb += self.i_block.ready.eq(~block_valid | self.o_block_end)
        with m.If(self.i_block.ready):
            m.d.sync += block_valid.eq(self.i_block.valid)
            m.d.sync += block.eq(self.i_block.payload)
            m.d.sync += [groups_left.eq(self.i_block.payload.groups_minus_1), is_last_group.eq(self.i_block.payload.groups_minus_1 == 0)]
            m.d.sync += [steps_left.eq(self.i_block.payload.n_minus_1), is_group_end.eq(self.i_block.payload.n_minus_1 == 0)]
            m.d.sync += self.o_word.eq(self.i_block.payload.address)

        # Say where the cycle went.
        with m.If(self.o_issue):
            m.d.comb += self.o_cause.eq(Cause.ACTIVE)
        with m.Elif(~self.i_command):
            m.d.comb += self.o_cause.eq(Cause.TAIL)
        with m.Elif(~block_valid):
            m.d.comb += self.o_cause.eq(Cause.WEIGHTS)
        with m.Elif(lacks_window):
            m.d.comb += self.o_cause.eq(Cause.WINDOWS)
        with m.Else():
            m.d.comb += self.o_cause.eq(Mux(drains, Cause.DRAIN, Cause.OUTPUT))
        return m
