"""Command fetch: reads the command list, and makes commands of its units. The golden model is ``crisp.golden.command_check``."""

from types import SimpleNamespace

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from crisp.arch import EXECUTE, UNIT_BYTES, Config, ErrorCode, Opcode
from crisp.arch.command_rules import COMMAND_WORDS, list_rules

from .axi import ADDRESS_WIDTH, transfer_layout
from .axi_reader import beat_layout
from .command_layouts import UNIT_WIDTH, UNITS_WIDTH, fault_layout, fetched_layout

__all__ = ["CommandFetch"]


class CommandFetch(wiring.Component):
    """Fetch commands, ahead as far as the reader's queue has room, until END.

    The list is looked at first: that it is not empty, begins at a bus word, and lies in the window. It begins after reset by itself,
    and after END or an error it is quiet until reset.

    Latency: two cycles from reset to the first transfer, two from the last beat of a command to the command. Throughput: a unit of 256 bits
    takes as many cycles as it has bus words, but at least one, and a command one more. Flow control: streams.

    Parameters
    ----------
    config : Config
        The configuration.
    bytes_width : int
        Bits of a transfer's length.

    Members
    -------
    i_offset, i_units : In
        The registers COMMAND_OFFSET and COMMAND_UNITS; they do not change.
    i_base, i_size : In
        Window PROGRAM, likewise.
    o_transfer, i_beats : stream
        To and from a client's side of `AxiReader`.
    o_command : Out, stream
        Commands in order, see `fetched_layout`; their opcodes are known ones.
    o_fault : Out
        What is wrong with the list, or with its next command.
    o_tag : Out
        The command that is being fetched.
    """

    def __init__(self, config: Config, *, bytes_width: int = 26):
        self.config = config
        self.bytes_width = bytes_width
        super().__init__({
            "i_offset": In(32),
            "i_units": In(UNITS_WIDTH),
            "i_base": In(ADDRESS_WIDTH),
            "i_size": In(32),
            "o_transfer": Out(stream.Signature(transfer_layout(bytes_width))),
            "i_beats": In(stream.Signature(beat_layout(config.axi_data_width))),
            "o_command": Out(stream.Signature(fetched_layout())),
            "o_fault": Out(fault_layout()),
            "o_tag": Out(fetched_layout()["tag"].shape),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        quiet = Signal()
        command = self.o_command.payload
        tag = self.o_tag

        # Look at the list.
        fields = SimpleNamespace(command_offset=self.i_offset, command_units=self.i_units)
        around = SimpleNamespace(window_base=self.i_base, window_size=self.i_size)
        rules = list_rules(self.config)
        broken = Signal(len(rules))
        looked = Signal()
        begun = Signal()
        m.d.sync += [broken.eq(Cat(rule.broken(fields, around) for rule in rules)), looked.eq(1), begun.eq(looked)]

        # Ask for it, in transfers of as many whole units as fit a transfer's length.
        chunk_units = (1 << (self.bytes_width - 1)) // UNIT_BYTES
        asked = Signal()
        address = Signal(ADDRESS_WIDTH)
        units_to_ask = Signal(UNITS_WIDTH)
        is_last_chunk = units_to_ask <= chunk_units
        transfer = self.o_transfer
        m.d.comb += transfer.payload.address.eq(address)
        m.d.comb += transfer.payload.bytes.eq(Mux(is_last_chunk, units_to_ask, chunk_units) * UNIT_BYTES)
        m.d.comb += transfer.valid.eq(begun & ~asked)
        with m.If(~begun):
            m.d.sync += [address.eq(self.i_base + self.i_offset), units_to_ask.eq(self.i_units), asked.eq(broken.any())]
        with m.Elif(transfer.valid & transfer.ready):
            m.d.sync += [address.eq(address + chunk_units * UNIT_BYTES), units_to_ask.eq(units_to_ask - chunk_units)]
            m.d.sync += asked.eq(is_last_chunk)

        # A beat in a register, for the reader's queue is slow; then pieces of it, that a unit has a whole number of.
        piece_width = min(self.config.axi_data_width, UNIT_WIDTH)
        pieces = self.config.axi_data_width // piece_width
        beat = Signal(self.config.axi_data_width)
        beat_valid = Signal()
        piece = Signal(piece_width)
        select = Signal(range(pieces))
        takes = Signal()
        m.d.comb += piece.eq(beat.word_select(select, piece_width))
        m.d.comb += self.i_beats.ready.eq(~beat_valid | (takes & (select == pieces - 1)))
        with m.If(takes):
            m.d.sync += select.eq(select + 1)
        with m.If(self.i_beats.ready):
            m.d.sync += [beat.eq(self.i_beats.payload.data), beat_valid.eq(self.i_beats.valid)]

        # Pieces to commands: each moves those before it down, so that the last unit stands at the top.
        is_first = Signal(init=1)
        pieces_left = Signal(range(EXECUTE.width // piece_width))
        units_left = Signal(UNITS_WIDTH)
        units = Signal(UNITS_WIDTH)
        opcode = piece[:4]
        is_known = Signal()
        fits = Signal()
        with m.Switch(opcode):
            for known in Opcode:
                with m.Case(known):
                    m.d.comb += [is_known.eq(1), units.eq(COMMAND_WORDS[known].width // UNIT_WIDTH)]
        m.d.comb += fits.eq(units <= units_left)
        starts = Signal()
        m.d.comb += starts.eq(beat_valid & is_first & ~self.o_command.valid & ~quiet)
        m.d.comb += takes.eq(beat_valid & ~self.o_command.valid & ~quiet & (~is_first | (is_known & fits)))
        with m.If(takes):
            m.d.sync += Cat(command.units_before, command.last_unit).eq(Cat(command.units_before, command.last_unit, piece)[piece_width:])
            with m.If(is_first):
                remaining = units * (UNIT_WIDTH // piece_width) - 1
                m.d.sync += [command.opcode.eq(opcode), command.tag.eq(tag)]
                m.d.sync += [tag.index.eq(tag.index + 1), tag.unit.eq(tag.unit + units), units_left.eq(units_left - units)]
                m.d.sync += [pieces_left.eq(remaining), is_first.eq(0)]
                m.d.sync += self.o_command.valid.eq(remaining == 0)
            with m.Else():
                m.d.sync += pieces_left.eq(pieces_left - 1)
                m.d.sync += self.o_command.valid.eq(pieces_left == 1)
        with m.If(self.o_command.valid & self.o_command.ready):
            m.d.sync += [self.o_command.valid.eq(0), is_first.eq(1)]
            m.d.sync += quiet.eq(command.opcode == Opcode.END)
        with m.If(~begun):
            m.d.sync += [units_left.eq(self.i_units), tag.eq(0)]

        # Faults.
        code = Signal(ErrorCode)
        with m.If(~begun):
            for bit, rule in reversed(list(enumerate(rules))):
                with m.If(broken[bit]):
                    m.d.comb += code.eq(rule.code)
        with m.Elif(is_first & (units_left == 0) & ~self.o_command.valid & ~quiet):
            m.d.comb += code.eq(ErrorCode.TRUNCATED)
        with m.Elif(starts & ~is_known):
            m.d.comb += code.eq(ErrorCode.OPCODE)
        with m.Elif(starts & ~fits):
            m.d.comb += code.eq(ErrorCode.TRUNCATED)
        with m.If(looked & (code != ErrorCode.NONE)):
            m.d.comb += [self.o_fault.valid.eq(1), self.o_fault.code.eq(code), self.o_fault.tag.eq(tag)]
            m.d.sync += quiet.eq(1)
        return m
