"""Command queue: commands of one kind wait here until what they wait for is complete, and are remembered until they are."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from crisp.arch import Word

from .command_layouts import queued_layout, tag_layout, waits_layout
from .stream_register import StreamRegister

__all__ = ["CommandQueue"]


class CommandQueue(wiring.Component):
    """Hand commands on in order, each when the scoreboard says so.

    ::

        i_command -> FIFO of depth - 1 -> register, whose waits are looked at -> o_command
                                                  +-> tags, until i_complete

    Latency: two cycles, or three with a FIFO. Throughput: one command every three cycles. Flow control: streams.

    Parameters
    ----------
    word : Word
        Of the commands.
    depth : int
        Commands that wait, at least 1.
    under_way : int
        Commands that were handed on and are not complete.

    Members
    -------
    i_command, o_command : stream
        Commands.
    o_waits : Out
        What the oldest that waits waits for.
    i_ready : In
        It is complete.
    i_complete : In
        The oldest command that was handed on is complete.
    o_busy : Out
        There are commands, waiting or under way.
    o_under_way : Out
        There are commands under way.
    o_oldest : Out
        With ``o_busy``: the oldest of them, but while it goes from FIFO to register the one before.
    """

    def __init__(self, *, word: Word, depth: int, under_way: int):
        self.depth = depth
        self.under_way = under_way
        self.layout = queued_layout(word)
        super().__init__({
            "i_command": In(stream.Signature(self.layout)),
            "o_command": Out(stream.Signature(self.layout)),
            "o_waits": Out(waits_layout()),
            "i_ready": In(1),
            "i_complete": In(1),
            "o_busy": Out(1),
            "o_under_way": Out(1),
            "o_oldest": Out(tag_layout()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.tags = tags = SyncFIFO(width=tag_layout().size, depth=self.under_way)

        # Waiting: the oldest in a register, for many look at it.
        m.submodules.head = head = StreamRegister(self.layout)
        waits = Signal()
        if self.depth > 1:
            m.submodules.waiting = waiting = SyncFIFO(width=self.layout.size, depth=self.depth - 1)
            m.d.comb += [waiting.w_data.eq(self.i_command.payload), waiting.w_en.eq(self.i_command.valid)]
            m.d.comb += [self.i_command.ready.eq(waiting.w_rdy), waits.eq(waiting.r_rdy)]
            m.d.comb += [head.i_data.payload.eq(waiting.r_data), head.i_data.valid.eq(waiting.r_rdy)]
            m.d.comb += waiting.r_en.eq(head.i_data.ready)
        else:
            connect(m, flipped(self.i_command), head.i_data)
        oldest = head.o_data.payload
        m.d.comb += [self.o_waits[name].eq(oldest.fields[name]) for name, _ in waits_layout()]

        # Handed on, in the cycle after the scoreboard has said so. A command that may begin may always begin, for counts only grow; but
        # they go around, so it is remembered.
        is_ready = Signal()
        may_begin = is_ready & tags.w_rdy
        m.d.comb += [self.o_command.payload.eq(oldest), self.o_command.valid.eq(head.o_data.valid & may_begin)]
        m.d.comb += head.o_data.ready.eq(self.o_command.ready & may_begin)
        begins = self.o_command.valid & self.o_command.ready
        m.d.sync += is_ready.eq(head.o_data.valid & (self.i_ready | is_ready) & ~begins)
        m.d.comb += [tags.w_en.eq(begins), tags.w_data.eq(oldest.tag), tags.r_en.eq(self.i_complete)]

        m.d.comb += [self.o_busy.eq(waits | head.o_data.valid | tags.r_rdy), self.o_under_way.eq(tags.r_rdy)]
        m.d.comb += self.o_oldest.eq(Mux(tags.r_rdy, data.View(tag_layout(), tags.r_data), oldest.tag))
        return m
